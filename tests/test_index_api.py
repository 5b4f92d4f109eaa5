"""What goes in and comes out of an index: arrays of all layouts, ids, looking things up."""

from __future__ import annotations

import array

import faiss
import numpy as np
import pytest
from reference import DTYPES, assert_well_formed, vectors

import annlib


@pytest.mark.parametrize("dtype", DTYPES)
def test_get_returns_vectors_as_they_were_given(kind: type[annlib.FlatIndex], dtype: str) -> None:
    train = vectors(50, 11, dtype)
    train[3] = 0
    for metric in annlib.list_metrics():
        index = kind.build(train, metric=metric)
        assert index.dtype == np.dtype(dtype)
        everything = index.get(np.arange(50))
        assert everything.dtype == np.dtype(dtype)
        assert everything.tobytes() == train.tobytes()
        assert index.get(7).shape == (11,)
        assert index.get([9, 9, 2]).tobytes() == train[[9, 9, 2]].tobytes()
        assert index.get([]).shape == (0, 11)


def test_layouts_of_arrays_do_not_matter(kind: type[annlib.FlatIndex]) -> None:
    train = vectors(60, 10)
    wide = np.zeros((120, 30), np.float32)
    wide[::2, 5:25:2] = train
    backwards = np.ascontiguousarray(train[::-1, ::-1])[::-1, ::-1]
    read_only = train.copy()
    read_only.setflags(write=False)
    layouts = {
        "strided": wide[::2, 5:25:2],
        "fortran": np.asfortranarray(train),
        "negative strides": backwards,
        "read only": read_only,
        "float64": train.astype(np.float64),
        "big endian": train.astype(">f4"),
        "lists": train.tolist(),
        "tuple of arrays": tuple(train),
        "broadcast and sliced": np.broadcast_to(train, (2, 60, 10))[1],
    }
    expected = kind.build(train)
    found = expected.search(train[:9], k=4)
    for name, layout in layouts.items():
        index = kind.build(layout)
        assert index.digest() == expected.digest(), name
        asked = layout[:9]
        result = index.search(asked, k=4)
        np.testing.assert_array_equal(result.ids, found.ids, err_msg=name)
        np.testing.assert_array_equal(result.distances, found.distances, err_msg=name)


def test_input_is_neither_kept_nor_changed(kind: type[annlib.FlatIndex]) -> None:
    train, ids = vectors(30, 4), np.arange(30) * 2
    given, given_ids = train.copy(), ids.copy()
    index = kind.build(given, ids=given_ids, metric="cosine")
    np.testing.assert_array_equal(given, train)
    given[:], given_ids[:] = 7, 7
    np.testing.assert_array_equal(index.get(ids), train)
    returned = index.ids
    returned[:] = 0
    np.testing.assert_array_equal(index.ids, ids)


class Arrayish:
    """What torch tensors and pyarrow arrays offer to numpy."""

    def __init__(self, data: np.ndarray) -> None:
        self.data = data

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        return self.data

    def __len__(self) -> int:
        return len(self.data)


def test_array_protocol_and_buffers(kind: type[annlib.FlatIndex]) -> None:
    train = vectors(20, 4)
    index = kind(4)
    index.add(Arrayish(train))
    index.add(array.array("f", [1, 2, 3, 4]))
    np.testing.assert_array_equal(index.get(20), [1, 2, 3, 4])
    assert index.search(Arrayish(train[:2]), k=1).ids.ravel().tolist() == [0, 1]
    assert index.search(memoryview(train[3]), k=1).ids.tolist() == [3]


def test_first_add_chooses_the_dtype(kind: type[annlib.FlatIndex]) -> None:
    index = kind(3)
    index.add(np.array([[1, 2, 3]], np.uint8))
    assert index.dtype == np.uint8
    index.add([[4.0, 5.0, 6.0]])  # whole numbers in range are the same vectors
    assert index.get([0, 1]).dtype == np.uint8
    fixed = kind(3, dtype="float16")
    fixed.add(np.array([[1, 2, 3]], np.uint8))
    assert fixed.dtype == np.float16
    assert kind(3, dtype=np.float64).dtype == np.float32
    # an index that was emptied takes what comes
    index.delete([0, 1])
    index.add(np.array([[0.5, 1, 2]], np.float32))
    assert index.dtype == np.float32


