"""keep_vectors=False: indexes that keep the codes alone."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from container_bytes import renamed, section, with_section
from reference import METRICS, Array, vectors

import annlib
from annlib import _core
from annlib.persistence import from_bytes, to_bytes

N, DIM, HELD = 2000, 40, 1024

CODED: list[dict[str, Any]] = [{"codec": "float16"}, {"codec": "int8"}, {"codec": "int4"}]
CODED += [{"codec": "rabitq", "bits": bits} for bits in (1, 3)]
coded = pytest.mark.parametrize("options", CODED, ids=lambda o: "-".join(str(v) for v in o.values()))
Kind = type[annlib.FlatIndex] | type[annlib.HNSWIndex]


@pytest.fixture(params=[annlib.FlatIndex, annlib.HNSWIndex], ids=lambda index: index.kind)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each of the index classes that have codecs."""
    return request.param


def built(kind: Kind, train: Array, **options: Any) -> annlib.Index:
    return kind.build(train, keep_vectors=False, **({"codec": "int8"} | options))


def share_found(found: annlib.SearchResult, wanted: annlib.SearchResult) -> float:
    pairs = zip(found.ids, wanted.ids, strict=True)
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in pairs]))


@coded
@pytest.mark.parametrize("metric", METRICS)
def test_distances_are_those_of_the_codes(options: dict[str, Any], metric: str) -> None:
    train, queries = vectors(N, DIM), vectors(30, DIM, seed=1)
    name = f"rabitq:{options['bits']}" if "bits" in options else options["codec"]
    by_code, _ = _core.code_distances(name, metric, train, queries)
    wanted = np.sort(by_code, axis=1)[:, :10]
    flat = built(annlib.FlatIndex, train, metric=metric, **options)
    found = flat.search(queries, 10)
    np.testing.assert_array_equal(found.distances, wanted if metric == "ip" else np.maximum(wanted, 0))
    assert found.stats["rerank_computations"] == 0
    graph = built(annlib.HNSWIndex, train, metric=metric, **options)
    walked = graph.search(queries, 10, ef_search=200)
    assert share_found(walked, found) >= 0.9
    assert walked.stats["rerank_computations"] == 0


@coded
def test_memory_is_that_of_codes_and_links(options: dict[str, Any], kind: Kind) -> None:
    train = vectors(N, 128)
    kept = kind.build(train, **options).stats()
    alone = built(kind, train, **options).stats()
    assert (kept["keep_vectors"], alone["keep_vectors"]) == (True, False)
    assert alone["vector_bytes"] == 0 and kept["vector_bytes"] == N * 128 * 4
    assert 0 < alone["code_bytes"] == kept["code_bytes"]
    assert alone["memory_bytes"] <= kept["memory_bytes"] - kept["vector_bytes"]


@coded
@pytest.mark.parametrize("metric", METRICS)
def test_a_graph_is_the_one_that_vectors_give(options: dict[str, Any], metric: str) -> None:
    train = vectors(N, DIM)
    kept = to_bytes(annlib.HNSWIndex.build(train, metric=metric, layout="plain", **options))
    alone = to_bytes(built(annlib.HNSWIndex, train, metric=metric, **options))
    for name in ("codec.codes", "graph.base", "graph.upper"):
        assert np.array_equal(section(alone, name), section(kept, name))


@coded
def test_builds_depend_on_neither_order_nor_threads(
    options: dict[str, Any], kind: Kind, rng: np.random.Generator
) -> None:
    train = vectors(N, DIM)
    train[rng.integers(0, N, 200)] = train[0]
    digests = set()
    for threads in (1, 2, 3):
        order = rng.permutation(N)
        index = kind(DIM, keep_vectors=False, **options)
        index.add(train[order], ids=order, threads=threads)
        if kind is annlib.FlatIndex:
            index.compact(threads=threads)
        digests.add(index.digest())
    assert len(digests) == 1


def test_compact_leaves_the_codes_alone(kind: Kind, rng: np.random.Generator) -> None:
    train, queries = vectors(N, DIM), vectors(30, DIM, seed=1)
    index = built(kind, train)
    index.delete(np.arange(0, N, 3))
    every = index.search(queries[0], len(index))
    before = dict(zip(every.ids.tolist(), every.distances.tolist(), strict=True))
    digests = set()
    for threads in (1, 3):
        other = pickle.loads(pickle.dumps(index))
        other.compact(threads=threads)
        found = other.search(queries[0], len(index))
        assert dict(zip(found.ids.tolist(), found.distances.tolist(), strict=True)) == before
        digests.add(other.digest())
        other.compact()
        digests.add(other.digest())
    assert len(digests) == 1


