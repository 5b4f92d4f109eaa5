"""What the tests of the indexes hold them against: plain numpy, straight from the definitions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import annlib

Array = NDArray[Any]

METRICS = ("l2", "ip", "cosine")
DTYPES = ("float32", "float16", "int8", "uint8")


class SPANNInMemory(annlib.SPANNIndex):
    """SPANNIndex with the others' `build`, which has no path."""

    @classmethod
    def build(cls, vectors: Any, *args: Any, **options: Any) -> SPANNInMemory:
        made = super().build(None, vectors, *args, **options)
        assert isinstance(made, SPANNInMemory)
        return made


# As scripts of other processes know it.
SPANNInMemory.__name__ = "SPANNIndex"

INDEXES = (annlib.FlatIndex, annlib.HNSWIndex, SPANNInMemory)
#: ef_construction of graphs over the demo set: enough, and half the time of the default.
ARXIV_EF = 60


@dataclass(frozen=True)
class Data:
    """Vectors, queries and the exact neighbours of the queries."""

    train: Array
    queries: Array
    metric: str
    neighbours: Array
    distances: Array


def distances(train: Array, queries: Array, metric: str) -> NDArray[np.float64]:
    """All distances in float64, shape (q, n)."""
    x, q = train.astype(np.float64), queries.astype(np.float64)
    if metric == "l2":
        return np.array([((x - one) ** 2).sum(axis=1) for one in q]).reshape(len(q), len(x))
    dots = q @ x.T
    if metric == "ip":
        return -dots
    scale = np.linalg.norm(q, axis=1)[:, None] * np.linalg.norm(x, axis=1)
    return 1 - np.divide(dots, scale, out=np.zeros_like(dots), where=scale > 0)


def tolerance(train: Array, queries: Array, metric: str) -> float:
    """What float32 arithmetic may move a distance by."""
    if metric == "cosine":
        return 2e-6
    largest = max(
        float(np.linalg.norm(v.astype(np.float64), axis=1).max(initial=0)) for v in (train, queries)
    )
    return 2e-6 * (4 if metric == "l2" else 1) * largest**2


def nearest(
    train: Array, queries: Array, metric: str, k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Exact neighbours: rows and distances, both (q, min(k, n)), equal distances by row."""
    every = distances(train, queries, metric)
    rows = np.argsort(every, axis=1, kind="stable")[:, :k]
    return rows, np.take_along_axis(every, rows, axis=1)


def recall(found: Array, exact: Array, slack: float = 1e-6) -> float:
    """Recall by distance: what lies as near as the k-th exact neighbour counts, whichever of the equal ones it is.

    `found` and `exact` have shape (q, k); missing results are infinite.
    """
    bound = exact[:, -1:] + slack * (1 + np.abs(exact[:, -1:]))
    return float(np.mean(found <= bound))


def vectors(n: int, dim: int, dtype: str = "float32", seed: int = 0) -> Array:
    """Random vectors of a dtype, integers in all of their range."""
    rng = np.random.default_rng(seed)
    if dtype in ("int8", "uint8"):
        limits = np.iinfo(dtype)
        return rng.integers(limits.min, limits.max + 1, (n, dim)).astype(dtype)
    return rng.standard_normal((n, dim), dtype=np.float32).astype(dtype)


def islands(n: int, clusters: int, scale: float) -> tuple[Array, NDArray[np.int64]]:
    """Vectors and their clusters, between which hardly a link of a graph leads: each about as far as the next."""
    rng = np.random.default_rng(clusters)
    centers, labels = rng.normal(size=(clusters, 48)), rng.integers(clusters, size=n)
    return (centers[labels] + rng.normal(scale=scale, size=(n, 48))).astype(np.float32), labels


def clustered(n: int, dim: int, clusters: int, seed: int = 0) -> tuple[Array, NDArray[np.int64]]:
    """Gaussian clusters of unequal size and width in few of the dimensions each; with the cluster of every row."""
    rng = np.random.default_rng(seed)
    share = rng.dirichlet(np.full(clusters, 2.0))
    label = rng.choice(clusters, n, p=share)
    centre = rng.standard_normal((clusters, dim)) * 3
    width = rng.uniform(0.3, 1.2, (clusters, dim)) * (rng.random((clusters, dim)) < 0.6)
    rows = centre[label] + rng.standard_normal((n, dim)) * width[label] + 0.02 * rng.standard_normal((n, dim))
    return rows.astype(np.float32), label


def cross_modal(n: int, queries: int, alike: int, dim: int, seed: int = 0) -> tuple[Array, Array, Array]:
    """Data on a curved manifold; queries that share its place for a third, and for the rest lie in directions of their
    own and beside it all, as embeddings of texts do beside those of images; and queries of the data's own kind."""
    rng = np.random.default_rng(seed)
    manifold, text = rng.standard_normal((24, dim)), rng.standard_normal((8, dim))
    centre, gap = rng.standard_normal((300, 24)), rng.standard_normal(dim)

    def unit(rows: Array) -> Array:
        return rows / np.linalg.norm(rows, axis=-1, keepdims=True)

    def points(count: int) -> Array:
        place = centre[rng.integers(0, len(centre), count)] + 0.7 * rng.standard_normal((count, 24))
        return unit(2 * np.tanh(place) @ manifold + 0.05 * np.sqrt(dim) * rng.standard_normal((count, dim)))

    train = points(n)
    own = unit(rng.standard_normal((queries, 8)) @ text)
    other = unit(points(queries) + 2 * unit(gap) + 4 * own)
    return train.astype(np.float32), other.astype(np.float32), points(alike).astype(np.float32)


def lid(neighbours: Array) -> NDArray[np.float64]:
    """Local intrinsic dimension by maximum likelihood (Levina & Bickel; Amsaleg et al.) from distances (n, k) that ascend
    and are no squares: minus one over the mean of ln(r_i / r_k)."""
    r = np.maximum(neighbours, 1e-12)
    return -1 / np.minimum(np.log(r / r[:, -1:]).mean(axis=1), -1e-12)


def found_by(index: annlib.Index, queries: Array) -> list[list[int]]:
    """What processes of a pool do; here, where they can import it from."""
    return index.search(queries, k=3, threads=2).ids.tolist()  # type: ignore[no-any-return]


def assert_well_formed(result: annlib.SearchResult, k: int) -> None:
    """Sorted, no id twice, padded behind `counts`."""
    ids, dist = np.atleast_2d(result.ids), np.atleast_2d(result.distances)
    for row_ids, row_distances, count in zip(ids, dist, np.atleast_1d(result.counts), strict=True):
        assert len(row_ids) == len(row_distances) == k
        real = row_ids[:count].tolist()
        assert len(set(real)) == count
        assert None not in real and -1 not in real
        assert np.isfinite(row_distances[:count]).all()
        assert (np.diff(row_distances[:count]) >= 0).all()
        assert all(value in (-1, None) for value in row_ids[count:].tolist())
        assert np.isinf(row_distances[count:]).all()
