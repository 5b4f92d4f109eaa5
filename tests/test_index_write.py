"""Delete, update, upsert and compact, each against a plain dict of what the index should hold."""

from __future__ import annotations

import numpy as np
import pytest
from reference import METRICS, Array, assert_well_formed, nearest, recall, vectors

import annlib


def assert_holds(
    index: annlib.Index, truth: dict[int, Array], queries: Array, metric: str, least: float
) -> None:
    """The index has exactly the items of `truth`, by order of arrival, and searches find them."""
    keys = list(truth)
    assert len(index) == len(truth)
    assert index.ids.tolist() == keys
    if not truth:
        return
    train = np.stack([truth[key] for key in keys])
    np.testing.assert_array_equal(index.get(keys), train)
    result = index.search(queries, k=10, ef_search=50)
    assert_well_formed(result, 10)
    assert set(result.ids.ravel().tolist()) - {-1} <= set(keys)
    exact = np.full((len(queries), 10), np.inf)
    rows = nearest(train, queries, metric, 10)[1]
    exact[:, : rows.shape[1]] = rows
    assert recall(result.distances[:, : rows.shape[1]], rows, 1e-5) >= least
    if isinstance(index, annlib.HNSWIndex):
        assert index.unreachable() == 0


@pytest.mark.parametrize("metric", METRICS)
def test_a_long_random_life(kind: type[annlib.FlatIndex], metric: str, rng: np.random.Generator) -> None:
    index = kind(12, metric)
    queries = vectors(40, 12, seed=9)
    truth: dict[int, Array] = {}
    least = 1.0 if kind is annlib.FlatIndex else 0.97
    for step in range(40):
        fresh = rng.standard_normal((int(rng.integers(1, 400)), 12), dtype=np.float32)
        known = rng.permutation(np.array(list(truth), np.int64))
        if step % 4 == 0 or len(known) < 50:
            ids = index.add(fresh)
            truth |= dict(zip(ids.tolist(), fresh, strict=True))
        elif step % 4 == 1:
            gone = known[: len(known) // 3]
            index.delete(gone)
            for key in gone.tolist():
                del truth[key]
        elif step % 4 == 2:
            changed = known[: len(fresh)]
            index.update(changed, fresh[: len(changed)])
            truth |= dict(zip(changed.tolist(), fresh, strict=False))
        else:
            mixed = np.concatenate([known[: len(fresh) // 2], 10**6 + step * 1000 + np.arange(len(fresh))])
            mixed = mixed[: len(fresh)]
            index.add(fresh, ids=mixed, on_conflict="update")
            truth |= dict(zip(mixed.tolist(), fresh, strict=True))
        if step % 8 == 7:
            assert_holds(index, truth, queries, metric, least)
    index.compact()
    assert_holds(index, truth, queries, metric, least)
    keys = rng.permutation(list(truth))
    fresh = kind.build(np.stack([truth[k] for k in keys]), ids=keys, metric=metric)
    if kind is annlib.FlatIndex:  # its rows lie by arrival until compact()
        fresh.compact()
    assert index.digest() == fresh.digest()


def test_delete_is_seen_at_once(kind: type[annlib.FlatIndex]) -> None:
    train = vectors(2000, 8)
    index = kind.build(train)
    for one in range(0, 300, 3):
        assert index.search(train[one], k=1).ids[0] == one
        index.delete(one)
        assert one not in index
        assert index.search(train[one], k=1).ids[0] != one
    index.delete(np.array([1, 2, 4]))
    index.delete(range(5, 300, 3))
    assert len(index) == 2000 - 100 - 3 - 99
    index.delete([])
    everything = index.search(train[0], k=2000)
    assert everything.counts == len(index)
    assert set(everything.ids[: len(index)].tolist()) == set(index.ids.tolist())


def test_deleting_everything_and_starting_over(kind: type[annlib.FlatIndex]) -> None:
    train = vectors(1200, 8)
    index = kind.build(train)
    for part in np.array_split(np.random.default_rng(0).permutation(1200), 7):
        index.delete(part)
    assert len(index) == 0
    assert index.search(train[:3], k=2).counts.tolist() == [0, 0, 0]
    index.compact()
    assert index.digest() == kind(8).digest()
    index.add(train[::-1], ids=np.arange(1200)[::-1])
    index.compact()
    again = kind.build(train)
    again.compact()
    assert index.digest() == again.digest()


def test_update_moves_items_and_keeps_their_place(kind: type[annlib.FlatIndex]) -> None:
    train = vectors(1800, 8)
    index = kind.build(train)
    moved = np.arange(100, 700)
    index.update(moved, train[moved] + 100)
    assert index.ids.tolist() == list(range(1800))
    np.testing.assert_array_equal(index.get(moved), train[moved] + 100)
    assert index.search(train[moved] + 100, k=1, ef_search=50).ids.ravel().tolist() == moved.tolist()
    assert not set(index.search(train[moved], k=10).ids.ravel().tolist()) & set(moved.tolist())
    index.update(5, train[6])
    np.testing.assert_array_equal(index.get(5), train[6])
    index.update(5, train[5])
    index.update(moved, train[moved])
    index.compact()
    fresh = kind.build(train)
    fresh.compact()
    assert index.digest() == fresh.digest()


def test_update_with_the_same_vector_and_swapped_vectors(kind: type[annlib.FlatIndex]) -> None:
    train = vectors(1800, 8)
    index = kind.build(train)
    index.update(np.arange(1800), train)
    index.update([3, 4, 5], train[[3, 4, 5]])
    index.update([10, 11], train[[11, 10]])
    expected = train.copy()
    expected[[10, 11]] = train[[11, 10]]
    np.testing.assert_array_equal(index.get(np.arange(1800)), expected)
    assert index.search(train, k=1, ef_search=50).distances.max() <= 1e-6
    assert index.search(train[[10, 11]], k=1).ids.ravel().tolist() == [11, 10]


def test_on_conflict(kind: type[annlib.FlatIndex]) -> None:
    train = vectors(10, 4)
    index = kind.build(train[:5])
    with pytest.raises(KeyError, match="3"):
        index.add(train[5:7], ids=[20, 3])
    assert 20 not in index
    index.add(train[5:7], ids=[20, 3], on_conflict="update")
    assert index.ids.tolist() == [0, 1, 2, 3, 4, 20]
    np.testing.assert_array_equal(index.get([20, 3]), train[5:7])
    with pytest.raises(ValueError, match="ignore"):
        index.add(train[:1], on_conflict="ignore")  # type: ignore[arg-type]


def test_string_ids_through_a_life(kind: type[annlib.FlatIndex]) -> None:
    train = vectors(3000, 8)
    names = np.array([f"item {i}" for i in range(3000)], dtype=object)
    index = kind(8)
    index.add(train[:1000], ids=names[:1000])
    index.add(train[1000:], ids=names[1000:])
    index.delete(names[::2])
    assert index.ids.tolist() == names[1::2].tolist()
    assert index.search(train[1::2], k=1, ef_search=40).ids.ravel().tolist() == names[1::2].tolist()
    index.update(names[1:101:2], train[:100:2])
    assert index.search(train[:100:2], k=1, ef_search=40).ids.ravel().tolist() == names[1:101:2].tolist()
    index.add(train[:10:2], ids=names[:10:2])  # names that were deleted are free again
    index.compact()
    assert set(index.search(train[0], k=len(index)).ids.tolist()) == set(index.ids.tolist())
    index.delete(index.ids)
    assert len(index) == 0
    index.add(train[:3])  # an emptied index takes the kind of ids that comes
    assert index.ids.dtype == np.int64


def test_an_empty_add_leaves_the_kind_of_ids(kind: type[annlib.FlatIndex]) -> None:
    index = kind.build(vectors(3, 2), ids=["a", "b", "c"])
    index.add(np.empty((0, 2), np.float32), ids=[])
    assert index.ids.tolist() == ["a", "b", "c"]
    assert index.search(np.ones(2), k=1).ids[0] in ("a", "b", "c")


def test_the_largest_id(kind: type[annlib.FlatIndex], tmp_path: object) -> None:
    """After 2**63 - 1 there is no next number: adding without ids says so, and the index can still be saved."""
    index = kind.build(vectors(2, 3), ids=[1, 2**63 - 1])
    with pytest.raises(ValueError, match="ids"):
        index.add(vectors(1, 3))
    index.save(f"{tmp_path}/large.ann")
    loaded = annlib.load(f"{tmp_path}/large.ann")
    assert loaded.ids.tolist() == [1, 2**63 - 1]
    loaded.add(vectors(1, 3), ids=[5])


def test_compact_changes_no_answer(kind: type[annlib.FlatIndex]) -> None:
    train = vectors(2500, 10)
    index = kind.build(train, metric="cosine")
    index.delete(np.arange(0, 2500, 7))
    before, ids = index.search(train, k=1, ef_search=100), index.ids.tolist()
    index.compact()
    assert index.ids.tolist() == ids
    after = index.search(train, k=1, ef_search=100)
    assert (before.ids == after.ids).mean() > 0.995
    assert index.stats().get("deleted_in_graph", 0) == 0
    digest = index.digest()
    index.compact()
    assert index.digest() == digest
