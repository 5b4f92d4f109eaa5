"""Both indexes against exact search in numpy: metrics, element types, codecs, and the sizes at the edges."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from reference import DTYPES, METRICS, assert_well_formed, distances, nearest, recall, tolerance, vectors

import annlib

# A graph index scans all items while that is cheaper than a walk: with ef_search=64 up to 1,536 items. So that graphs
# are what is tested there are more.
N = 2000
CODED = [(dtype, codec) for dtype in ("float32", "float16") for codec in annlib.list_codecs()]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_flat_is_exact(metric: str, dtype: str) -> None:
    train, queries = vectors(700, 37, dtype), vectors(20, 37, dtype, seed=1)
    index = annlib.FlatIndex.build(train, metric=metric)
    result = index.search(queries, k=25)
    assert_well_formed(result, 25)
    _, exact = nearest(train, queries, metric, 25)
    slack = tolerance(train, queries, metric)
    np.testing.assert_allclose(result.distances, exact, atol=slack, rtol=0)
    # and each distance is that of its own id
    own = np.take_along_axis(distances(train, queries, metric), result.ids, axis=1)
    np.testing.assert_allclose(result.distances, own, atol=slack, rtol=0)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("dtype", "codec"), [*CODED, ("int8", "auto"), ("uint8", "auto")])
def test_graph_finds_nearly_all_and_tells_exact_distances(metric: str, dtype: str, codec: str) -> None:
    train, queries = vectors(N, 33, dtype), vectors(40, 33, dtype, seed=1)
    index = annlib.HNSWIndex.build(train, metric=metric, codec=codec, ef_construction=60)
    result = index.search(queries, k=10, ef_search=80)
    assert_well_formed(result, 10)
    assert result.stats["hops"] > 0
    own = np.take_along_axis(distances(train, queries, metric), result.ids, axis=1)
    np.testing.assert_allclose(result.distances, own, atol=tolerance(train, queries, metric), rtol=0)
    _, exact = nearest(train, queries, metric, 10)
    assert recall(result.distances, exact, 1e-5) >= 0.95
    assert index.unreachable() == 0


@pytest.mark.parametrize("stored", DTYPES)
@pytest.mark.parametrize("asked", ["float32", "float16", "float64", "int8", "uint8", "int64"])
def test_queries_of_any_type_meet_vectors_of_any_type(
    kind: type[annlib.FlatIndex], stored: str, asked: str
) -> None:
    train = np.abs(vectors(300, 20, stored) // 2)
    queries = np.abs(vectors(15, 20, "int8", seed=2).astype(np.int64)).clip(0, 127).astype(asked)
    index = kind.build(train, metric="l2")
    _, exact = nearest(train, queries, "l2", 5)
    np.testing.assert_allclose(
        index.search(queries, k=5).distances, exact, atol=tolerance(train, queries, "l2"), rtol=0
    )


def test_fractional_queries_on_integer_vectors(kind: type[annlib.FlatIndex]) -> None:
    train, queries = vectors(300, 20, "uint8"), vectors(15, 20, seed=2) * 100 + 128
    _, exact = nearest(train, queries, "l2", 5)
    np.testing.assert_allclose(kind.build(train).search(queries, k=5).distances, exact, rtol=1e-5)


@pytest.mark.parametrize(("alias", "name"), [("euclidean", "l2"), ("angular", "cosine")])
def test_aliases_of_metrics(kind: type[annlib.FlatIndex], alias: str, name: str) -> None:
    train = vectors(200, 8)
    one, two = kind.build(train, metric=alias), kind.build(train, metric=name)
    assert one.metric == name
    assert one.digest() == two.digest()


def test_zero_vectors_are_at_cosine_distance_one(kind: type[annlib.FlatIndex]) -> None:
    train = vectors(N, 12)
    train[::100] = 0
    index = kind.build(train, metric="cosine")
    ids, found = index.search(np.zeros(12), k=30)
    np.testing.assert_array_equal(found, 1.0)
    assert len(set(ids.tolist())) == 30
    # a query near nothing but zero vectors finds those before what points away
    away = -np.abs(vectors(60, 12, seed=3))
    away[::2] = 0
    few = kind.build(away, metric="cosine")
    ids, found = few.search(np.ones(12), k=60)
    np.testing.assert_array_equal(found[:30], 1.0)
    assert set(ids[:30].tolist()) == set(range(0, 60, 2))
    assert (found[30:] > 1).all()


@pytest.mark.parametrize("metric", METRICS)
def test_vectors_of_extreme_length(kind: type[annlib.FlatIndex], metric: str) -> None:
    """Lengths from 1e-17 to 1e17 beside each other: no NaN, and cosine does not see them."""
    train = vectors(400, 16)
    scale = np.float32(10.0) ** np.arange(-17, 18)[np.arange(400) % 35]
    index = kind.build(train * scale[:, None], metric=metric)
    result = index.search(train[:50], k=5)
    assert not np.isnan(result.distances).any()
    if metric == "cosine":
        _, exact = nearest(train, train[:50], metric, 5)
        np.testing.assert_allclose(result.distances, exact, atol=1e-5)


@pytest.mark.parametrize("length", [1e-36, 1e-30, 1e-20, 1e20, 1e25, 1e37])
def test_cosine_of_any_length(kind: type[annlib.FlatIndex], length: float) -> None:
    """Stored or asked with, beside others or alone; also from a file, and where squares of a norm leave float32."""
    train, queries = vectors(300, 40), vectors(30, 40, seed=1)
    ids, exact = nearest(train, queries, "cosine", 5)
    mixed = train.copy()
    mixed[::2] *= np.float32(length)
    for rows in (train * np.float32(length), mixed):
        index = kind.build(rows, metric="cosine")
        for one in (index, copy.copy(index)):
            for asked in (queries, queries * np.float32(length)):
                result = one.search(asked, k=5, ef_search=100)
                np.testing.assert_allclose(result.distances, exact, atol=1e-5)
                assert (result.ids == ids).mean() > 0.99


def test_cosine_of_what_float32_hardly_holds(kind: type[annlib.FlatIndex]) -> None:
    """The longest vectors there are, whose norm is no float32, and subnormal ones, which count as zero."""
    top = np.finfo(np.float32).max
    train = np.sign(vectors(100, 500)) * top
    index = kind.build(train.astype(np.float32), metric="cosine")
    for queries in (train[:9], vectors(9, 500, seed=1)):
        _, exact = nearest(train.astype(np.float64), queries, "cosine", 3)
        np.testing.assert_allclose(index.search(queries, k=3).distances, exact, atol=1e-3)
    tiny = kind.build(np.full((4, 6), 1e-42, np.float32), metric="cosine")
    assert (tiny.search(np.ones(6), k=4).distances == 1).all()
    assert (index.search(np.full(500, 1e-43, np.float32), k=4).distances == 1).all()


@pytest.mark.parametrize("length", [1e-30, 1e19, 1e37])
def test_ip_of_any_length(kind: type[annlib.FlatIndex], length: float) -> None:
    """What float32 can hold is right, and the rest infinite with its sign; the nearest come first all the same."""
    train, queries = vectors(300, 20), vectors(30, 20, seed=1)
    long = train * np.float32(length)
    index = kind.build(long, metric="ip")
    for one in (index, copy.copy(index)):
        for scale in (1, 1 / length, 1e15):
            asked = queries * np.float32(scale)
            exact = nearest(long, asked, "ip", 300)[1]
            found = one.search(asked, k=300, ef_search=300).distances
            beyond = np.abs(exact) > np.finfo(np.float32).max
            np.testing.assert_array_equal(found[beyond], np.sign(exact[beyond]) * np.inf)
            np.testing.assert_allclose(found[~beyond], exact[~beyond], rtol=1e-4, atol=1e-5 * length * scale)


def test_products_that_cancel_out(kind: type[annlib.FlatIndex]) -> None:
    """Each is beyond float32; what they add up to is not."""
    train = np.array([[3e38, -3e38], [3e38, 3e38], [-3e38, -3e38], [1, 1]], np.float32)
    index = kind.build(train, metric="ip")
    ids, distances = index.search(np.array([1e38, 1e38], np.float32), k=4)
    assert ids.tolist() == [1, 3, 0, 2]
    np.testing.assert_allclose(distances, [-np.inf, -2e38, 0, np.inf], rtol=1e-6)


@pytest.mark.parametrize(
    ("metric", "codec"),
    [("cosine", "float32"), ("ip", "float32"), ("cosine", "int8"), ("l2", "int8"), ("ip", "float16")],
)
def test_vectors_too_long_for_their_squares(metric: str, codec: str) -> None:
    """They are found, if only at infinity, and what was saved can be loaded."""
    train = vectors(200, 40) * np.float32(1e25)
    index = annlib.HNSWIndex.build(train, metric=metric, codec=codec)
    assert not np.isnan(index.search(train[:9], k=3).distances).any()
    stats = index.stats()
    assert stats["codec"] == (codec if metric == "cosine" else "float32")
    assert np.isfinite(stats["codec_error"])
    again = copy.copy(index)
    assert again.digest() == index.digest()
    assert again.stats() == stats


@pytest.mark.parametrize("codec", ["int8", "float16"])
def test_codes_are_given_up_when_long_vectors_come(codec: str) -> None:
    train = vectors(500, 40)
    index = annlib.HNSWIndex.build(train, codec=codec)
    assert index.stats()["codec"] == codec
    for seed in (1, 2):  # codes are learnt from what was there before
        index.add(vectors(200, 40, seed=seed) * np.float32(1e25))
        assert index.search(train, k=1).ids.tolist() == np.arange(500)[:, None].tolist()
    stats = index.stats()
    assert (stats["codec"], stats["codec_asked"], stats["code_bytes"]) == ("float32", codec, 0)
    assert "too long" in stats["codec_reason"]
    index.delete(np.arange(500, 900))
    index.compact()
    assert index.stats()["codec"] == codec


def test_k_beyond_what_there_is(kind: type[annlib.FlatIndex]) -> None:
    train = vectors(7, 5)
    index = kind.build(train)
    result = index.search(train[:3], k=12)
    assert_well_formed(result, 12)
    assert result.counts.tolist() == [7, 7, 7]
    assert set(result.ids[0, :7].tolist()) == set(range(7))
    named = kind.build(train, ids=list("abcdefg"))
    result = named.search(train[0], k=9)
    assert_well_formed(result, 9)
    assert result.ids[7:].tolist() == [None, None]
    # on a graph that is walked, too
    large = kind.build(vectors(N, 5))
    result = large.search(train[:2], k=N + 10)
    assert_well_formed(result, N + 10)
    assert result.counts.tolist() == [N, N]


@pytest.mark.parametrize("k", [1, 100, 1000, 1900])
def test_k_from_one_to_nearly_everything(kind: type[annlib.FlatIndex], k: int) -> None:
    train, queries = vectors(N, 9), vectors(10, 9, seed=1)
    result = kind.build(train).search(queries, k=k, ef_search=1)
    assert_well_formed(result, k)
    assert (result.counts == k).all()
    # Graphs keep k candidates at least; of posting lists one is what was asked for.
    enough = 0.7 if k == 1 or issubclass(kind, annlib.SPANNIndex) else 0.97
    assert recall(result.distances, nearest(train, queries, "l2", k)[1]) >= enough


def test_empty_index(kind: type[annlib.FlatIndex]) -> None:
    index = kind(6)
    assert len(index) == 0
    result = index.search(np.zeros((2, 6)), k=3)
    assert_well_formed(result, 3)
    assert result.counts.tolist() == [0, 0]
    assert index.search(np.zeros(6), k=3, filter=np.zeros(0, bool)).counts == 0
    lims, ids, _ = index.search_radius(np.zeros((2, 6)), 1.0)
    assert lims.tolist() == [0, 0, 0] and len(ids) == 0
    assert 0 not in index and len(index.ids) == 0
    index.compact()
    assert index.digest() == kind(6).digest()
    assert index.add(np.empty((0, 6), np.float32)).shape == (0,)
    with pytest.raises(KeyError):
        index.delete(0)


def test_no_queries(kind: type[annlib.FlatIndex]) -> None:
    index = kind.build(vectors(10, 3))
    result = index.search(np.empty((0, 3)), k=4)
    assert result.ids.shape == result.distances.shape == (0, 4)
    assert index.search_radius(np.empty((0, 3)), 1.0).lims.tolist() == [0]


@pytest.mark.parametrize("metric", METRICS)
def test_one_vector(kind: type[annlib.FlatIndex], metric: str) -> None:
    index = kind.build([[3.0, 4.0]], metric=metric, ids=[77])
    ids, found = index.search([6.0, 8.0], k=1)
    assert ids.tolist() == [77]
    assert found[0] == pytest.approx({"l2": 25.0, "ip": -50.0, "cosine": 0.0}[metric], abs=1e-6)
    index.delete(77)
    assert index.search([6.0, 8.0], k=1).counts == 0
    index.add([1.0, 0.0])
    assert index.search([6.0, 8.0], k=1).ids.tolist() == [78]


@pytest.mark.parametrize("codec", sorted(set(annlib.list_codecs()) - {"int4"}))  # which has 16 values
def test_dim_one(codec: str) -> None:
    train = np.random.default_rng(0).permutation(N).astype(np.float32)[:, None]
    index = annlib.HNSWIndex.build(train, codec=codec)
    queries = np.arange(0, N, 50, dtype=np.float32)[:, None] + 0.25
    ids, found = index.search(queries, k=2)
    np.testing.assert_allclose(train[ids, 0], np.stack([queries[:, 0] - 0.25, queries[:, 0] + 0.75], axis=1))
    np.testing.assert_allclose(found, [[0.0625, 0.5625]] * len(queries))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_dim_twenty_thousand(kind: type[annlib.FlatIndex], metric: str, dtype: str) -> None:
    train, queries = vectors(40, 20_000, dtype), vectors(3, 20_000, dtype, seed=1)
    index = kind.build(train, metric=metric)
    result = index.search(queries, k=2, ef_search=2)
    own = np.take_along_axis(distances(train, queries, metric), result.ids, axis=1)
    np.testing.assert_allclose(result.distances, own, atol=tolerance(train, queries, metric), rtol=1e-5)
    np.testing.assert_array_equal(index.get(5), train[5])
    if metric != "ip":
        assert index.search(train[:9], k=1, ef_search=1).ids.ravel().tolist() == list(range(9))