def test_one_query_gives_results_without_the_first_axis(kind: type[annlib.FlatIndex]) -> None:
    train = vectors(100, 6)
    index = kind.build(train)
    batch, one = index.search(train[:1], k=5), index.search(train[0], k=5)
    assert batch.ids.shape == (1, 5) and one.ids.shape == one.distances.shape == (5,)
    np.testing.assert_array_equal(batch.ids[0], one.ids)
    np.testing.assert_array_equal(batch.distances[0], one.distances)
    assert (int(one.counts), batch.counts.tolist()) == (5, [5])
    assert index.search(train[0], k=3, filter=[[1, 2]]).ids.shape == (3,)
    assert one.ids.dtype == np.int64 and one.distances.dtype == np.float32
    assert "5" in repr(one)


def test_integer_ids_of_all_kinds(kind: type[annlib.FlatIndex]) -> None:
    train = vectors(6, 4)
    for ids in (
        [5, 0, 9, 2**63 - 1, 3, 4],
        np.array([5, 0, 9, 8, 3, 4], np.uint8),
        range(10, 16),
        np.arange(6)[::-1],
    ):
        index = kind(4)
        returned = index.add(train, ids=ids)
        assert returned.dtype == np.int64
        assert returned.tolist() == list(ids) == index.ids.tolist()
        assert index.search(train, k=1, ef_search=1).ids.ravel().tolist() == list(ids)
        assert all(int(one) in index for one in ids)
    single = kind(4)
    assert single.add(train[0], ids=12).tolist() == [12]


def test_string_ids(kind: type[annlib.FlatIndex]) -> None:
    train = vectors(6, 4)
    names = ["a", "", "Ünï-cødé", "same", "Same", "x" * 1000]
    for given in (
        names,
        np.array(names),
        np.array(names, dtype=object),
        tuple(names),
        (name for name in names),
    ):
        index = kind(4)
        assert index.add(train, ids=given).tolist() == names
        assert index.ids.tolist() == names
        result = index.search(train, k=1)
        assert result.ids.ravel().tolist() == names
        assert all(type(name) is str for name in result.ids.ravel().tolist())
        assert "same" in index and "nobody" not in index and 3 not in index
        np.testing.assert_array_equal(index.get("Same"), train[4])
        np.testing.assert_array_equal(index.get(["x" * 1000, "a"]), train[[5, 0]])


def test_automatic_ids_count_on_from_the_largest(kind: type[annlib.FlatIndex]) -> None:
    train = vectors(4, 3)
    index = kind(3)
    assert index.add(train).tolist() == [0, 1, 2, 3]
    assert index.add(train[:2], ids=[10, 7]).tolist() == [10, 7]
    assert index.add(train[:2]).tolist() == [11, 12]
    index.delete([12])
    assert index.add(train[:1]).tolist() == [13]  # an id that was given out does not come back


def test_contains(kind: type[annlib.FlatIndex]) -> None:
    index = kind.build(vectors(5, 2), ids=[1, 2, 3, 5, 8])
    assert 5 in index and np.int32(5) in index and [1, 8] in index
    assert 4 not in index and [1, 4] not in index
    assert (
        "5" not in index and -1 not in index and 5.5 not in index and None not in index and 2**70 not in index
    )


def test_repr_and_stats(kind: type[annlib.FlatIndex]) -> None:
    index = kind.build(vectors(100, 40, "float16"), metric="cosine")
    assert repr(index).startswith(f"{kind.__name__}(dim=40, metric='cosine', dtype='float16', size=100")
    stats = index.stats()
    assert {k: stats[k] for k in ("type", "size", "dim", "metric", "dtype")} == {
        "type": kind.__name__, "size": 100, "dim": 40, "metric": "cosine", "dtype": "float16",
    }  # fmt: skip
    assert stats["memory_bytes"] >= 100 * 40 * 2
    assert (index.dim, index.metric, len(index)) == (40, "cosine", 100)
    if isinstance(index, annlib.HNSWIndex):
        assert (
            stats["codec_asked"] == "auto"
            and stats["codec"] in annlib.list_codecs()
            and stats["codec_reason"]
        )
        assert stats["graph_bytes"] >= 100 * 2 * stats["M"] * 4
        assert 0 < stats["mean_degree"] <= 2 * stats["M"]
        assert (stats["deleted_in_graph"], stats["duplicates"], stats["calibrated_k"]) == (0, 0, [])


def test_memory_stays_near_vectors_and_links() -> None:
    n, dim = 20_000, 32
    index = annlib.HNSWIndex.build(vectors(n, dim), codec="float32", ef_construction=20)
    assert index.stats()["memory_bytes"] <= 1.15 * n * (4 * dim + 4 * 2 * 16)


