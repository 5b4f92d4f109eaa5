"""What is shown of indexes on disk: QPS, latency and reads at fixed recalls, what they take, and a plot."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from .. import metrics, report
from ..report import Cell, Figures
from .results import DiskRecord

_AT_RECALL: Figures[DiskRecord] = {"memory MB": lambda record: record.memory_bytes / 1e6}
_READ: Figures[DiskRecord] = {
    "reads": lambda record: record.reads,
    "device reads": lambda record: record.device_reads,
    "KB read": lambda record: None if record.read_bytes is None else record.read_bytes / 1e3,
}
_OF_INDEX: Figures[DiskRecord] = {
    "limit MB": lambda record: record.memory_limit / 1e6,
    "disk MB": lambda record: record.index_bytes / 1e6,
    "build s": lambda record: record.build_seconds,
    "build peak MB": lambda record: record.peak_rss_bytes / 1e6,
}


def groups(records: Iterable[DiskRecord]) -> dict[str, list[DiskRecord]]:
    """Records that belong in one table, by its title: one data set, k, share of memory and number of threads."""
    result: dict[str, list[DiskRecord]] = {}
    for record in records:
        how = "one thread, one query a call" if record.threads == 1 else f"{record.threads} threads, one call"
        name = record.dataset.partition("/")[0]
        title = f"{name}, k = {record.k}, {record.memory_share:.0%} of the vectors in memory, {how}"
        result.setdefault(title, []).append(record)
    return result


def table(records: Sequence[DiskRecord], ratio_to: str | None = None) -> tuple[list[str], list[list[Cell]]]:
    """Columns and rows as of :func:`..report.table`: how fast indexes are, and what they take."""
    return report.table(records, ratio_to, _AT_RECALL, _OF_INDEX)


def reading(records: Sequence[DiskRecord]) -> tuple[list[str], list[list[Cell]]]:
    """Columns and rows, one row an index and recall: latency, and what a query reads.

    Between two settings they lie on a line, as QPS does in (recall, log QPS).
    """
    figures = _READ if records[0].mode == "batch" else {**report.LATENCIES, **_READ}
    rows = []
    for name, group in report.grouped(records, by_build=True).items():
        front = report.front(group)
        for target in report.TARGETS:
            row: list[Cell] = [name, target, metrics.qps_at(report.points(front), target)]
            found = metrics.between([record.recall for record in front], target)
            for figure in figures.values():
                ends = [figure(front[at]) for at in found[:2]] if found else [None, None]
                row.append(_mixed(ends[0], ends[1], found[2] if found else 0.0))
            rows.append(row)
    return ["index", "recall", "QPS", *figures], rows


def _mixed(low: Cell, high: Cell, share: float) -> float | None:
    if not isinstance(low, int | float) or not isinstance(high, int | float):
        return None
    return (1 - share) * low + share * high


def plot(records: Sequence[DiskRecord], path: Path, title: str) -> None:
    """Draw recall against QPS, p99 and bytes read to a PNG file, a line for each peer; needs matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(18, 6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    panels = {"queries per second": "qps", "p99, ms": "p99_ms", "bytes read by a query": "read_bytes"}
    if records[0].mode == "batch":
        del panels["p99, ms"]
    for axes, (label, attribute) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        for number, (name, group) in enumerate(sorted(report.grouped(records, by_build=False).items())):
            front = report.front(group)
            # On a logarithmic scale nothing read has no place, as what is not known.
            values = [getattr(record, attribute) or math.nan for record in front]
            marker = "os^Dv*Pph"[number % 9]
            axes.plot([r.recall for r in front], values, marker=marker, markersize=4, label=name)
        axes.set(xlabel=f"recall@{records[0].k}", ylabel=label, yscale="log")
        axes.grid(True, which="both", alpha=0.3)
    axes.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
