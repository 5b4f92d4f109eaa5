"""What searches return."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

#: What the core counts over a batch, and what each number is called.
Cost: TypeAlias = "tuple[int, int, int, int, int, int]"
COST_NAMES = (
    "distance_computations",
    "hops",
    "rerank_computations",
    "reads",
    "bytes_read",
    "cache_hits",
)


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
        How many results of each query are real; one int for one query.
    plan : list of dict, or dict for one query, or None
        With ``explain=True`` how each query was answered: the ``plan`` ("walk", "two-hop", "subgraph", "lists", "scan"
        or "exact") that gave its results; whether it was ``switched`` to in mid-query, what was ``given_up`` then (the
        last, or None) and ``why``, and the ``share_around`` the query that had passed where a walk was given up (else
        1); the exact number of ``matches``; ``actual_us``, the microseconds that it took, of what several queries share
        its part; what a scan, the two walks, one through sub-graphs and posting lists were estimated to take (0
        where there was nothing to choose); how many ``subgraphs`` hold all matches (0 where none do) with how many
        ``subgraph_items``, and what was computed.
    """

    # Not a dataclass: a frozen one takes a microsecond to make, of the few that a single search takes.
    __slots__ = ("_cost", "counts", "distances", "ids", "plan")

    def __init__(
        self, ids: NDArray[Any], distances: NDArray[np.float32], counts: Any, cost: Cost, plan: Any = None
    ) -> None:
        self.ids = ids
        self.distances = distances
        self.counts = counts
        self._cost = cost
        self.plan = plan

    @property
    def stats(self) -> dict[str, int]:
        """Totals over the batch: distance_computations, hops, rerank_computations; of an index on disk also reads,
        bytes_read, cache_hits."""
        return dict(zip(COST_NAMES, self._cost, strict=True))

    def __iter__(self) -> Iterator[NDArray[Any]]:
        yield self.ids
        yield self.distances

    def __repr__(self) -> str:
        shape = "x".join(str(extent) for extent in self.ids.shape)
        return f"SearchResult({shape}, {int(np.sum(self.counts))} results)"


class RadiusResult:
    """All neighbours within a radius, in the layout of faiss' ``range_search``.

    Unpacks in three: ``lims, ids, distances = index.search_radius(...)``. The results of query i are
    ``ids[lims[i]:lims[i + 1]]`` and the distances beside them, nearest first.

    Attributes
    ----------
    lims : ndarray of int64, shape (n + 1,)
    ids : ndarray, shape (lims[-1],)
    distances : ndarray of float32, shape (lims[-1],)
    """

    __slots__ = ("_cost", "distances", "ids", "lims")

    def __init__(
        self, lims: NDArray[np.int64], ids: NDArray[Any], distances: NDArray[np.float32], cost: Cost
    ) -> None:
        self.lims = lims
        self.ids = ids
        self.distances = distances
        self._cost = cost

    @property
    def stats(self) -> dict[str, int]:
        """Totals over the batch: distance_computations, hops, rerank_computations; of an index on disk also reads,
        bytes_read, cache_hits."""
        return dict(zip(COST_NAMES, self._cost, strict=True))

    def __iter__(self) -> Iterator[NDArray[Any]]:
        yield self.lims
        yield self.ids
        yield self.distances

    def __repr__(self) -> str:
        return f"RadiusResult({len(self.lims) - 1} queries, {len(self.ids)} results)"


@dataclass(frozen=True)
class Repair:
    """What `HNSWIndex.repair` did.

    Attributes
    ----------
    queries : int
        Those that differ in their nearest items.
    broken : int
        Of these, those whose nearest items did not all lead to each other.
    links : int
        Made.
    nodes : int
        That got some of them.
    """

    queries: int
    broken: int
    links: int
    nodes: int
