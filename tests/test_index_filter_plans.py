"""Filters at every selectivity, with and against what lies near the query, on both layouts."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

import annlib

N, DIM, CLUSTERS = 12_000, 64, 24


@pytest.fixture(scope="module")
def points() -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    rng = np.random.default_rng(7)
    centers = rng.normal(size=(CLUSTERS, DIM)).astype(np.float32)
    labels = rng.integers(CLUSTERS, size=N)
    vectors = centers[labels] + rng.normal(scale=0.7, size=(N, DIM)).astype(np.float32)
    query_labels = rng.integers(CLUSTERS, size=40)
    queries = centers[query_labels] + rng.normal(scale=0.7, size=(40, DIM)).astype(np.float32)
    return vectors.astype(np.float32), labels, queries.astype(np.float32), query_labels


@pytest.fixture(scope="module", params=["plain", "fused"])
def index(request: pytest.FixtureRequest, points: tuple[NDArray[np.float32], ...]) -> annlib.HNSWIndex:
    return annlib.HNSWIndex.build(points[0], codec="int8", layout=request.param)


def recall(
    index: annlib.HNSWIndex, vectors: NDArray[np.float32], query: NDArray[np.float32], mask: NDArray[np.bool_]
) -> float:
    found = index.search(query, 10, filter=mask)
    passing = np.flatnonzero(mask)
    wanted = min(10, len(passing))
    assert found.counts == wanted
    assert mask[found.ids[:wanted]].all()
    nearest = passing[np.argsort(((vectors[passing] - query) ** 2).sum(1), kind="stable")[:wanted]]
    return len(np.intersect1d(found.ids[:wanted], nearest)) / max(wanted, 1)


@pytest.mark.parametrize("share", [0.0005, 0.005, 0.02, 0.05, 0.1, 0.3, 0.6, 0.95])
def test_random_filters(
    index: annlib.HNSWIndex, points: tuple[NDArray[np.float32], ...], share: float
) -> None:
    vectors, _, queries, _ = points
    mask = np.random.default_rng(1).random(N) < share
    assert np.mean([recall(index, vectors, query, mask) for query in queries]) >= 0.97


@pytest.mark.parametrize("shift", [0, 1, CLUSTERS // 2])
@pytest.mark.parametrize("width", [1, 4, 12])
def test_filters_for_and_against_the_query(
    index: annlib.HNSWIndex, points: tuple[NDArray[np.float32], ...], shift: int, width: int
) -> None:
    vectors, labels, queries, query_labels = points
    reached = [
        recall(index, vectors, query, (labels - label - shift) % CLUSTERS < width)
        for query, label in zip(queries, query_labels, strict=True)
    ]
    assert np.mean(reached) >= 0.97


def test_no_query_pays_for_those_before_it(
    index: annlib.HNSWIndex, points: tuple[NDArray[np.float32], ...]
) -> None:
    queries, mask = points[2], np.random.default_rng(2).random(N) < 0.7
    alone = [index.search(query, 10, filter=mask) for query in queries]
    together = index.search(queries, 10, filter=mask, threads=1)
    assert together.stats["distance_computations"] == sum(one.stats["distance_computations"] for one in alone)
    assert np.array_equal(together.ids, np.stack([one.ids for one in alone]))
