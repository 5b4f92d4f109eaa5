"""What effort a recall needs, measured on the index at hand."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import _core
from .filters import EVERYTHING, CoreFilter

_MOST_QUERIES = 1000
#: Under a filter, to which recall is less sensitive.
_MOST_FILTERED = 250
#: What passes in `Calibration.filtered`; the core reads efforts of other shares off it.
_SHARE = 0.25
#: Beyond this an exact scan is the better choice for nearly every index.
_LARGEST_EF = 4096
#: Between one ef and the next.
_STEP = 1.25

_Core: TypeAlias = "_core.HnswIndex | _core.SpannIndex"
#: Distances (n, k), and how many were computed, of a search with (k, effort, plan) for one set of queries.
_Search: TypeAlias = "Callable[[int, int, str], tuple[NDArray[np.float32], int]]"


@dataclass(frozen=True)
class Calibration:
    """Recall@k of an index at growing effort.

    Attributes
    ----------
    k : int
    size : int
        Items in the index when it was measured.
    ef : tuple of int
        Ascending.
    recall : tuple of float
        Mean recall@k at each ef; never falling.
    distances : tuple of float
        Mean distance computations a query at each ef.
    filtered : tuple of float
        Mean recall@k at each ef of walks among a quarter of the items, drawn at random; empty where that was not
        measured.
    """

    k: int
    size: int
    ef: tuple[int, ...]
    recall: tuple[float, ...]
    distances: tuple[float, ...]
    filtered: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "_efforts", {})

    def efforts_for(self, target: float) -> tuple[int, int]:
        """`ef_for` without a filter and under one, looked up once: a search has no time to lose."""
        known: dict[float, tuple[int, int]] = self.__dict__["_efforts"]
        efforts = known.get(target)
        if efforts is None:
            efforts = known[target] = self.ef_for(target), self.ef_for(target, filtered=True)
        return efforts

    def fits(self, size: int) -> bool:
        """Whether the index is still much the same size."""
        return abs(size - self.size) * 5 <= self.size

    def ef_for(self, target: float, filtered: bool = False) -> int:
        """The least ef whose recall reached `target`, between the ones measured by straight lines; else the largest.

        `filtered`: where a quarter of the items pass a filter.
        """
        recalls = self.filtered if filtered and self.filtered else self.recall
        i = bisect_left(recalls, target)
        if i == 0 or i == len(recalls):
            return self.ef[min(i, len(recalls) - 1)]
        share = (target - recalls[i - 1]) / (recalls[i] - recalls[i - 1])
        return math.ceil(self.ef[i - 1] + share * (self.ef[i] - self.ef[i - 1]))

    def as_dict(self) -> dict[str, Any]:
        """For a file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Calibration:
        """From a file; ValueError, TypeError or KeyError where it makes no sense."""
        made = cls(
            int(values["k"]),
            int(values["size"]),
            tuple(int(x) for x in values["ef"]),
            tuple(float(x) for x in values["recall"]),
            tuple(float(x) for x in values["distances"]),
            tuple(float(x) for x in values.get("filtered", ())),
        )
        if (
            not 0 < len(made.ef) == len(made.recall) == len(made.distances)
            or len(made.filtered) not in (0, len(made.ef))
            or min(made.ef) < 1
            or max(made.ef) >= 2**31
            or not all(_never_falls(column) for column in (made.ef, made.recall, made.filtered))
        ):
            raise ValueError("a calibration's columns do not fit together")
        return made

    def __str__(self) -> str:
        rows = zip(self.ef, self.recall, self.distances, strict=True)
        lines = [f"{ef:>9}  {recall:9.4f}  {distances:9.0f}" for ef, recall, distances in rows]
        return "\n".join([f"ef_search  recall@{self.k:<2}  distances", *lines])


def _never_falls(column: Sequence[float]) -> bool:
    return all(a <= b for a, b in itertools.pairwise(column))


