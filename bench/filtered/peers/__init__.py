"""The libraries whose filtered search the harness can measure, and at which settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ...peers import Entry, select_from
from ...sweeps import Params, grid


@dataclass(frozen=True)
class Line:
    """One line of a table or plot: settings by rising effort, of which the first to reach the recall is timed.

    ``mode`` is "single" (a call a query) or "batch" (one call).
    """

    settings: Sequence[Params]
    mode: str = "single"


@dataclass(frozen=True)
class FilteredPeer:
    """An index that is built once, and its lines by name: for buckets of queries, and for the batch.

    ``kinds`` are those of the buckets that it can answer, if it cannot answer all.
    """

    entry: Entry
    build: Params
    lines: Mapping[str, Line]
    batch: Mapping[str, Line] = field(default_factory=dict)
    kinds: Sequence[str] = ()

    def answers(self, kind: str) -> bool:
        """Whether buckets of this kind are for it."""
        return not self.kinds or kind in self.kinds


#: The recall that settings are raised to, and that annlib is asked for.
TARGET = 0.95

_EFFORTS = [16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048]
_PROBES = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024]
_HNSW = {"M": 16, "ef_construction": 200}
_PLANS = ("walk", "two-hop", "lists", "scan", "exact")


def _entry(module: str, cls: str, requires: str, **fixed: str) -> Entry:
    return Entry(f"{__package__}.{module}", cls, requires, {}, fixed)


def _annlib() -> FilteredPeer:
    at_recall = {"recall": TARGET}
    forced = {f"annlib {plan}": Line([{"plan": plan, **at_recall}]) for plan in _PLANS}
    lines = {"annlib": Line([at_recall]), "annlib by ef": Line(grid(ef_search=_EFFORTS)), **forced}
    batch = {
        "annlib, one call": Line([at_recall], "batch"),
        "annlib, one call, all cores": Line([{**at_recall, "threads": None}], "batch"),
        "annlib, a call a query": Line([at_recall]),
    }
    return FilteredPeer(_entry("annlib", "FilteredAnnlib", "annlib"), _HNSW, lines, batch)


def select(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """The installed and the missing ones of `names`; ValueError for a name that no peer has."""
    return select_from({name: peer.entry for name, peer in FILTERED.items()}, names)


#: The line of annlib's own choice, those of a forced plan, and all that are annlib's.
OWN, FORCED = "annlib", tuple(f"annlib {plan}" for plan in _PLANS)
ALL_OWN = (OWN, "annlib by ef", *FORCED)

FILTERED: Mapping[str, FilteredPeer] = {
    "annlib": _annlib(),
    "numpy": FilteredPeer(_entry("numpy", "Numpy", "numpy"), {}, {"numpy": Line([{}])}),
    "faiss-hnsw": FilteredPeer(
        _entry("faiss", "FilteredHNSW", "faiss", storage="Flat"),
        _HNSW,
        {"faiss-hnsw": Line(grid(efSearch=_EFFORTS))},
        {"faiss-hnsw, post-filtered": Line(grid(efSearch=_EFFORTS), "batch")},
    ),
    "faiss-ivf": FilteredPeer(
        _entry("faiss", "FilteredIVF", "faiss"),
        {"lists_per_root": 2},
        {"faiss-ivf": Line(grid(nprobe=_PROBES))},
    ),
    "hnswlib": FilteredPeer(
        _entry("hnswlib", "FilteredHnswlib", "hnswlib"), _HNSW, {"hnswlib": Line(grid(ef=_EFFORTS))}
    ),
    "usearch": FilteredPeer(
        _entry("usearch", "FilteredUSearch", "usearch", dtype="f32"),
        _HNSW,
        {"usearch": Line(grid(ef=_EFFORTS))},
    ),
    "vsag": FilteredPeer(
        _entry("vsag", "FilteredVsag", "pyvsag", codec="sq8"), _HNSW, {"vsag": Line(grid(ef=_EFFORTS))}
    ),
    "lancedb": FilteredPeer(
        _entry("lancedb", "LanceDB", "lancedb"), _HNSW, {"lancedb": Line(grid(ef=_EFFORTS))}
    ),
    "diskann": FilteredPeer(
        _entry("diskann", "FilteredDiskANN", "diskannpy"),
        {"complexity": 200, "degree": 96},  # with a third of the links few of a label hold together
        {"diskann": Line(grid(ef=_EFFORTS))},
        kinds=("label",),
    ),
    "zvec": FilteredPeer(_entry("zvec", "Zvec", "zvec"), _HNSW, {"zvec": Line(grid(ef=_EFFORTS))}),
}