@pytest.mark.parametrize("threads", [1, 2, 7, None])
def test_results_do_not_depend_on_threads(
    kind: type[annlib.FlatIndex], threads: int | None, all_threads: None
) -> None:
    train, queries = vectors(2000, 8), vectors(700, 8, seed=1)
    index = kind.build(train)
    expected = index.search(queries, k=5, threads=1)
    result = index.search(queries, k=5, threads=threads)
    np.testing.assert_array_equal(result.ids, expected.ids)
    np.testing.assert_array_equal(result.distances, expected.distances)
    assert result.stats == expected.stats
    annlib.set_num_threads(3)
    np.testing.assert_array_equal(index.search(queries, k=5).ids, expected.ids)


def test_progress_is_told_how_far(kind: type[annlib.FlatIndex]) -> None:
    seen: list[tuple[int, int]] = []
    kind(4).add(vectors(5000, 4), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (5000, 5000)
    assert all(total == 5000 for _, total in seen)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_radius_against_brute_force(kind: type[annlib.FlatIndex], metric: str) -> None:
    from reference import distances

    train, queries = vectors(4000, 6), vectors(30, 6, seed=1)
    index = kind.build(train, metric=metric)
    every = distances(train, queries, metric)
    for share in (0.0, 0.0005, 0.01, 0.3, 1.0):  # of all items within the radius, at the median query
        radius = float(np.quantile(every, share)) if share < 1 else float("inf")
        lims, ids, found = index.search_radius(queries, radius)
        assert lims.dtype == np.int64 and ids.dtype == np.int64 and found.dtype == np.float32
        assert lims[0] == 0 and lims[-1] == len(ids) == len(found) and len(lims) == 31
        expected, hit = 0, 0
        for i in range(30):
            here = ids[lims[i] : lims[i + 1]]
            near = found[lims[i] : lims[i + 1]]
            assert (
                (np.diff(near) >= 0).all() and (near <= radius).all() and len(set(here.tolist())) == len(here)
            )
            np.testing.assert_allclose(near, every[i, here], atol=1e-4)
            truth = np.flatnonzero(every[i] < radius - 1e-5)
            expected += len(truth)
            hit += len(np.intersect1d(truth, here))
        assert hit >= (1.0 if kind is annlib.FlatIndex else 0.98) * expected


def test_radius_is_laid_out_as_faiss_has_it(kind: type[annlib.FlatIndex]) -> None:
    train, queries = vectors(1000, 5), vectors(8, 5, seed=3)
    theirs = faiss.IndexFlatL2(5)
    theirs.add(train)
    lims, distances, ids = theirs.range_search(queries, 1.5)
    ours = kind.build(train).search_radius(queries, 1.5)
    np.testing.assert_array_equal(ours.lims, lims.astype(np.int64))
    for a, b in zip(lims[:-1].tolist(), lims[1:].tolist(), strict=True):
        assert set(ours.ids[a:b].tolist()) == set(ids[a:b].tolist())
        np.testing.assert_allclose(np.sort(distances[a:b]), ours.distances[a:b], rtol=1e-4)


def test_radius_with_a_filter_strings_and_the_border(kind: type[annlib.FlatIndex]) -> None:
    index = kind.build([[0.0], [1.0], [2.0], [3.0]], ids=["a", "b", "c", "d"])
    lims, ids, found = index.search_radius([[0.0], [3.0]], 4.0)
    assert (lims.tolist(), ids.tolist(), found.tolist()) == (
        [0, 3, 6],
        ["a", "b", "c", "d", "c", "b"],
        [0, 1, 4] * 2,
    )
    result = index.search_radius([[0.0]], 4.0, filter=["c", "d", "nobody"])
    assert result.ids.tolist() == ["c"]
    assert "1 queries, 1 results" in repr(result)


def test_lists_of_what_there_is() -> None:
    assert set(annlib.list_metrics()) >= {"l2", "ip", "cosine"}
    assert {"auto", "float32", "float16", "int8", "int4", "rabitq"} <= set(annlib.list_codecs())
    features = annlib.cpu_features()
    assert features["in_use"] in features["available"] and "scalar" in features["available"]
    for codec in annlib.list_codecs():
        assert_well_formed(annlib.HNSWIndex.build(vectors(40, 33), codec=codec).search(np.ones(33), 5), 5)
