"""Items that come and go: the ones that live stay reachable, and recall stays that of a fresh build."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reference import ARXIV_EF, Array, Data, clustered, nearest, recall, vectors

import annlib


def assert_like_fresh(
    index: annlib.HNSWIndex, train: Array, queries: Array, metric: str, **options: Any
) -> None:
    """Everything is reachable and found by its own vector; recall@10 within a point of a fresh build's."""
    assert index.unreachable() == 0
    ids = index.ids
    assert (index.search(train, k=1, ef_search=64).ids[:, 0] == ids).mean() >= 0.999
    fresh = annlib.HNSWIndex.build(train, ids=ids, metric=metric, **options)
    exact = nearest(train, queries, metric, 10)[1]
    for ef in (10, 16, 32, 64):
        ours, theirs = (
            recall(i.search(queries, k=10, ef_search=ef).distances, exact, 1e-5) for i in (index, fresh)
        )
        assert theirs - ours <= 0.01, (ef, ours, theirs)


@pytest.mark.parametrize(
    ("how", "spread"),
    [
        ("delete then add", "even"),
        ("upsert", "even"),
        ("delete then add", "clusters"),
        ("upsert", "clusters"),
        ("delete clusters", "clusters"),
    ],
)
def test_half_of_the_set_replaced_ten_times(how: str, spread: str, rng: np.random.Generator) -> None:
    n, dim = 2500, 16
    rows, label = clustered(n + 10 * n // 2 + 300, dim, 40)
    if spread == "even":
        rows = vectors(len(rows), dim)
    queries, rows, label = rows[:300], rows[300:], label[300:]
    pool = iter(range(n, len(rows)))
    held = {i: i for i in range(n)}  # id -> row
    options: dict[str, Any] = {"M": 12, "ef_construction": 80}
    index = annlib.HNSWIndex.build(rows[:n], **options)
    for turn in range(10):
        ids = np.array(list(held))
        if how == "delete clusters":  # whole regions empty and fill again
            some = ids[np.argsort(rng.permutation(40)[label[[held[i] for i in ids]]], kind="stable")][
                : n // 2
            ]
        else:
            some = rng.choice(ids, n // 2, replace=False)
        fresh = np.array([next(pool) for _ in range(n // 2)])
        if how == "upsert":
            for part in np.array_split(np.arange(n // 2), 4):
                index.add(rows[fresh[part]], ids=some[part], on_conflict="update")
            held |= dict(zip(some.tolist(), fresh.tolist(), strict=True))
        else:
            for part in np.array_split(some, 3):
                index.delete(part)
            for gone in some.tolist():
                del held[gone]
            for part in np.array_split(fresh, 3):
                held |= dict(zip(index.add(rows[part]).tolist(), part.tolist(), strict=True))
        assert index.unreachable() == 0, turn
        assert index.ids.tolist() == list(held)
        own = index.search(rows[list(held.values())], k=1, ef_search=64)
        assert (own.ids[:, 0] == list(held)).mean() >= 0.999, turn
    assert_like_fresh(index, rows[list(held.values())], queries, "l2", **options)
    assert index.stats()["deleted_in_graph"] <= len(index) // 4
    index.compact()
    fresh_build = annlib.HNSWIndex.build(rows[list(held.values())], ids=list(held), **options)
    assert index.digest() == fresh_build.digest()


@pytest.mark.parametrize("codec", ["int8", "float16"])
def test_churn_over_codes(codec: str, rng: np.random.Generator) -> None:
    """The vectors drift, so that codes have to be trained anew."""
    n, dim = 2000, 32
    options: dict[str, Any] = {"codec": codec, "ef_construction": 80}
    index = annlib.HNSWIndex.build(vectors(n, dim), metric="l2", **options)
    for turn in range(1, 8):
        index.delete(rng.choice(index.ids, n // 2, replace=False))
        fresh = vectors(n // 2, dim, seed=turn) * (1 + turn) + turn
        for part in np.array_split(fresh, 4):
            index.add(part)
    train = index.get(index.ids)
    queries = train[rng.integers(0, n, 200)] + 0.5 * vectors(200, dim, seed=99)
    assert_like_fresh(index, train, queries, "l2", **options)


def test_one_at_a_time_through_the_graph_of_one_node() -> None:
    """The entry point goes away at every step."""
    train = vectors(300, 6)
    index = annlib.HNSWIndex(6)
    for i in range(299):
        index.add(train[i], ids=i)
        index.add(train[i + 1], ids=1000 + i)
        assert index.search(train[i], k=1, ef_search=1).ids.tolist() == [i]
        index.delete(i)
        assert index.search(train[i + 1], k=1, ef_search=1).ids.tolist() == [1000 + i]
        index.delete(1000 + i)
    assert len(index) == 0 and index.stats()["deleted_in_graph"] == 0


def test_the_last_ones_of_many(rng: np.random.Generator) -> None:
    """Nearly everything is deleted in small steps: what is left is found at every step."""
    train = vectors(3000, 8)
    index = annlib.HNSWIndex.build(train, ef_construction=60)
    order = rng.permutation(3000)
    for end in range(100, 3000, 100):
        index.delete(order[end - 100 : end])
        left = order[end:]
        assert index.unreachable() == 0
        result = index.search(train[left], k=1, ef_search=20)
        assert (result.ids[:, 0] == left).mean() >= 0.995
        few = index.search(train[left[0]], k=len(left))
        assert few.counts == len(left)


def test_churn_of_embeddings(arxiv: Data, rng: np.random.Generator) -> None:
    """Half of 3,000 embeddings are replaced by others of the set, five times."""
    rows = iter(rng.permutation(10_000))
    ids = np.array([next(rows) for _ in range(2500)])
    index = annlib.HNSWIndex.build(arxiv.train[ids], ids=ids, metric="cosine", ef_construction=ARXIV_EF)
    for _ in range(5):
        gone = rng.choice(index.ids, 1250, replace=False)
        index.delete(gone)
        fresh = np.array([next(rows) for _ in range(1250)])
        for part in np.array_split(fresh, 5):
            index.add(arxiv.train[part], ids=part)
    live = index.ids
    assert_like_fresh(index, arxiv.train[live], arxiv.queries, "cosine", ef_construction=ARXIV_EF)