@coded
@pytest.mark.parametrize("metric", METRICS)
def test_an_index_that_changes(options: dict[str, Any], metric: str, kind: Kind) -> None:
    """What grew in pieces, lost and replaced items finds what one built as a whole of the same items finds."""
    train, queries = vectors(N, DIM), vectors(50, DIM, seed=1)
    index = kind(DIM, metric, keep_vectors=False, **options)
    index.add(train[:5])
    for first in range(5, N, 400):
        index.add(train[first : first + 400])
    index.delete(range(0, N, 3))
    index.update([1, 2], -train[1:3])
    index.add(np.vstack([train[:3], -train[4:5]]), ids=[0, 3, 6, 4], on_conflict="update")
    now = train.copy()
    now[[1, 2, 0, 3, 6, 4]] = [-train[1], -train[2], train[0], train[1], train[2], -train[4]]
    left = np.sort(index.ids)
    exact = annlib.FlatIndex.build(now[left], ids=left, metric=metric).search(queries, 10)
    whole = built(kind, now[left], ids=left, metric=metric, **options)
    few = {"ef_search": 100}
    assert (
        share_found(index.search(queries, 10, **few), exact)
        >= share_found(whole.search(queries, 10, **few), exact) - 0.06
    )
    index.compact()
    assert (
        share_found(index.search(queries, 10, **few), exact)
        >= share_found(whole.search(queries, 10, **few), exact) - 0.06
    )
    assert index.stats()["vector_bytes"] == 0
    if isinstance(index, annlib.HNSWIndex):
        assert index.unreachable() == 0


@pytest.mark.parametrize("mmap", [False, True])
def test_files(kind: Kind, mmap: bool, tmp_path: Path) -> None:
    train, queries = vectors(N, DIM), vectors(30, DIM, seed=1)
    index = built(kind, train, metric="cosine", ids=[f"s{i}" for i in range(N)])
    index.save(tmp_path / "x.ann")
    loaded = annlib.load(tmp_path / "x.ann", mmap=mmap)
    for other in (loaded, pickle.loads(pickle.dumps(index))):
        assert other.digest() == index.digest() and repr(other) == repr(index)
        np.testing.assert_array_equal(other.search(queries, 10).ids, index.search(queries, 10).ids)
    assert annlib.info(tmp_path / "x.ann")["keep_vectors"] is False
    assert annlib.verify(tmp_path / "x.ann") == []
    for each in (index, loaded):
        each.add(train[:40] + 1, ids=[f"t{i}" for i in range(40)])
        each.delete(["s7", "t7"])
        each.compact()
    assert loaded.digest() == index.digest()


def test_filters_radius_and_calibration(kind: Kind) -> None:
    train, queries = vectors(N, DIM), vectors(30, DIM, seed=1)
    index = built(kind, train)
    every = index.search(queries, N)
    odd = index.search(queries, 10, filter=index.ids % 2 == 1)
    for ids, distances, found in zip(every.ids, every.distances, odd.distances, strict=True):
        np.testing.assert_array_equal(found, distances[ids % 2 == 1][:10])
    radius = float(every.distances[:, 20].max())
    lims, _, distances = index.search_radius(queries, radius)
    counts = (every.distances <= radius).sum(axis=1)
    assert np.diff(lims).sum() >= 0.97 * counts.sum() and distances.max() <= radius
    if isinstance(index, annlib.HNSWIndex):
        for given in (None, queries):
            assert max(index.calibrate(given).recall) > 0.98
        assert (
            share_found(index.search(queries, 10, recall=0.98), index.search(queries, 10, ef_search=N)) > 0.9
        )


