"""Exact nearest neighbours in numpy: the ground truth of data sets, independent of the compiled core."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._progress import Progress, reporter

#: annlib's metric names, by the names that ann-benchmarks and annlib itself use.
METRICS = {"euclidean": "l2", "l2": "l2", "angular": "cosine", "cosine": "cosine", "ip": "ip", "dot": "ip"}
_BLOCK_BYTES = 128 << 20

Array = NDArray[Any]


def metric_name(distance: str) -> str:
    """annlib's name for a metric or for an ann-benchmarks ``distance``; raises ValueError for others."""
    if distance not in METRICS:
        raise ValueError(f"unknown distance {distance!r}; there are {sorted(METRICS)}")
    return METRICS[distance]


def exact_neighbors(
    train: ArrayLike, queries: ArrayLike, metric: str = "l2", k: int = 100, *, progress: Progress = False
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Exact k nearest rows of `train` for every query, in annlib's distances.

    Matrix products in float64 find the candidates, blocks of about 128 MiB at a time; their distances are
    then computed once more row by row, so that equal vectors have equal distances and are ordered by row.

    Parameters
    ----------
    train, queries : array_like, shapes (n, d) and (q, d)
    metric : {"l2", "cosine", "ip"} or an ann-benchmarks name
    k : int
        At most n are returned.
    progress : bool or callable(done, total)
        True shows a bar of the queries done.

    Returns
    -------
    neighbors : ndarray of int32, shape (q, min(k, n))
    distances : ndarray of float64, shape (q, min(k, n))
        Squared for "l2".
    """
    rows, points, metric = np.asarray(train), np.asarray(queries), metric_name(metric)
    if rows.ndim != 2 or points.ndim != 2 or rows.shape[1] != points.shape[1]:
        raise ValueError(f"train and queries must be (n, d) and (q, d), not {rows.shape} and {points.shape}")
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    n, dim = rows.shape
    k = min(k, n)
    norms = np.concatenate([_norms(rows[part]) for part in _blocks(n, dim)]) if n else np.empty(0)
    neighbors, distances = np.empty((len(points), k), np.int32), np.empty((len(points), k), np.float64)
    largest = float(norms.max(initial=0.0))
    with reporter(progress, len(points), "exact neighbours") as report:
        for part in _blocks(len(points), max(n, 1)):
            block = points[part].astype(np.float64)
            approximate = _product_distances(rows, norms, block, metric)
            for query, line, row in zip(block, approximate, range(part.start, part.stop), strict=True):
                neighbors[row], distances[row] = _nearest(rows, query, line, metric, k, largest)
            report(part.stop)
    return neighbors, distances


def _blocks(count: int, width: int) -> Iterator[slice]:
    """Slices of range(count) whose rows of `width` float64 values fit a block."""
    size = max(1, _BLOCK_BYTES // (8 * width))
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _norms(rows: Array) -> NDArray[np.float64]:
    wide = rows.astype(np.float64)
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", wide, wide)))


def _product_distances(rows: Array, norms: Array, queries: Array, metric: str) -> NDArray[np.float64]:
    """All distances by ⟨x, q⟩, right to rounding, shape (q, n)."""
    result = np.empty((len(queries), len(rows)))
    own = _norms(queries)
    for part in _blocks(len(rows), rows.shape[1]):
        dots = queries @ rows[part].astype(np.float64).T
        if metric == "l2":
            result[:, part] = own[:, None] ** 2 + norms[part] ** 2 - 2 * dots
        elif metric == "cosine":
            scale = own[:, None] * norms[part]
            result[:, part] = 1 - np.divide(dots, scale, out=np.zeros_like(dots), where=scale > 0)
        else:
            result[:, part] = -dots
    return result


def _nearest(
    rows: Array, query: Array, approximate: Array, metric: str, k: int, largest: float
) -> tuple[Array, Array]:
    if not k:
        return np.empty(0, np.int32), np.empty(0)
    # What rounding may move a distance by: every row that could belong to the k nearest is computed again.
    scale = 1.0 if metric == "cosine" else (float(np.sqrt(query @ query)) + largest) ** 2
    slack = 8 * np.finfo(np.float64).eps * (len(query) + 8) * scale
    kth = np.partition(approximate, k - 1)[k - 1]
    candidates = np.flatnonzero(approximate <= kth + slack)
    exact = pair_distances(rows[candidates], query, metric)
    order = np.lexsort((candidates, exact))[:k]
    return candidates[order], exact[order]


def pair_distances(rows: Array, query: Array, metric: str) -> NDArray[np.float64]:
    """annlib's distances between one query (d,) and rows (m, d), row by row in float64; shape (m,)."""
    wide, query = rows.astype(np.float64), query.astype(np.float64)
    if metric == "l2":
        return np.asarray(((wide - query) ** 2).sum(axis=1))
    dots = np.asarray((wide * query).sum(axis=1))
    if metric == "ip":
        return -dots
    scale = np.sqrt((wide * wide).sum(axis=1) * (query * query).sum())
    return np.asarray(1 - np.divide(dots, scale, out=np.zeros_like(dots), where=scale > 0))
