"""What searches return."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Nearest neighbours of a batch of queries (or of one, then without the first axis).

    Unpacks in two: ``ids, distances = index.search(...)``.

    Attributes
    ----------
    ids : ndarray, shape (n, k)
        int64, or objects of type str; -1 or None where there are fewer than k results.
    distances : ndarray of float32, shape (n, k)
        Ascending; infinity where there are fewer than k results.
    counts : ndarray of int64, shape (n,)
        How many results of each query are real.
    stats : dict
        Totals over the batch: ``distance_computations``, ``hops``, ``rerank_computations``.
    """

    ids: NDArray[Any]
    distances: NDArray[np.float32]
    counts: Any
    stats: dict[str, int] = field(default_factory=dict)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        yield self.ids
        yield self.distances

    def __repr__(self) -> str:
        shape = "x".join(str(extent) for extent in self.ids.shape)
        return f"SearchResult({shape}, {int(np.sum(self.counts))} results)"


@dataclass(frozen=True, slots=True)
class RadiusResult:
    """All neighbours within a radius, in the layout of faiss' ``range_search``.

    Unpacks in three: ``lims, ids, distances = index.search_radius(...)``. The results of query i are
    ``ids[lims[i]:lims[i + 1]]`` and the distances beside them, nearest first.

    Attributes
    ----------
    lims : ndarray of int64, shape (n + 1,)
    ids : ndarray, shape (lims[-1],)
    distances : ndarray of float32, shape (lims[-1],)
    stats : dict
        As in SearchResult.
    """

    lims: NDArray[np.int64]
    ids: NDArray[Any]
    distances: NDArray[np.float32]
    stats: dict[str, int] = field(default_factory=dict)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        yield self.lims
        yield self.ids
        yield self.distances

    def __repr__(self) -> str:
        return f"RadiusResult({len(self.lims) - 1} queries, {len(self.ids)} results)"