def test_few_vectors_stay_until_there_are_more(kind: Kind) -> None:
    train, query = vectors(HELD, DIM), vectors(1, DIM, seed=1)[0]
    exact = annlib.FlatIndex.build(train[:-1]).search(query, 10)
    index = kind(DIM, codec="int8", keep_vectors=False)
    index.add(train[: HELD // 2])
    index.add(train[HELD // 2 : -1])
    assert index.stats()["vector_bytes"] == (HELD - 1) * DIM * 4
    np.testing.assert_array_equal(index.search(query, 10, ef_search=HELD).distances, exact.distances)
    with pytest.raises(ValueError, match="not kept"):
        index.get(0)
    again = pickle.loads(pickle.dumps(index))
    assert again.digest() == index.digest()
    again.compact()
    assert again.stats()["vector_bytes"] == 0
    index.add(train[-1:])
    assert index.stats()["vector_bytes"] == 0 and len(index) == HELD
    assert set(index.search(train[:50], 1).ids[:, 0]) == set(range(50))
    index.delete(index.ids)
    index.add(train[:9])
    assert index.search(train[:9], 1).ids[:, 0].tolist() == list(range(HELD, HELD + 9))


def test_a_small_build_keeps_none(kind: Kind) -> None:
    index = built(kind, vectors(50, DIM))
    assert index.stats()["vector_bytes"] == 0
    assert len(built(kind, vectors(0, DIM))) == 0
    index.add(vectors(N, DIM, seed=3))  # it learns from these, and makes codes of its codes
    assert (index.search(vectors(N, DIM, seed=3)[:100], 1).ids[:, 0] == np.arange(50, 150)).mean() > 0.9


def test_vectors_with_equal_codes_are_equal(rng: np.random.Generator) -> None:
    train = vectors(N, DIM)
    train[100:400] = train[0]
    train[400:500] = train[0] + 1e-6 * rng.standard_normal((100, DIM))
    index = built(annlib.HNSWIndex, train, codec="int4", metric="cosine")
    assert 390 <= index.stats()["duplicates"] <= 400
    index.add(train[[0, 0]], ids=[N, N + 1])
    same = {0, N, N + 1, *range(100, 500)}
    assert set(index.search(train[0], len(same), ef_search=1000).ids) == same
    index.delete([0, 100, N])
    assert set(index.search(train[0], len(same) - 3).ids) == same - {0, 100, N}
    assert index.unreachable() == 0


def test_data_that_moves_on() -> None:
    """The codec learns anew, from its own codes and from what comes, when that lies outside of what it knows."""
    train = vectors(2 * N, DIM)
    train[N:] += 40
    exact = annlib.FlatIndex.build(train)
    for options in CODED[1:]:  # halves reach that far
        index = built(annlib.HNSWIndex, train[:N], **options)
        error = index.stats()["codec_error"]
        for first in range(N, 2 * N, 1000):
            index.add(train[first : first + 1000])
        assert index.stats()["codec_error"] != error
        whole = built(annlib.HNSWIndex, train, **options)
        queries = train[N + 5 :: 100] + 0.1
        wanted = exact.search(queries, 10)
        assert (
            share_found(index.search(queries, 10), wanted)
            >= share_found(whole.search(queries, 10), wanted) - 0.1
        )


def test_the_fused_layout_if_it_is_asked_for() -> None:
    train, queries = vectors(N, 64), vectors(30, 64, seed=1)
    assert built(annlib.HNSWIndex, train).stats()["layout"] == "plain"
    assert "memory" in built(annlib.HNSWIndex, train).stats()["layout_reason"]
    index = built(annlib.HNSWIndex, train, layout="fused")
    index.delete(range(0, 900))
    index.add(train[:900], ids=np.arange(900))
    exact = built(annlib.FlatIndex, train).search(queries, 10)
    assert share_found(index.search(queries, 10, ef_search=100), exact) > 0.9


@pytest.mark.parametrize("dtype", ["uint8", "int8", "float16"])
@coded
def test_every_dtype(options: dict[str, Any], dtype: str, kind: Kind) -> None:
    train = vectors(1200, DIM, dtype)
    index = built(kind, train, **options)
    assert index.stats()["vector_bytes"] == 0 and index.dtype == dtype
    exact = annlib.FlatIndex.build(train).search(train[:50], 10)
    assert share_found(index.search(train[:50], 10), exact) > (0.2 if options.get("bits") == 1 else 0.55)


def test_vectors_too_long_for_codes(kind: Kind) -> None:
    train = vectors(N, DIM)
    with pytest.raises(ValueError, match=r"keep_vectors=False.*short enough.*int8"):
        built(kind, train * np.float32(1e30))
    for options in CODED[2:]:
        index = built(kind, train, **options)
        before = index.digest()
        with pytest.raises(ValueError, match="short enough"):
            index.add(np.full((N, DIM), 3e30, np.float32) * vectors(N, DIM, seed=5))
        assert (index.digest(), len(index)) == (before, N)
    query = np.full(DIM, 3e38, np.float32)
    assert not np.isnan(built(kind, train, codec="rabitq").search(query, 10).distances).any()


def test_options_that_make_no_sense(kind: Kind) -> None:
    with pytest.raises(ValueError, match=r"'float32' makes no codes.*auto, float16, int8, int4, rabitq"):
        kind(4, codec="float32", keep_vectors=False)
    with pytest.raises(ValueError, match="keep_vectors must be True or False, got 0"):
        kind(4, codec="int8", keep_vectors=0)  # type: ignore[arg-type]
    index = kind(4, codec="auto", keep_vectors=False)
    assert index.stats()["codec"] == "int8" and "codes only" in repr(index)
    assert "codes only" not in repr(kind(4))


def test_files_that_lie(kind: Kind) -> None:
    options: dict[str, Any] = {"codec": "rabitq", "bits": 2}
    alone, kept = (
        to_bytes(built(kind, vectors(60, 8), **options)),
        to_bytes(kind.build(vectors(60, 8), **options)),
    )
    from_bytes(alone)
    codes = section(alone, "codec.codes").copy()
    codes.reshape(60, -1)[7, 4:8] = np.frombuffer(np.float32(np.nan).tobytes(), np.uint8)
    halves = to_bytes(built(kind, vectors(60, 8), codec="float16"))
    forged = {
        "vectors that are claimed": renamed(kept, "table.vectors", "x"),
        "codes that are claimed": renamed(alone, "codec.codes", "x"),
        "what codes mean": renamed(alone, "codec.params", "x"),
        "another claim": with_section(alone, "table.keep", np.ones(1, np.uint8)),
        "no claim": renamed(alone, "table.keep", "x"),
        "codes of nothing": with_section(halves, "codec.asked", np.frombuffer(b"float32", np.uint8)),
        "a code that is not finite": with_section(alone, "codec.codes", codes),
    }
    for what, data in forged.items():
        with pytest.raises(annlib.CorruptIndexError):
            from_bytes(data)
            pytest.fail(what)
