"""Filters: masks, id lists, one for each query; their results are exact in number and near in recall."""

from __future__ import annotations

import numpy as np
import pytest
from reference import Array, assert_well_formed, nearest, recall, vectors

import annlib

N, DIM, K = 6000, 12, 10


@pytest.fixture(scope="module")
def data() -> tuple[Array, Array]:
    return vectors(N, DIM), vectors(50, DIM, seed=1)


@pytest.fixture(scope="module", params=[annlib.FlatIndex, annlib.HNSWIndex], ids=lambda index: index.kind)
def index(request: pytest.FixtureRequest, data: tuple[Array, Array]) -> annlib.Index:
    """5,000 live items: every sixth was deleted."""
    built: annlib.Index = request.param.build(data[0], metric="cosine")
    built.delete(np.arange(0, N, 6))
    return built


def check(
    index: annlib.Index, data: tuple[Array, Array], filter: object, passing: Array, least: float
) -> None:
    train, queries = data
    result = index.search(queries, k=K, filter=filter)  # type: ignore[arg-type]
    assert_well_formed(result, K)
    assert (result.counts == min(K, len(passing))).all()
    assert set(result.ids.ravel().tolist()) - {-1} <= set(passing.tolist())
    if len(passing):
        exact = nearest(train[passing], queries, "cosine", K)[1]
        shown = result.distances[:, : exact.shape[1]]
        assert recall(shown, exact) >= (least if isinstance(index, annlib.HNSWIndex) else 1.0)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.05, 0.2, 0.5, 0.9, 0.999, 1.0])
def test_masks_and_ids_of_every_selectivity(
    index: annlib.Index, data: tuple[Array, Array], share: float, rng: np.random.Generator
) -> None:
    live = index.ids
    mask = rng.random(len(live)) < share
    check(index, data, mask, live[mask], 0.95)
    check(index, data, rng.permutation(live[mask]), live[mask], 0.95)


def test_what_passes_lies_together_or_far_away(index: annlib.Index, data: tuple[Array, Array]) -> None:
    """Filters that go along with the vectors are the hard case of a walk: it starts where nothing passes."""
    live = index.ids
    first = data[0][live, 0]
    for low, high in ((1.5, 9), (0.5, 9), (-9, -0.8), (-0.05, 0.05)):
        mask = (first > low) & (first < high)
        check(index, data, mask, live[mask], 0.93)


def test_all_and_nothing(index: annlib.Index, data: tuple[Array, Array]) -> None:
    live = index.ids
    check(index, data, np.ones(len(live), bool), live, 0.95)
    check(index, data, live, live, 0.95)
    for nothing in (
        np.zeros(len(live), bool),
        [],
        np.array([], np.int64),
        [N + 5, 10**15],
        np.arange(0, N, 6),
    ):
        check(index, data, nothing, np.empty(0, np.int64), 1.0)


def test_ids_that_are_unknown_deleted_or_twice_are_no_error(
    index: annlib.Index, data: tuple[Array, Array]
) -> None:
    check(index, data, [1, 1, 2, 0, 6, 10**12], np.array([1, 2]), 1.0)
    check(index, data, {3, 4, 5}, np.array([3, 4, 5]), 1.0)
    check(index, data, range(1, 6), np.arange(1, 6), 1.0)
    check(index, data, (7,), np.array([7]), 1.0)
    check(index, data, np.array([8, 9], np.uint16), np.array([8, 9]), 1.0)


def test_one_filter_for_each_query(
    index: annlib.Index, data: tuple[Array, Array], rng: np.random.Generator
) -> None:
    live, queries = index.ids, data[1][:5]
    mask = rng.random(len(live)) < 0.3
    each = [mask, live[:4], None, [], live[~mask].tolist()]
    result = index.search(queries, k=K, filter=each)
    assert_well_formed(result, K)
    assert result.counts.tolist() == [K, 4, K, 0, K]
    for i, one in enumerate(each):
        alone = index.search(queries[i], k=K, filter=one)
        np.testing.assert_array_equal(result.ids[i], alone.ids)
        np.testing.assert_array_equal(result.distances[i], alone.distances)
    assert result.stats["distance_computations"] > 0


