"""Batches of neighbours: all that passes, each item once, the first as search has it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from reference import nearest, vectors

import annlib
from annlib import F
from annlib.iteration import _batches
from annlib.results import SearchResult

N, DIM = 3000, 8
TRAIN = vectors(N, DIM)
SIZE = np.arange(N) % 100
MASK = np.arange(N) % 7 == 0


@pytest.fixture
def index(kind: type[annlib.Index]) -> annlib.Index:
    return kind.build(TRAIN, attributes={"size": SIZE})


@pytest.mark.parametrize("k", [7, 64, N - 1, N, N + 1])
@pytest.mark.parametrize(
    ("filter", "passing"),
    [
        (None, np.ones(N, bool)),
        (F.size < 50, SIZE < 50),
        ({"size": {"$lt": 3}}, SIZE < 3),
        (MASK, MASK),
        (F.mask(MASK) | F.ids([1, 2]), MASK | np.isin(np.arange(N), [1, 2])),
        ([5, 6, N + 1], np.isin(np.arange(N), [5, 6])),
        (F.size < 0, np.zeros(N, bool)),
    ],
    ids=["all", "half", "few", "mask", "items", "ids", "none"],
)
def test_all_that_passes_comes_once(index: annlib.Index, k: int, filter: Any, passing: Any) -> None:
    query = vectors(1, DIM, seed=5)[0]
    batches = list(index.iterate(query, k, filter=filter))
    assert [len(ids) for ids, _ in batches[:-1]] == [k] * (len(batches) - 1)
    assert all(0 < len(ids) <= k and len(ids) == len(distances) for ids, distances in batches)
    assert all((np.diff(distances) >= 0).all() for _, distances in batches)
    ids = np.concatenate([np.empty(0, np.int64), *(ids for ids, _ in batches)])
    assert sorted(ids.tolist()) == np.flatnonzero(passing).tolist()
    if not batches:
        return
    distances = np.concatenate([distances for _, distances in batches])
    assert ids.dtype == np.int64 and distances.dtype == np.float32
    first = index.search(query, k, filter=filter)
    np.testing.assert_array_equal(batches[0][0], first.ids[: first.counts])
    np.testing.assert_array_equal(batches[0][1], first.distances[: first.counts])
    exact = nearest(TRAIN[passing], query[None], "l2", len(ids))[1][0]
    np.testing.assert_allclose(np.sort(distances), exact, rtol=1e-5)
    # A walk may come late upon some; hardly any, and an index that scans upon none.
    late = np.count_nonzero(np.diff(distances) < 0)
    assert late <= (0 if isinstance(index, annlib.FlatIndex) else len(batches) / 10)


def test_effort_of_the_first_batch(index: annlib.Index) -> None:
    query = vectors(1, DIM, seed=6)[0]
    for ef_search in (None, 10, 500):
        ids, _ = next(index.iterate(query, 10, ef_search=ef_search))
        assert ids.tolist() == index.search(query, 10, ef_search=ef_search).ids.tolist()


def test_what_is_wrong_is_said_at_once(index: annlib.Index) -> None:
    for wrong, message in (
        ({"query": TRAIN[:1]}, r"one query of shape \(8,\), got shape \(1, 8\)"),
        ({"query": TRAIN[0, :4]}, "dim"),
        ({"query": np.full(DIM, np.nan)}, "NaN"),
        ({"k": 0}, "k must"),
        ({"k": 2.5}, "k must"),
        ({"filter": [F.size < 3]}, "one filter, got a list of 1"),
        ({"filter": F.nothing == 1}, "no attribute 'nothing'"),
        ({"filter": MASK[1:]}, f"{N} items.*got {N - 1}"),
    ):
        arguments: dict[str, Any] = {"query": TRAIN[0]} | wrong  # type: ignore[operator]
        with pytest.raises(ValueError, match=message):
            index.iterate(**arguments)


def test_changes_between_batches(index: annlib.Index) -> None:
    query = TRAIN[0].copy()
    batches = index.iterate(query, 10, filter=MASK)
    first, _ = next(batches)
    query[:] = 100
    gone = np.setdiff1d(np.flatnonzero(MASK), first)
    index.delete(gone[:200])
    index.add(np.full((5, DIM), 3, np.float32))
    rest = np.concatenate([ids for ids, _ in batches])
    assert not set(rest.tolist()) & set(first.tolist())
    assert set(rest.tolist()) == set(gone[200:].tolist())


def test_string_ids(kind: type[annlib.Index]) -> None:
    names = [f"n{i}" for i in range(500)]
    index = kind.build(TRAIN[:500], ids=names)
    batches = list(index.iterate(TRAIN[0], 30))
    assert batches[0][0].tolist() == index.search(TRAIN[0], 30).ids.tolist()
    assert sorted(itertools.chain.from_iterable(ids for ids, _ in batches)) == sorted(names)


def test_nothing_and_nothing_left(kind: type[annlib.Index]) -> None:
    assert list(kind(DIM).iterate(TRAIN[0])) == []
    index = kind.build(TRAIN[:500])
    batches = index.iterate(TRAIN[0], 30)
    next(batches)
    index.delete(index.ids)
    assert list(batches) == []


@pytest.mark.parametrize("index_type", [annlib.FlatIndex, annlib.HNSWIndex])
def test_codes_alone(index_type: type[annlib.Index]) -> None:
    index = index_type.build(TRAIN, codec="int8", keep_vectors=False)
    ids = np.concatenate([ids for ids, _ in index.iterate(TRAIN[0], 300)])
    assert sorted(ids.tolist()) == list(range(N))


def test_walks_that_miss_something() -> None:
    """What a wider search finds late comes in the next batch, and what it misses of a narrower one is not lost."""
    found = {2: [(1, 1.0), (3, 3.0)], 4: [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)],
             8: [(1, 1.0), (5, 5.0), (6, 6.0), (7, 7.0), (0, 9.0)]}  # fmt: skip

    def search(width: int) -> SearchResult:
        pairs = found[width]
        ids = np.full(width, -1)
        distances = np.full(width, np.inf, np.float32)
        ids[: len(pairs)], distances[: len(pairs)] = zip(*pairs, strict=True)
        return SearchResult(ids, distances, len(pairs), (0, 0, 0))

    def batches() -> list[list[int]]:
        return [ids.tolist() for ids, _ in _batches(search(2), search, 2)]

    assert batches() == [[1, 3], [2, 4], [5, 6], [7, 0]]
    found[4] = [(1, 1.0), (2, 2.0), (8, 2.5), (9, 2.6)]
    assert batches() == [[1, 3], [2, 8], [9, 5], [6, 7], [0]]
