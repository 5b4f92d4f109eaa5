"""What is shown of records: QPS at fixed recalls, ratios to one peer, and the recall/QPS plot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias, TypeVar

from .metrics import pareto, qps_at
from .results import Record

TARGETS = (0.90, 0.95, 0.99)
_MODE_NAMES = {"single": "one query a call", "batch": "all queries in one call"}

Cell = str | float | None
R = TypeVar("R", bound=Record)
#: Columns, and what of a record stands in them.
Figures: TypeAlias = Mapping[str, Callable[[R], Cell]]
LATENCIES: Figures[Record] = {
    "p50 ms": lambda record: record.p50_ms,
    "p95 ms": lambda record: record.p95_ms,
    "p99 ms": lambda record: record.p99_ms,
}
_DISTANCES: Figures[Record] = {"distances": lambda record: record.distance_computations}
#: By mode: a batch has no latency of its own queries.
_AT_RECALL: Mapping[str, Figures[Record]] = {"single": {**LATENCIES, **_DISTANCES}, "batch": _DISTANCES}
OF_INDEX: Figures[Record] = {
    "build s": lambda record: record.build_seconds,
    "index MB": lambda record: record.index_bytes / 1e6,
    "peak MB": lambda record: record.peak_rss_bytes / 1e6,
}


def grouped(records: Iterable[R], by_build: bool) -> dict[str, list[R]]:
    """Records of one line, by its name: the peer, and `by_build` also what it was built with."""
    groups: dict[str, list[R]] = {}
    for record in records:
        name = " ".join([record.peer, *(f"{k}={v}" for k, v in record.build.items() if by_build)])
        groups.setdefault(name, []).append(record)
    return groups


def front(records: Iterable[R]) -> list[R]:
    """Those that no other beats in both recall and QPS, by rising recall."""
    by_point = {(record.recall, record.qps): record for record in records}
    return [by_point[point] for point in pareto(list(by_point))]


def points(records: Iterable[Record]) -> list[tuple[float, float]]:
    """Recall and QPS of each."""
    return [(record.recall, record.qps) for record in records]


def table(
    records: Sequence[R],
    ratio_to: str | None = None,
    at_recall: Figures[R] | None = None,
    of_index: Figures[R] = OF_INDEX,
) -> tuple[list[str], list[list[Cell]]]:
    """Columns and rows, one row an index, of records of one mode, data set and k.

    QPS at a recall is interpolated (:func:`.metrics.qps_at`); a ratio is to all indexes of the peer
    `ratio_to` together. The figures `at_recall` (default: latency and distances) are those of the fastest setting
    that reaches recall 0.95, `of_index` does not depend on the setting.

    Raises ValueError where no record is of `ratio_to`.
    """
    columns = ["index", *(f"QPS@{target:.2f}" for target in TARGETS)]
    base = points(record for record in records if record.peer == ratio_to)
    if ratio_to is not None:
        if not base:
            raise ValueError(f"no results of {ratio_to!r}; there are {sorted({r.peer for r in records})}")
        columns += [f"ratio@{target:.2f}" for target in TARGETS]
    if at_recall is None:
        at_recall = _AT_RECALL[records[0].mode]
    columns += ["best recall", *at_recall, *of_index]
    rows = []
    for name, group in grouped(records, by_build=True).items():
        speeds = [qps_at(points(group), target) for target in TARGETS]
        row: list[Cell] = [name, *speeds]
        if ratio_to is not None:
            bases = [qps_at(base, target) for target in TARGETS]
            row += [own / other if own and other else None for own, other in zip(speeds, bases, strict=True)]
        enough = [record for record in group if record.recall >= 0.95]
        at = max(enough, key=lambda record: record.qps) if enough else None
        row += [max(record.recall for record in group)]
        row += [figure(at) if at else None for figure in at_recall.values()]
        row += [figure(group[0]) for figure in of_index.values()]
        rows.append(row)
    return columns, rows


def groups(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Records that belong in one table, by its title: one data set, k and mode."""
    result: dict[str, list[Record]] = {}
    for record in records:
        title = f"{record.dataset}, k = {record.k}, one thread, {_MODE_NAMES[record.mode]}"
        result.setdefault(title, []).append(record)
    return result


def plot(records: Sequence[Record], path: Path, title: str) -> None:
    """Draw recall against QPS, a line for the front of every peer, to a PNG file; needs matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for number, (name, group) in enumerate(sorted(grouped(records, by_build=False).items())):
        recalls, speeds = zip(*points(front(group)), strict=True)
        axes.plot(recalls, speeds, marker="os^Dv*Pph"[number // 10 % 9], markersize=4, label=name)
    axes.set(xlabel=f"recall@{records[0].k}", ylabel="queries per second", yscale="log", title=title)
    axes.grid(True, which="both", alpha=0.3)
    axes.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
