"""What is shown of filtered searches: QPS by bucket, what annlib's choice of plan cost, and a plot by correlation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from .peers import ALL_OWN, FILTERED, FORCED, OWN, TARGET
from .results import FilteredRecord

Cell = str | float | None
_CORRELATIONS = ("positive", "none", "negative")


def groups(records: Iterable[FilteredRecord]) -> dict[tuple[str, int, bool], list[FilteredRecord]]:
    """Records that belong in one table, by data set, k, and whether they are of the batch."""
    result: dict[tuple[str, int, bool], list[FilteredRecord]] = {}
    for record in records:
        key = (record.dataset.partition("/")[0], record.k, record.kind == "batch")
        result.setdefault(key, []).append(record)
    return result


def batch_table(records: Sequence[FilteredRecord]) -> tuple[list[str], list[list[Cell]]]:
    """Columns and rows, one row a line; the last column is how many times as fast the fastest line is."""
    columns = ["line", "QPS", "recall", "returned", "queries", "fastest by this"]
    best = max(record.qps for record in records)
    return columns, [[r.peer, r.qps, r.recall, r.returned, r.asked, best / r.qps] for r in records]


def _lines(records: Iterable[FilteredRecord]) -> list[str]:
    """Names of the lines, in the order of the registry."""
    there = {record.peer for record in records}
    return [line for peer in FILTERED.values() for line in peer.lines if line in there]


def _by_bucket(records: Iterable[FilteredRecord]) -> dict[str, dict[str, FilteredRecord]]:
    """Records by name of the bucket and by line, sorted by correlation and selectivity."""
    result: dict[str, dict[str, FilteredRecord]] = {}
    order = sorted(records, key=lambda r: (_CORRELATIONS.index(r.correlation), r.selectivity, r.dataset))
    for record in order:
        result.setdefault(record.dataset.partition("/")[2], {})[record.peer] = record
    return result


def _qps(record: FilteredRecord | None) -> float | None:
    return record.qps if record is not None and record.recall >= TARGET else None


def _fastest(bucket: dict[str, FilteredRecord], lines: Iterable[str]) -> FilteredRecord | None:
    reached = [record for line in lines if (record := bucket.get(line)) is not None and _qps(record)]
    return max(reached, key=lambda record: record.qps, default=None)


def table(records: Sequence[FilteredRecord]) -> tuple[list[str], list[list[Cell]]]:
    """Columns and rows, one row a bucket: QPS of each line where its recall is at least 0.95.

    "ratio" is annlib's QPS by that of the best other library, "regret" how much slower it was than its best forced
    plan, as a share of that plan's QPS (below zero: faster).
    """
    lines = _lines(records)
    others = [line for line in lines if line not in ALL_OWN]
    columns = ["bucket", "passes %", "lift", *lines, "best other", "ratio", "best plan", "regret"]
    rows: list[list[Cell]] = []
    for name, bucket in _by_bucket(records).items():
        first = next(iter(bucket.values()))
        other, plan, own = _fastest(bucket, others), _fastest(bucket, FORCED), _qps(bucket.get(OWN))
        rows.append(
            [
                name,
                100 * first.selectivity,
                first.lift,
                *(_qps(bucket.get(line)) for line in lines),
                other.peer if other else None,
                own / other.qps if own and other else None,
                plan.peer.removeprefix(OWN).strip() if plan else None,
                1 - own / plan.qps if own and plan else None,
            ]
        )
    return columns, rows


def worst(records: Sequence[FilteredRecord]) -> tuple[list[str], list[list[Cell]]]:
    """Columns and rows, one row a line: what is worst in any bucket."""
    columns = ["line", "buckets", f"recall >= {TARGET}", "worst recall", "in", "least returned"]
    rows: list[list[Cell]] = []
    for line in _lines(records):
        own = [record for record in records if record.peer == line]
        least = min(own, key=lambda record: (record.recall, record.dataset))
        reached = sum(record.recall >= TARGET for record in own)
        returned = min(record.returned for record in own)
        rows.append([line, len(own), reached, least.recall, least.dataset.partition("/")[2], returned])
    return columns, rows


def plot(records: Sequence[FilteredRecord], path: Path, title: str) -> None:
    """Draw selectivity against QPS to a PNG file, a panel for each correlation; needs matplotlib.

    Windows of drawn columns are joined by lines, other kinds are dots; what misses the recall is hollow.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(16, 6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    there = [name for name in _CORRELATIONS if any(record.correlation == name for record in records)]
    panels = figure.subplots(1, len(there), sharey=True, squeeze=False)[0]
    # Forced plans are in the table; here they would hide the other libraries.
    lines = [line for line in _lines(records) if line not in FORCED]
    for axes, correlation in zip(panels, there, strict=True):
        for number, line in enumerate(lines):
            here = [r for r in records if (r.peer, r.correlation) == (line, correlation)]
            here.sort(key=lambda record: record.selectivity)
            color = f"C{number % 10}"
            joined = [record for record in here if record.kind == "window"]
            axes.plot([r.selectivity for r in joined], [r.qps for r in joined], color=color, label=line)
            fill = [color if record.recall >= TARGET else "none" for record in here]
            axes.scatter(
                [r.selectivity for r in here], [r.qps for r in here], 14, facecolors=fill, edgecolors=color
            )
        axes.set(xlabel="share that passes", xscale="log", yscale="log", title=f"correlation: {correlation}")
        axes.grid(True, which="both", alpha=0.3)
    panels[0].set(ylabel="queries per second")
    panels[-1].legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
