"""What effort a recall needs, measured on the index at hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import _core

_MOST_QUERIES = 1000
#: Beyond this an exact scan is the better choice for nearly every index.
_LARGEST_EF = 4096
#: Between one ef and the next.
_STEP = 1.25

#: Distances (n, k), and how many were computed, of a search with (k, ef, exact) for one set of queries.
_Search: TypeAlias = "Callable[[int, int, bool], tuple[NDArray[np.float32], int]]"


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
    """

    k: int
    size: int
    ef: tuple[int, ...]
    recall: tuple[float, ...]
    distances: tuple[float, ...]

    def fits(self, size: int) -> bool:
        """Whether the index is still much the same size."""
        return abs(size - self.size) * 5 <= self.size

    def ef_for(self, target: float) -> int:
        """The least ef whose recall reached `target`, between the ones measured by straight lines; else the largest."""
        for i, recall in enumerate(self.recall):
            if recall < target:
                continue
            if i == 0:
                return self.ef[0]
            share = (target - self.recall[i - 1]) / (recall - self.recall[i - 1])
            return int(np.ceil(self.ef[i - 1] + share * (self.ef[i] - self.ef[i - 1])))
        return self.ef[-1]

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
        )
        if (
            not 0 < len(made.ef) == len(made.recall) == len(made.distances)
            or min(made.ef) < 1
            or max(made.ef) >= 2**31
        ):
            raise ValueError("a calibration's columns do not fit together")
        return made

    def __str__(self) -> str:
        rows = zip(self.ef, self.recall, self.distances, strict=True)
        lines = [f"{ef:>9}  {recall:9.4f}  {distances:9.0f}" for ef, recall, distances in rows]
        return "\n".join([f"ef_search  recall@{self.k:<2}  distances", *lines])


def measure(core: _core.HnswIndex, queries: NDArray[Any] | None, k: int, threads: int) -> Calibration:
    """Recall@k against exact search on at most 1,000 queries.

    Without `queries`, stored vectors take their place, each searched for as though neither it nor what equals it were
    in the index: the walk may not pass through it. Distances decide, not ids, so that equally near neighbours count as
    each other.
    """
    size = len(core)
    search = _left_out(core, threads) if queries is None else _given(core, queries, threads)
    k_real = min(k, size)
    exact, _ = search(k_real, k_real, True)
    bound = exact[:, -1:] + 1e-6 * np.abs(exact[:, -1:])
    efs: list[int] = []
    recalls: list[float] = []
    distances: list[float] = []
    ef = k
    while True:
        found, cost = search(k_real, ef, False)
        efs.append(ef)
        recalls.append(max(float(np.mean(found <= bound)), *recalls[-1:], 0.0))
        distances.append(cost / len(found))
        if recalls[-1] >= 0.9995 or ef >= min(size, max(_LARGEST_EF, k)):
            break
        ef = min(size, max(ef + 1, int(ef * _STEP)))
    return Calibration(k, size, tuple(efs), tuple(recalls), tuple(distances))


def some_queries(queries: NDArray[Any]) -> NDArray[Any]:
    """All of them, or 1,000 drawn at random."""
    if len(queries) <= _MOST_QUERIES:
        return queries
    chosen = np.random.default_rng(0).choice(len(queries), _MOST_QUERIES, replace=False)
    return np.ascontiguousarray(queries[np.sort(chosen)])


def some_ids(core: _core.HnswIndex) -> NDArray[np.int64]:
    """Up to 1,000 ids, drawn at random from those that a search can leave out."""
    bottom = core.bottom_ids()
    # Where all are on the way down, there are so few that every search is exact.
    ids = np.sort(bottom if len(bottom) else core.ids())
    return np.random.default_rng(0).choice(ids, min(_MOST_QUERIES, len(ids)), replace=False)


def _given(core: _core.HnswIndex, queries: NDArray[Any], threads: int) -> _Search:
    queries = some_queries(queries)

    def search(k: int, ef: int, exact: bool) -> tuple[NDArray[np.float32], int]:
        plan = "exact" if exact else "auto"
        _, distances, _, cost, _ = core.search(queries, k, ef, None, None, None, threads, plan, False)
        return distances, cost[0]

    return search


def _left_out(core: _core.HnswIndex, threads: int) -> _Search:
    chosen = some_ids(core)

    def search(k: int, ef: int, exact: bool) -> tuple[NDArray[np.float32], int]:
        _, distances, _, cost, _ = core.search_left_out(chosen, k, ef, threads, exact)
        return distances, cost[0]

    return search