def measure(core: _Core, queries: NDArray[Any] | None, k: int, least: int, threads: int) -> Calibration:
    """Recall@k against exact search on at most 1,000 queries, at efforts from `least` on.

    Without `queries`, stored vectors take their place, each searched for as though neither it nor what equals it were
    in the index: the walk may not pass through it. Distances decide, not ids, so that equally near neighbours count as
    each other.
    """
    size = len(core)
    made = _curve(_search(core, queries, EVERYTHING, _MOST_QUERIES, threads), min(k, size), size, k, least)
    ids = np.sort(core.ids())
    some = ids[np.random.default_rng(0).random(size) < _SHARE]
    if not isinstance(core, _core.HnswIndex) or core.layout != "fused" or len(some) < 2 * k:
        return made  # walks by distances keep their effort, and searches among so few are exact
    among = _search(core, queries, CoreFilter(ids=some), _MOST_FILTERED, threads)
    bound = _bound(among, k)
    recalls = [float(np.mean(among(k, ef, "walk")[0] <= bound)) for ef in made.ef]
    return replace(made, filtered=tuple(np.maximum.accumulate(recalls).tolist()))


def measure_filtered(
    core: _Core, queries: NDArray[Any] | None, k: int, least: int, chosen: CoreFilter, threads: int
) -> Calibration:
    """As `measure`, of searches under one filter; ValueError where fewer than k items pass."""
    matches = core.count(*chosen)
    if matches < k:
        raise ValueError(f"{matches} items pass the filter, which is too few to calibrate it for k = {k}")
    return _curve(_search(core, queries, chosen, _MOST_QUERIES, threads), k, len(core), k, least)


def _curve(search: _Search, k_real: int, size: int, k: int, least: int) -> Calibration:
    """At growing effort."""
    bound = _bound(search, k_real)
    efs: list[int] = []
    recalls: list[float] = []
    distances: list[float] = []
    ef = least
    while True:
        found, cost = search(k_real, ef, "auto")
        efs.append(ef)
        recalls.append(max(float(np.mean(found <= bound)), *recalls[-1:], 0.0))
        distances.append(cost / len(found))
        if recalls[-1] >= 0.9995 or ef >= min(size, max(_LARGEST_EF, k)):
            break
        ef = min(size, max(ef + 1, int(ef * _STEP)))
    return Calibration(k, size, tuple(efs), tuple(recalls), tuple(distances))


def _bound(search: _Search, k: int) -> NDArray[np.float32]:
    """The exact k-th distances, up to which a result is one of the k nearest."""
    exact, _ = search(k, k, "exact")
    bound: NDArray[np.float32] = exact[:, -1:] + np.float32(1e-6) * np.abs(exact[:, -1:])
    return bound


def some_queries(queries: NDArray[Any], most: int = _MOST_QUERIES) -> NDArray[Any]:
    """All of them, or `most` drawn at random."""
    if len(queries) <= most:
        return queries
    chosen = np.random.default_rng(0).choice(len(queries), most, replace=False)
    return np.ascontiguousarray(queries[np.sort(chosen)])


def some_ids(core: _Core, most: int = _MOST_QUERIES) -> NDArray[np.int64]:
    """Up to `most` ids, drawn at random from those that a search can leave out."""
    bottom = core.bottom_ids()
    # Where all are on the way down, there are so few that every search is exact.
    ids = np.sort(bottom if len(bottom) else core.ids())
    return np.random.default_rng(0).choice(ids, min(most, len(ids)), replace=False)


def _search(
    core: _Core, queries: NDArray[Any] | None, chosen: CoreFilter, most: int, threads: int
) -> _Search:
    """For at most `most` of the queries, or of stored vectors left out."""
    left_out = some_ids(core, most) if queries is None else None
    given = None if queries is None else some_queries(queries, most)

    def search(k: int, ef: int, plan: str) -> tuple[NDArray[np.float32], int]:
        if left_out is not None:
            _, distances, _, cost, _ = core.search_left_out(left_out, k, ef, *chosen, threads, plan)
        else:
            assert given is not None
            _, distances, _, cost, _ = core.search(given, k, ef, ef, *chosen, threads, plan, False)
        return distances, cost[0]

    return search
