"""How far queries are from the data, how hard they are, and what of theirs is found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from .calibration import some_ids, some_queries

#: Queries more than half of which lie where hardly any of the data does are of another kind.
_FAR = 0.5
#: By how much greater a local dimension is another one.
_HARDER = 1.25
#: Neighbours from which a local intrinsic dimension is estimated.
_LID_NEIGHBOURS = 64

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Report:
    """Queries beside the data: see `HNSWIndex.report`. Prints as a table.

    Attributes
    ----------
    queries, k, ef_search : int
        What was measured, on how many queries.
    metric : str
    query_distance, data_distance : float
        Median distance of the k-th neighbour, of the queries and of stored vectors left out of the index, in the
        index's own unit.
    distance_ratio : float
        The first by the second, as lengths: Euclidean, under "cosine" and "ip" between unit vectors (under "ip" of the
        neighbours that the inner product chooses). About 1 for queries like the data.
    far : float
        Share of the queries whose k-th neighbour lies farther than those of 99 % of the stored vectors.
    query_lid, data_lid : tuple of float
        Quartiles (25, 50, 75 %) of the local intrinsic dimension by maximum likelihood, -1 / mean ln(r_i / r_k) over
        up to 64 neighbours (Levina & Bickel, NIPS 2004; Amsaleg et al., KDD 2015), with the lengths above: how many
        directions neighbours lie in. The higher, the harder a query is to any graph.
    recall : float
        Recall@k of the queries at `ef_search`.
    recall_by_lid : tuple of float
        The same of the quarter of queries with the least dimension, of the next, and so on.
    distances : float
        Distances computed a query.
    """

    queries: int
    k: int
    ef_search: int
    metric: str
    query_distance: float
    data_distance: float
    distance_ratio: float
    far: float
    query_lid: tuple[float, float, float]
    data_lid: tuple[float, float, float]
    recall: float
    recall_by_lid: tuple[float, ...]
    distances: float

    @property
    def verdict(self) -> str:
        """In words."""
        if self.far > _FAR:
            return "far from the data: repair() with thousands of such queries helps"
        if self.query_lid[1] > _HARDER * self.data_lid[1]:
            return "near the data, but harder than it: a higher ef_search or M helps"
        return "much like the data: repair() has little to gain"

    def __str__(self) -> str:
        def quartiles(lid: tuple[float, float, float]) -> str:
            return "  ".join(f"{value:.1f}" for value in lid)

        by_lid = "  ".join(f"{value:.4f}" for value in self.recall_by_lid)
        rows = (
            ("queries", f"{self.queries:,}, {self.verdict}"),
            ("distance to them", f"{self.distance_ratio:.2f} times that within the data"),
            (
                f"{self.k}-th neighbour",
                f"{self.query_distance:.4g} (data: {self.data_distance:.4g}, {self.metric})",
            ),
            ("farther than 99 % of data", f"{self.far:.1%}"),
            ("local dimension, quartiles", f"{quartiles(self.query_lid)} (data: {quartiles(self.data_lid)})"),
            (f"recall@{self.k}", f"{self.recall:.4f} at ef_search {self.ef_search}"),
            ("  by local dimension", f"{by_lid} (least to greatest)"),
            ("distances a query", f"{self.distances:,.0f}"),
        )
        return "\n".join(f"{name:<27} {value}" for name, value in rows)


@dataclass(frozen=True)
class _Neighbours:
    """Of some vectors: exact distances (n, near), lengths (n, near) that ascend, and how many of these are real."""

    distances: NDArray[np.float32]
    lengths: Floats
    counts: NDArray[np.int64]

    def kth(self, k: int) -> tuple[Floats, Floats]:
        """Distance and length of the k-th, or of the last where there are fewer; of those that have any."""
        rows = np.flatnonzero(self.counts)
        at = np.minimum(self.counts[rows], k) - 1
        return self.distances[rows, at].astype(np.float64), self.lengths[rows, at]

    def lid(self) -> Floats:
        """Local intrinsic dimensions (n,); infinite where all neighbours are equally far."""
        real = (np.arange(self.lengths.shape[1]) < self.counts[:, None]) & (self.lengths > 0)
        last = np.where(real, self.lengths, 0).max(axis=1, keepdims=True)
        logs = np.log(np.divide(self.lengths, last, out=np.ones_like(self.lengths), where=real)).sum(axis=1)
        return np.asarray(np.divide(-real.sum(axis=1), logs, out=np.full(len(logs), np.inf), where=logs < 0))


def measure(core: _core.HnswIndex, queries: NDArray[Any], k: int, ef: int, threads: int) -> Report:
    """A report on `queries`, (n, dim) with n > 0, and an index that is not empty."""
    queries = some_queries(queries)
    size = len(core)
    near, k_real = min(max(k, _LID_NEIGHBOURS), size), min(k, size)
    ids, exact, counts, *_ = core.search(queries, near, near, near, None, None, None, threads, "exact", False)
    theirs = _Neighbours(exact, _lengths(core, queries, ids, exact), counts)
    chosen = some_ids(core)
    ids, own, counts, *_ = core.search_left_out(chosen, near, near, None, None, None, threads, "exact")
    data = _Neighbours(own, _lengths(core, core.get(chosen), ids, own), counts)
    if not data.counts.any():
        raise ValueError("a report needs an index of at least two different vectors")
    _, found, _, cost, _ = core.search(queries, k_real, ef, ef, None, None, None, threads, "auto", False)
    bound = exact[:, k_real - 1 : k_real]
    right = np.mean(found <= bound + 1e-6 * np.abs(bound), axis=1)
    lid = theirs.lid()
    quarters = np.array_split(right[np.argsort(lid, kind="stable")], 4)
    (distance, length), (own_distance, own_length) = theirs.kth(k), data.kth(k)
    middle = float(np.median(own_length))
    return Report(
        queries=len(queries),
        k=k,
        ef_search=ef,
        metric=core.metric,
        query_distance=float(np.median(distance)),
        data_distance=float(np.median(own_distance)),
        distance_ratio=float(np.median(length)) / middle if middle > 0 else float("inf"),
        far=float(np.mean(length > np.quantile(own_length, 0.99))),
        query_lid=_quartiles(lid),
        data_lid=_quartiles(data.lid()[data.counts > 0]),
        recall=float(np.mean(right)),
        recall_by_lid=tuple(float(np.mean(part)) for part in quarters if len(part)),
        distances=cost[0] / len(queries),
    )


def _lengths(core: _core.HnswIndex, queries: NDArray[Any], ids: NDArray[np.int64], distances: Any) -> Floats:
    """Distances as lengths, ascending; infinite where there is no neighbour."""
    wide = np.asarray(distances, np.float64)
    if core.metric == "l2":
        return np.sqrt(wide)
    if core.metric == "ip":
        known, places = np.unique(ids[ids >= 0], return_inverse=True)
        scale = np.full(ids.shape, np.inf)
        scale[ids >= 0] = _norms(core.get(known))[places.ravel()]
        scale *= _norms(queries)[:, None]
        wide = np.where(
            ids >= 0, 1 + np.divide(wide, scale, out=np.zeros_like(wide), where=scale > 0), np.inf
        )
    return np.sort(np.sqrt(2 * np.maximum(wide, 0)), axis=1)


def _norms(vectors: NDArray[Any]) -> Floats:
    return np.asarray(np.linalg.norm(vectors.astype(np.float64), axis=1))


def _quartiles(values: Floats) -> tuple[float, float, float]:
    # One of the values each: between an infinite one and another there is nothing to draw a line through.
    low, middle, high = np.percentile(values, (25, 50, 75), method="nearest")
    return float(low), float(middle), float(high)
