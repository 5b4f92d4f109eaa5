"""What effort a recall needs, measured on the index at hand."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _core

_MOST_QUERIES = 1000
#: Beyond this an exact scan is the better choice for nearly every index.
_LARGEST_EF = 4096
#: Between one ef and the next.
_STEP = 1.25


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
    """Recall@k against exact search on at most 1,000 queries (default: made from the stored vectors).

    Distances decide, not ids, so that equally near neighbours count as each other.
    """
    size = len(core)
    if queries is None:
        queries = beside_items(core, min(_MOST_QUERIES, size), threads)
    elif len(queries) > _MOST_QUERIES:
        chosen = np.random.default_rng(0).choice(len(queries), _MOST_QUERIES, replace=False)
        queries = np.ascontiguousarray(queries[np.sort(chosen)])
    k_real = min(k, size)
    _, exact, _, _ = core.search(queries, k_real, k_real, None, None, threads, True)
    bound = exact[:, -1:] + 1e-6 * np.abs(exact[:, -1:])
    efs: list[int] = []
    recalls: list[float] = []
    distances: list[float] = []
    ef = k
    while True:
        _, found, _, cost = core.search(queries, k_real, ef, None, None, threads, False)
        efs.append(ef)
        recalls.append(max(float(np.mean(found <= bound)), *recalls[-1:], 0.0))
        distances.append(cost[0] / len(queries))
        if recalls[-1] >= 0.9995 or ef >= min(size, max(_LARGEST_EF, k)):
            break
        ef = min(size, max(ef + 1, int(ef * _STEP)))
    return Calibration(k, size, tuple(efs), tuple(recalls), tuple(distances))


def beside_items(core: _core.HnswIndex, count: int, threads: int) -> NDArray[np.float32]:
    """Stored vectors moved at random, shape (count, dim), by 1.4 times the way to one of their ten nearest.

    A stored vector itself would be too easy a query, and so would what lies between it and its neighbours: the
    graph was built around them. On embeddings and clusters the effort that recall 0.95 needs for these queries gave
    ones that were held back 0.95 to 0.98; on Gaussian data of 32 dimensions it gave them 0.87 to 0.94.
    """
    rng = np.random.default_rng(0)
    ids = np.sort(core.ids())
    chosen = rng.choice(ids, count, replace=False)
    near, _, counts, _ = core.search(core.get(chosen), min(11, len(ids)), 64, None, None, threads, False)
    picks = near[np.arange(count), rng.integers(0, counts)]
    vectors, others = core.get(chosen).astype(np.float32), core.get(picks).astype(np.float32)
    away = rng.standard_normal(vectors.shape, dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # near the end of float32's range
        away *= np.linalg.norm(vectors - others, axis=1, keepdims=True) / np.linalg.norm(
            away, axis=1, keepdims=True
        )
        return np.asarray(np.nan_to_num(vectors + np.float32(1.4) * away))