def test_filters_of_a_batch_in_every_form_answer_in_the_order_of_the_queries(
    kind: type[annlib.Index],
) -> None:
    """Some are equal, as objects, as texts or in what they say; masks and ids stand between them."""
    train = vectors(2000, DIM)
    index = kind.build(train, attributes={"size": np.arange(2000)})
    queries = vectors(40, DIM, seed=3)
    mask = np.arange(2000) % 3 == 0
    shapes = [
        annlib.F.size < 500,
        "size < 500",
        {"size": {"$lt": 500}},
        index.compile("not size >= 500"),
        None,
        mask,
        [5, 6, 7],
        "size in (5, 6, 7)",
    ]
    each = [shapes[i] for i in np.random.default_rng(7).integers(0, len(shapes), len(queries))]
    found = index.search(queries, k=K, filter=each, explain=True)
    for i, one in enumerate(each):
        alone = index.search(queries[i], k=K, filter=one, explain=True)
        np.testing.assert_array_equal(found.ids[i], alone.ids)
        np.testing.assert_array_equal(found.distances[i], alone.distances)
        assert found.counts[i] == alone.counts
        assert found.plan[i]["matches"] == alone.plan["matches"]
    none = index.search(queries[:2], k=K, filter=[None, None])
    np.testing.assert_array_equal(none.ids, index.search(queries[:2], k=K).ids)
    with pytest.raises(ValueError, match="no attribute 'year'"):
        index.search(queries[:3], k=K, filter=[mask, "year > 3", None])


def test_string_ids(kind: type[annlib.FlatIndex], data: tuple[Array, Array]) -> None:
    train = data[0][:100]
    index = kind.build(train, ids=[f"n{i}" for i in range(100)])
    for some in (["n3", "n5", "gone"], np.array(["n3", "n5"]), {"n3", "n5"}, ("n5", "n3")):
        result = index.search(train[3], k=3, filter=some)
        assert result.ids.tolist() == ["n3", "n5", None]
    result = index.search(train[:2], k=1, filter=[["n7"], ["n8", "n9"]])
    assert result.ids[0, 0] == "n7" and result.ids[1, 0] in ("n8", "n9")
    mask = np.zeros(100, bool)
    mask[42] = True
    assert index.search(train[0], k=1, filter=mask).ids.tolist() == ["n42"]


def test_masks_follow_the_order_of_arrival(kind: type[annlib.FlatIndex], rng: np.random.Generator) -> None:
    """Also after deletions, whose rows are used again, and updates, which keep an item's place."""
    train = vectors(900, 6)
    index = kind(6)
    index.add(train[:500], ids=np.arange(500)[::-1])
    index.delete(np.arange(0, 500, 2))
    index.add(train[500:900], ids=np.arange(1000, 1400))
    index.update([1, 3, 1001], train[:3])
    for _ in range(3):
        for one in rng.choice(index.ids, 20):
            mask = index.ids == one
            assert index.search(train[0], k=2, filter=mask).ids.tolist() == [one, -1]
        index.compact()


def test_duplicates_pass_one_by_one(kind: type[annlib.FlatIndex]) -> None:
    train = vectors(3000, 6)
    train[1000:2000] = train[7]
    index = kind.build(train)
    some = np.arange(1500, 1510)
    result = index.search(train[7], k=20, filter=some)
    assert set(result.ids[:10].tolist()) == set(some.tolist()) and result.counts == 10
    mask = np.ones(3000, bool)
    mask[[7, *range(1000, 1990)]] = False
    assert set(index.search(train[7], k=10, filter=mask, ef_search=10).ids.tolist()) == set(range(1990, 2000))


@pytest.mark.parametrize(
    ("filter", "says"),
    [
        (np.ones(5, bool), "5"),
        (np.ones((2, 3), bool), "one-dimensional"),
        (np.array(5), "one-dimensional"),
        ("year > 2015", r"no attribute 'year' \(at position 0\); there are: none"),
        ({"year": 3}, "no attribute 'year'"),
        (lambda id: True, "mask"),
        ([0.5, 1.5], "integers"),
        ([-3], "-3"),
    ],
)
def test_what_is_no_filter(index: annlib.Index, filter: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        index.search(np.ones(DIM), k=1, filter=filter)  # type: ignore[arg-type]


def test_as_many_filters_as_queries(index: annlib.Index) -> None:
    with pytest.raises(ValueError, match="3 queries and 2 filters"):
        index.search(np.ones((3, DIM)), k=1, filter=[[1], [2]])
