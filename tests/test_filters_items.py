"""Listed items as parts of expressions: ids and masks joined with conditions on attributes."""

from __future__ import annotations

import numpy as np
import pytest
from reference import vectors

import annlib
from annlib import F

N, DIM = 3000, 8
TRAIN = vectors(N, DIM)
SIZE = np.arange(N) % 100


@pytest.fixture
def index(kind: type[annlib.Index]) -> annlib.Index:
    return kind.build(TRAIN, attributes={"size": SIZE})


def test_every_call_takes_them(index: annlib.Index) -> None:
    rows = np.arange(N) % 3 == 0
    wanted = rows & (SIZE < 50) | (np.arange(N) == 7)
    filter = F.mask(rows) & (F.size < 50) | F.ids([7, N + 1])
    passing = set(np.flatnonzero(wanted).tolist())
    assert index.count(filter) == len(passing)
    assert set(index.search(TRAIN[0], k=N, filter=filter).ids[: len(passing)].tolist()) == passing
    assert set(index.search_radius(TRAIN[0], 1e9, filter=filter).ids.tolist()) == passing
    assert index.count(index.compile(filter)) == len(passing)
    each = [filter, None, F.ids({7}), ~F.ids({7}), "size = 7"]
    found = index.search(TRAIN[:5], k=5, filter=each)
    for query, one, ids in zip(TRAIN, each, found.ids, strict=False):
        assert ids.tolist() == index.search(query, k=5, filter=one).ids.tolist()


def test_lists_of_one_content_are_known_again_until_the_index_changes(index: annlib.Index) -> None:
    rows = np.arange(N) < 10
    for _ in range(2):
        assert index.count(F.mask(rows.copy()) & (F.size < 5)) == 5
        assert index.count(F.ids(np.arange(10)) & (F.size < 5)) == 5
    index.delete(3)
    assert index.count(F.ids(np.arange(10)) & (F.size < 5)) == 4
    with pytest.raises(ValueError, match=f"{N - 1} items.*got {N}"):
        index.count(F.mask(rows) & (F.size < 5))
    index.add(TRAIN[:1], ids=[N], attributes={"size": [4]})
    # The same mask names other rows now.
    assert index.count(F.mask(rows) & (F.size < 5)) == 4
    assert index.count(F.ids([*range(10), N]) & (F.size < 5)) == 5


def test_what_is_compiled_names_items_that_were_there(index: annlib.Index) -> None:
    rows = np.arange(N) < 10
    compiled = index.compile(F.mask(rows) & ~F.ids([2]))
    index.delete(3)
    index.add(TRAIN[:1])
    assert index.count(compiled) == 8


def test_they_keep_their_own_copy(index: annlib.Index) -> None:
    rows, ids = np.arange(N) < 10, np.arange(10)
    conditions = [F.mask(rows), F.ids(ids)]
    rows[:] = True
    ids[:] = 0
    assert [index.count(condition) for condition in conditions] == [10, 10]


def test_string_ids(kind: type[annlib.Index]) -> None:
    names = [f"n{i}" for i in range(100)]
    index = kind.build(TRAIN[:100], ids=names, attributes={"size": SIZE[:100]})
    condition = F.ids(["n1", "n2", "nobody"])
    assert index.count(condition) == 2 and index.count(~condition & (F.size < 10)) == 8
    assert set(index.search(TRAIN[0], k=2, filter=condition).ids) == {"n1", "n2"}
    with pytest.raises(KeyError, match="string ids, got 1"):
        index.count(F.ids([1]))
    other = kind.build(TRAIN[:100], ids=names[::-1])
    # The expression is not bound to the index that has met it first.
    assert set(other.search(TRAIN[0], k=2, filter=condition).ids) == {"n1", "n2"}


def test_what_is_none(index: annlib.Index) -> None:
    for wrong in ([1, 0, 1], np.ones((2, 2), bool), np.ones(3)):
        with pytest.raises(ValueError, match=r"mask must be one-dimensional, of bool; got"):
            F.mask(wrong)
    for mask in ([True], np.ones(N + 1, bool)):
        with pytest.raises(ValueError, match=rf"{N} items, by the order of index\.ids; got {len(mask)}"):
            index.search(TRAIN[0], filter=F.mask(mask) | (F.size == 1))
        with pytest.raises(ValueError, match=rf"{N} items, by the order of index\.ids; got {len(mask)}"):
            index.compile(F.mask(mask) | (F.size == 1))
    with pytest.raises(ValueError, match="non-negative integers"):
        index.count(F.ids([0.5]) & (F.size == 1))


def test_columns_of_these_names() -> None:
    index = annlib.FlatIndex.build(TRAIN, attributes={"ids": SIZE, "mask": SIZE % 2 == 0})
    assert index.count((F["ids"] < 10) & (F["mask"] == True)) == N / 20  # noqa: E712


def test_filter_indexes_lead_conjunctions_with_them() -> None:
    index = annlib.HNSWIndex.build(TRAIN, attributes={"size": SIZE % 4}, M=8, ef_construction=60)
    index.create_filter_index("size", min_items=100)
    rows = np.arange(N) % 8 < 4
    filter = (F.size == 1) & F.mask(rows)
    found = index.search(TRAIN[:20], k=5, filter=filter, plan="subgraph", explain=True)
    assert {one["plan"] for one in found.plan} == {"subgraph"}
    exact = index.search(TRAIN[:20], k=5, filter=filter, plan="exact")
    assert np.mean(found.ids == exact.ids) > 0.95
    for uncovered in (F.mask(rows), (F.size == 1) | F.mask(rows), ~F.mask(rows)):
        with pytest.raises(ValueError, match="filter index"):
            index.search(TRAIN[0], k=5, filter=uncovered, plan="subgraph")
