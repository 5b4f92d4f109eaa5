"""Equal vectors in great number: they cost neither time nor recall, and no life of theirs hides the others."""

from __future__ import annotations

import copy
import time

import numpy as np
import pytest
from reference import Array, assert_well_formed, nearest, recall, vectors

import annlib

N, DIM = 10_000, 16
EQUAL = np.arange(N, 2 * N)


@pytest.fixture(scope="module")
def others() -> Array:
    return vectors(N, DIM)


@pytest.fixture(scope="module")
def train(others: Array) -> Array:
    """10,000 random vectors, then 10,000 copies of one."""
    return np.concatenate([others, np.repeat(vectors(1, DIM, seed=7) * 0.5, N, axis=0)])


@pytest.fixture(scope="module")
def queries(train: Array) -> Array:
    """At random, and close by the copies."""
    return np.concatenate([vectors(100, DIM, seed=1), train[-1] + 0.3 * vectors(100, DIM, seed=2)])


def check(index: annlib.HNSWIndex, train: Array, live: Array, queries: Array, least: float = 0.98) -> None:
    """Recall by distance, where any of the copies counts as the others."""
    assert len(index) == len(live) and index.unreachable() == 0
    for k in (1, 10, 50):
        result = index.search(queries, k=k, ef_search=max(100, k))
        assert_well_formed(result, k)
        assert (result.counts == k).all() and set(result.ids.ravel().tolist()) <= set(live.tolist())
        assert recall(result.distances, nearest(train[live], queries, "l2", k)[1], 1e-5) >= least
    copies = np.intersect1d(live, EQUAL)
    if len(copies):  # all of them, and nothing else before them
        result = index.search(train[-1], k=len(copies) + 3)
        assert set(result.ids[: len(copies)].tolist()) == set(copies.tolist())
        assert result.distances[len(copies) - 1] <= 1e-5 < result.distances[len(copies)]


def test_bulk(train: Array, others: Array, queries: Array) -> None:
    start = time.perf_counter()
    annlib.HNSWIndex.build(others, ef_construction=60)
    middle = time.perf_counter()
    index = annlib.HNSWIndex.build(train, ef_construction=60)
    end = time.perf_counter()
    check(index, train, np.arange(2 * N), queries)
    assert index.stats()["duplicates"] == N - 1
    # Twice the vectors. Others need fifty times the time for this.
    assert end - middle < 4 * (middle - start) + 1
    order = np.random.default_rng(0).permutation(2 * N)
    again = annlib.HNSWIndex.build(train[order], ids=order, ef_construction=60, threads=1)
    assert again.digest() == index.digest()


def test_pieces_and_deletions(train: Array, queries: Array, rng: np.random.Generator) -> None:
    order = rng.permutation(2 * N)
    index = annlib.HNSWIndex(DIM, ef_construction=40)
    for part in np.array_split(order, 25):
        index.add(train[part], ids=part)
    everything = np.arange(2 * N)
    check(index, train, everything, queries)
    # The copy that stands for all of them in the graph goes, again and again: the nearest one by any search may be it.
    live = everything
    for _ in range(30):
        gone = index.search(train[-1], k=5).ids
        index.delete(gone)
        live = np.setdiff1d(live, gone)
    check(index, train, live, queries)
    # All copies but three, then the rest, then others.
    copies = np.intersect1d(live, EQUAL)
    index.delete(copies[3:])
    live = np.setdiff1d(live, copies[3:])
    check(index, train, live, queries)
    index.delete(copies[:3])
    live = np.setdiff1d(live, copies[:3])
    check(index, train, live, queries)
    # They come back under other ids, beside the dead node of theirs.
    index.add(train[EQUAL[:500]], ids=EQUAL[:500])
    live = np.union1d(live, EQUAL[:500])
    check(index, train, live, queries)
    index.delete(np.arange(0, N, 2))
    live = np.setdiff1d(live, np.arange(0, N, 2))
    check(index, train, live, queries)


def test_updates_to_and_from_copies(train: Array, queries: Array) -> None:
    index = annlib.HNSWIndex.build(train[:4000], ef_construction=40)
    expected = train[:4000].copy()
    index.update(np.arange(1000), np.repeat(train[-1:], 1000, axis=0))
    expected[:1000] = train[-1]
    for start in range(0, 1000, 100):  # away from it again, the first ones first
        some = np.arange(start, start + 100)
        index.update(some, train[some] * 1.5)
        expected[some] = train[some] * 1.5
        left = 900 - start
        result = index.search(train[-1], k=left + 1)
        assert (result.distances[:left] <= 1e-5).all() and result.distances[left] > 1e-5
    np.testing.assert_array_equal(index.get(np.arange(4000)), expected)
    exact = nearest(expected, queries, "l2", 10)[1]
    assert recall(index.search(queries, k=10, ef_search=100).distances, exact, 1e-5) >= 0.98
    assert index.unreachable() == 0


