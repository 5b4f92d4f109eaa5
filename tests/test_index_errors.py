"""Bad input: which exception, what it says, and that the index is as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from reference import vectors

import annlib

NAN, INF = float("nan"), float("inf")


@pytest.fixture
def index(kind: type[annlib.FlatIndex]) -> annlib.Index:
    return kind.build(vectors(30, 4), ids=np.arange(30) * 10)


@pytest.fixture
def named(kind: type[annlib.FlatIndex]) -> annlib.Index:
    return kind.build(vectors(5, 4), ids=["a", "b", "c", "d", "e"])


@contextmanager
def refused(index: annlib.Index, error: type[BaseException], says: str) -> Iterator[None]:
    """The block raises `error`, whose text matches `says`, and changes nothing."""

    def state() -> Any:
        probe = index.search(np.ones(4), k=5)
        return index.digest(), len(index), index.ids.tolist(), index.dtype, probe.ids.tolist(), repr(index)

    before = state()
    with pytest.raises(error, match=says):
        yield
    assert state() == before
    ids = index.add(np.ones((1, 4)), ids=["new"] if index.ids.dtype == object else None)
    index.delete(ids)


BAD_VECTORS: dict[str, tuple[Any, str]] = {
    "wrong dim": (np.ones((2, 5)), r"dim 5.*dim 4"),
    "dim 0": (np.ones((2, 0)), r"dim 0.*dim 4"),
    "0-d": (np.float32(3), r"0 dimension|got \(\)"),
    "1-d of another dim": (np.ones(3), r"1 dimension|dim 3.*dim 4"),
    "3-d": (np.ones((2, 2, 4)), r"3 dimension|\(2, 2, 4\)"),
    "ragged": ([[1.0, 2, 3, 4], [1, 2]], "rectangular"),
    "ragged arrays": ([np.ones(4), np.ones(3)], "rectangular"),
    "object": (np.array([[1, 2, 3, object()]], dtype=object), "object"),
    "None": (None, "object|real numbers"),
    "none inside": ([[1, 2, 3, None]], "object"),
    "complex": (np.ones((2, 4), complex), "complex"),
    "bool": (np.ones((2, 4), bool), "bool"),
    "string": ("abcd", "real numbers"),
    "strings": (np.array([["1", "2", "3", "4"]]), "<U1"),
    "dates": (np.zeros((1, 4), "datetime64[s]"), "datetime64"),
    "records": (np.zeros(4, [("x", "f4")]), "real numbers"),
    "a dict": ({1: 2}, "real numbers"),
    "nan": ([[0, 0, 0, 0], [1, 2, NAN, 4], [NAN, 0, 0, 0]], "finite.*row 1"),
    "infinity": ([[0, 0, 0, 0], [0, 0, 0, 0], [0, -INF, 0, 0]], "finite.*row 2"),
    "too large for float32": (np.full((3, 4), 1e300), "finite.*row 0"),
}


@pytest.mark.parametrize("name", BAD_VECTORS)
def test_bad_vectors(index: annlib.Index, name: str) -> None:
    bad, says = BAD_VECTORS[name]
    with refused(index, ValueError, says):
        index.add(bad)
    with refused(index, ValueError, says):
        index.update([0, 10, 20][: len(bad) if isinstance(bad, list) or np.ndim(bad) else 1], bad)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", BAD_VECTORS)
def test_bad_queries(index: annlib.Index, name: str) -> None:
    bad, says = BAD_VECTORS[name]
    with refused(index, ValueError, says):
        index.search(bad, k=1)
    with refused(index, ValueError, says):
        index.search_radius(bad, 1.0)


# A string is the path of a file to build from (tests/test_sources.py).
@pytest.mark.parametrize("name", [name for name in BAD_VECTORS if "dim" not in name and name != "string"])
def test_bad_vectors_in_build(kind: type[annlib.FlatIndex], name: str) -> None:
    bad, says = BAD_VECTORS[name]
    with pytest.raises(ValueError, match=says):
        kind.build(bad)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_nan_anywhere_is_found(kind: type[annlib.FlatIndex], dtype: str, rng: np.random.Generator) -> None:
    for dim in (1, 7, 8, 33, 100):
        for value in (NAN, INF, -INF):
            row, column = int(rng.integers(50)), int(rng.integers(dim))
            train = vectors(50, dim, dtype)
            train[row, column] = value
            index = kind(dim)
            with pytest.raises(ValueError, match=rf"row {row} .*dimension {column}$"):
                index.add(train)
            assert len(index) == 0
            with pytest.raises(ValueError, match=f"queries.*row {row} "):
                index.search(train, k=1)


def test_integer_indexes_take_whole_numbers_in_range(kind: type[annlib.FlatIndex]) -> None:
    index = kind.build(vectors(3, 4, "int8"))
    for bad, row in (
        ([[0.5, 0, 0, 0]], 0),
        ([[0, 0, 0, 0], [0, 0, 0, 128]], 1),
        ([[-129, 0, 0, 0]], 0),
        ([[NAN] * 4], 0),
    ):
        with refused(index, ValueError, f"int8.*row {row}"):
            index.add(bad)


BAD_IDS: dict[str, tuple[Any, str]] = {
    "too few": ([1], "2 vectors and 1 ids"),
    "too many": ([1, 2, 3], "2 vectors and 3 ids"),
    "twice in a call": ([7, 7], "7 stands twice"),
    "negative": ([1, -2], "-2"),
    "too large": ([1, 2**63], f"2\\*\\*63 - 1, got {2**63}"),
    "too large in an array": (np.array([1, 2**63], np.uint64), f"2\\*\\*63 - 1, got {2**63}"),
    "beyond 64 bits": ([1, 2**70], f"got {2**70}"),
    "fractions": ([1.0, 2.0], "integers or strings"),
    "2-d": ([[1, 2]], "2 vectors and 1 ids"),
    "2-d array": (np.ones((2, 1), int), "one-dimensional"),
    "bools": ([True, False], "integers or strings"),
    "mixed": ([1, "a"], "all strings or all integers"),
    "strings in an index of integers": (["a", "b"], "integer ids"),
    "objects": ([object(), object()], "integers or strings"),
    "None": ([None, None], "integers or strings"),
    "bytes": ([b"a", b"b"], "integers or strings"),
}


@pytest.mark.parametrize("name", BAD_IDS)
def test_bad_ids(index: annlib.Index, name: str) -> None:
    bad, says = BAD_IDS[name]
    with refused(index, ValueError, says):
        index.add(vectors(2, 4), ids=bad)
    with refused(index, ValueError, says):
        index.add(vectors(2, 4), ids=bad, on_conflict="update")


def test_ids_that_are_there_or_are_not(index: annlib.Index) -> None:
    with refused(index, KeyError, "id 20 is in the index already"):
        index.add(vectors(2, 4), ids=[5, 20])
    for call in (index.delete, index.get, lambda ids: index.update(ids, vectors(2, 4))):
        with refused(index, KeyError, "id 15 is not in the index"):
            call([10, 15])  # type: ignore[operator]
        with refused(index, KeyError, "integer ids, got 'a'"):
            call(["a", "b"])  # type: ignore[operator]
        with refused(index, ValueError, "integers"):
            call([1.5, 2])  # type: ignore[operator]
    for call in (index.delete, lambda ids: index.update(ids, vectors(2, 4))):
        with refused(index, ValueError, "id 20 stands twice"):
            call([20, 20])
    with refused(index, ValueError, "1 vectors and 2 ids"):
        index.update([10, 20], vectors(1, 4))


def test_string_ids_are_named_as_they_were_written(named: annlib.Index) -> None:
    with refused(named, KeyError, "'c' is in the index already"):
        named.add(vectors(2, 4), ids=["x", "c"])
    with refused(named, ValueError, "'y' stands twice"):
        named.add(vectors(3, 4), ids=["x", "y", "y"])
    with refused(named, ValueError, "string ids"):
        named.add(vectors(2, 4), ids=[1, 2])
    with refused(named, ValueError, "string ids: give ids"):
        named.add(vectors(2, 4))
    for call in (named.delete, named.get, lambda ids: named.update(ids, vectors(2, 4))):
        with refused(named, KeyError, "'nobody' is not in the index"):
            call(["a", "nobody"])  # type: ignore[operator]
        with refused(named, KeyError, "'nobody' is not in the index"):
            call(name for name in ("a", "nobody"))  # type: ignore[operator]
        with refused(named, KeyError, "string ids, got 3"):
            call([3, 4])  # type: ignore[operator]
    for call in (named.delete, lambda ids: named.update(ids, vectors(2, 4))):
        with refused(named, ValueError, "'b' stands twice"):
            call(["b", "b"])


@pytest.mark.parametrize("k", [0, -1, 1.5, "3", None, True, 2**31, 10**30, NAN])
def test_bad_k(index: annlib.Index, k: Any) -> None:
    with refused(index, ValueError, "k must be"):
        index.search(np.ones(4), k=k)


def test_huge_k(index: annlib.Index) -> None:
    with refused(index, ValueError, "2000000000"):
        index.search(np.ones(4), k=2_000_000_000)
    with refused(index, ValueError, "fit a call"):
        index.search(np.ones((1000, 4)), k=1_000_000)
    assert index.search(np.ones(4), k=1_000_000).counts == len(index)
    assert index.search(np.ones(4), k=1, ef_search=2**31 - 1).counts == 1


EFFORTS: dict[str, tuple[Callable[[annlib.Index], object], str]] = {
    "ef_search 0": (lambda index: index.search(np.ones(4), ef_search=0), "ef_search"),
    "ef_search and recall": (lambda index: index.search(np.ones(4), ef_search=9, recall=0.9), "not both"),
    "recall 0": (lambda index: index.search(np.ones(4), recall=0), "recall"),
    "recall 2": (lambda index: index.search(np.ones(4), recall=2), "recall"),
    "recall nan": (lambda index: index.search(np.ones(4), recall=NAN), "recall"),
    "recall True": (lambda index: index.search(np.ones(4), recall=True), "recall"),
}
CALLS: dict[str, tuple[Callable[[annlib.Index], object], str]] = {
    "radius nan": (lambda index: index.search_radius(np.ones(4), NAN), "radius"),
    "radius a string": (lambda index: index.search_radius(np.ones(4), "1"), "radius"),  # type: ignore[arg-type]
    "threads 0": (lambda index: index.search(np.ones(4), threads=0), "threads"),
    "threads a float": (lambda index: index.search(np.ones(4), threads=1.5), "threads"),  # type: ignore[arg-type]
    "threads in add": (lambda index: index.add(np.ones((1, 4)), threads=-1), "threads"),
    "threads in delete": (lambda index: index.delete(10, threads=-1), "threads"),
    "threads in update": (lambda index: index.update(10, np.ones(4), threads=-1), "threads"),
    "threads in compact": (lambda index: index.compact(threads=-1), "threads"),
}


@pytest.mark.parametrize("name", CALLS)
def test_bad_options_of_calls(kind: type[annlib.FlatIndex], name: str) -> None:
    call, says = CALLS[name]
    index = kind.build(vectors(30, 4), ids=np.arange(30) * 10)
    with refused(index, ValueError, says):
        call(index)


@pytest.mark.parametrize("name", EFFORTS)
def test_bad_efforts(name: str) -> None:
    call, says = EFFORTS[name]
    index = annlib.HNSWIndex.build(vectors(30, 4))
    with refused(index, ValueError, says):
        call(index)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"dim": 0}, "dim"),
        ({"dim": -3}, "dim"),
        ({"dim": 2**20 + 1}, "dim"),
        ({"dim": 4.0}, "dim"),
        ({"dim": "4"}, "dim"),
        ({"dim": True}, "dim"),
        ({"dim": 4, "metric": "manhattan"}, "manhattan.*angular, cosine, euclidean, ip, l2"),
        ({"dim": 4, "metric": None}, "metric"),
        ({"dim": 4, "metric": ["l2"]}, "metric"),
        ({"dim": 4, "dtype": "int32"}, "float32, float16, int8, uint8.*int32"),
        ({"dim": 4, "dtype": "no such"}, "no such"),
        ({"dim": 4, "dtype": complex}, "complex"),
    ],
)
def test_bad_parameters(kind: type[annlib.FlatIndex], options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        kind(**options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"M": 1}, "M must be between 2 and"),
        ({"M": 0}, "M"),
        ({"M": 10_000}, "M"),
        ({"M": 16.0}, "M"),
        ({"ef_construction": 0}, "ef_construction"),
        ({"ef_construction": 10**7}, "ef_construction"),
        ({"codec": "zip"}, "zip.*auto, float32, float16, int8, int4, rabitq"),
        ({"codec": None}, "codec.*auto"),
        ({"codec": "rabitq", "bits": 9}, "bits"),
        ({"codec": "rabitq", "bits": 0}, "bits"),
        ({"codec": "rabitq", "bits": 2.0}, "bits"),
        ({"codec": "rabitq:9"}, "bits.*1 to 8"),
        ({"codec": "int8", "bits": 4}, "int8.*no bits"),
        ({"bits": 4}, "auto.*no bits"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"seed": 0.5}, "seed"),
        ({"seed": None}, "seed"),
    ],
)
def test_bad_parameters_of_the_graph(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        annlib.HNSWIndex(4, **options)
    with pytest.raises(ValueError, match=says):
        annlib.HNSWIndex.build(vectors(9, 4), **options)


def test_unknown_options_are_named(kind: type[annlib.FlatIndex]) -> None:
    for call in (lambda: kind(4, metrik="l2"), lambda: kind.build(vectors(9, 4), efc=3)):  # type: ignore[call-arg]
        with pytest.raises(TypeError, match=r"metrik|efc"):
            call()
    with pytest.raises(ValueError, match="target"):
        annlib.HNSWIndex.build(vectors(9, 4), target=1.5)


@pytest.mark.parametrize(
    ("attributes", "says"),
    [
        ({"a": ["x"]}, "'a' holds int, got string"),
        ({"a": [1, 2]}, "'a': got 2 values for 1 items"),
        ({"b": [None]}, "'b': there is no value to tell its type by"),
        ({"b": [1, "x"]}, "'b': got 2 values"),
        ({"b": [3j]}, "'b': values are bool, int, float"),
        ({"b": [[1.5]]}, "'b': lists hold strings or ints"),
        ({"b": ["\ud800"]}, "'b': .*surrogates"),
        ({"b": [2**63]}, "'b': integers must be"),
        ({"b": "x"}, "'b': a column is an array or a list"),
        ({"": [1]}, "the name of an attribute"),
        ({3: [1]}, "the name of an attribute"),
        ({f"c{i}": [1] for i in range(512)}, "at most 512"),
        ([1], "must be a dict of columns"),
    ],
)
def test_attributes(index: annlib.Index, attributes: Any, says: str) -> None:
    index.set_attributes({"a": np.arange(len(index))})
    known = index.ids[:1]
    fresh = ["new"] if isinstance(known[0], str) else [10**6]
    for call in (
        lambda: index.add(vectors(1, 4), fresh, attributes),
        lambda: index.update(known, vectors(1, 4), attributes),
        lambda: index.set_attributes(attributes, known),
    ):
        with refused(index, ValueError, says):
            call()
    with refused(index, ValueError, "values of several types: 1 and 'x'"):
        index.add(vectors(2, 4), ids=[10**6, 10**6 + 1], attributes={"b": [1, "x"]})
    with refused(index, KeyError, "999"):
        index.set_attributes({"a": [1]}, [999])
    with refused(index, ValueError, "twice"):
        index.set_attributes({"a": [1, 2]}, [known[0], known[0]])
    with refused(index, ValueError, "items"):
        index.set_attributes({"a": [1]})


def test_threads_of_the_process() -> None:
    with pytest.raises(ValueError, match="-1"):
        annlib.set_num_threads(-1)
    with pytest.raises((TypeError, ValueError)):
        annlib.set_num_threads("many")  # type: ignore[arg-type]


def test_calibrating_nothing() -> None:
    index = annlib.HNSWIndex(4)
    with pytest.raises(ValueError, match="empty"):
        index.calibrate()
    assert index.search(np.ones(4), recall=0.9).counts == 0
    index.add(vectors(50, 4))
    for bad in (0, -3, 1.5):
        with refused(index, ValueError, "k must be"):
            index.calibrate(k=bad)  # type: ignore[arg-type]
    with refused(index, ValueError, "dim 5"):
        index.calibrate(vectors(10, 5))
    with refused(index, ValueError, "finite"):
        index.calibrate(np.full((3, 4), NAN))
    with refused(index, ValueError, "queries"):
        index.calibrate(np.empty((0, 4)))