def test_everything_equal() -> None:
    index = annlib.HNSWIndex.build(np.ones((5000, 8), np.uint8))
    assert index.stats()["duplicates"] == 4999
    assert len(set(index.search(np.ones(8), k=5000).ids.tolist())) == 5000
    index.delete(np.arange(4999))
    assert index.search(np.zeros(8), k=2).ids.tolist() == [4999, -1]
    index.add(np.ones((2000, 8), np.uint8))
    assert index.search(np.zeros(8), k=3000).counts == 2001 and index.unreachable() == 0


@pytest.mark.parametrize(
    ("metric", "codec"),
    [
        ("cosine", "float32"),
        ("l2", "float16"),
        ("cosine", "int8"),
        ("l2", "int8"),
        ("ip", "int8"),
    ],
)
def test_equal_by_distance_or_by_code_but_not_by_bytes(metric: str, codec: str) -> None:
    """Multiples of one direction under cosine, and copies moved by less than a code can tell, are no equal vectors."""
    rng = np.random.default_rng(5)
    others = vectors(3000, 32)
    base = vectors(1, 32, seed=8)
    near = (
        base * rng.uniform(0.5, 2, (3000, 1))
        if metric == "cosine"
        else base + 1e-4 * vectors(3000, 32, seed=9)
    )
    train = np.concatenate([others, near]).astype(np.float32)
    start = time.perf_counter()
    annlib.HNSWIndex.build(vectors(6000, 32, seed=3), metric=metric, codec=codec, ef_construction=60)
    middle = time.perf_counter()
    index = annlib.HNSWIndex.build(train, metric=metric, codec=codec, ef_construction=60)
    assert time.perf_counter() - middle < 5 * (middle - start) + 1
    assert index.unreachable() == 0
    queries = np.concatenate([vectors(100, 32, seed=1), base + 0.3 * vectors(50, 32, seed=2)])
    exact = nearest(train, queries, metric, 10)[1]
    found = index.search(queries, k=10, ef_search=150).distances
    # What lies within rounding of the k-th is as near.
    assert recall(found[:100], exact[:100], 1e-4) >= 0.95
    assert recall(found[100:], exact[100:], 1e-4 if metric == "cosine" else 2e-3) >= 0.95


def near_copies(dim: int = 32) -> np.ndarray:
    """10 vectors with 500 copies each that differ by less than a code can tell, among 5,000 others; and 200 queries."""
    rng = np.random.default_rng(11)
    centres = np.repeat(rng.uniform(-1, 1, (10, dim)), 500, axis=0)
    rows = np.concatenate([rng.uniform(-1, 1, (5200, dim)), centres + 1e-4 * rng.uniform(-1, 1, (5000, dim))])
    return rows.astype(np.float32)


@pytest.mark.parametrize(("metric", "grown"), [("l2", False), ("cosine", False), ("ip", False), ("l2", True)])
def test_near_copies_over_codes(metric: str, grown: bool) -> None:
    rows = near_copies()
    queries, train = np.concatenate([rows[:200], rows[-5000::50] + np.float32(1e-5)]), rows[200:]
    index = annlib.HNSWIndex.build(
        train[: 5100 if grown else None], metric=metric, codec="int8", ef_construction=60
    )
    for start in range(len(index), len(train), 500):
        index.add(train[start : start + 500])
    assert index.unreachable() == 0
    assert index.stats()["codec"] == "float32" and "int8" in index.stats()["codec_reason"]
    exact = nearest(train, queries, metric, 10)[1]
    plain = annlib.HNSWIndex.build(train, metric=metric, codec="float32", ef_construction=60)
    for part in (slice(200), slice(200, None)):
        ours, theirs = (
            recall(i.search(queries[part], k=10, ef_search=60).distances, exact[part], 1e-7)
            for i in (index, plain)
        )
        assert ours >= theirs - 0.01
    assert copy.copy(index).digest() == index.digest()


def test_a_few_near_copies_leave_the_codes() -> None:
    rows = near_copies()
    index = annlib.HNSWIndex.build(rows[:5240], codec="int8", ef_construction=60)
    assert index.stats()["codec"] == "int8" and index.unreachable() == 0
