"""Attributes: every type in every container, added, changed, saved and read again."""

from __future__ import annotations

import datetime
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference import INDEXES, vectors

import annlib
from annlib import F

NAT = np.datetime64("NaT")
#: What comes, and what goes out again.
COLUMNS: dict[str, tuple[Any, list[Any]]] = {
    "bool": (np.array([True, False, True]), [True, False, True]),
    "bool and null": ([True, None, False], [True, None, False]),
    "int": (np.array([1, -2, 3], np.int16), [1, -2, 3]),
    "int and null": ([1, None, -(2**63)], [1, None, -(2**63)]),
    "unsigned": (np.array([1, 2, 2**63 - 1], np.uint64), [1, 2, 2**63 - 1]),
    "float": (np.array([0.5, -0.0, np.inf], np.float32), [0.5, 0.0, np.inf]),
    "float and null": ([0.5, float("nan"), 3], [0.5, None, 3.0]),
    "masked": (np.ma.array([1, 2, 3], mask=[0, 1, 0]), [1, None, 3]),
    "string": (["", "ü\0x", "a"], ["", "ü\0x", "a"]),
    "string array": (np.array(["a", "bc", "a"]), ["a", "bc", "a"]),
    "string and null": (["a", None, "a"], ["a", None, "a"]),
    "date": ([datetime.date(1960, 2, 29), None, datetime.date(2020, 1, 1)],
             [datetime.date(1960, 2, 29), None, datetime.date(2020, 1, 1)]),
    "date array": (np.array(["2020-01", "NaT", "1969-12"], "M8[M]"),
                   [datetime.date(2020, 1, 1), None, datetime.date(1969, 12, 1)]),
    "datetime": (np.array(["2020-01-01T01:02:03.000004", "NaT", "1960-01-01"], "M8[us]"),
                 [datetime.datetime(2020, 1, 1, 1, 2, 3, 4), None, datetime.datetime(1960, 1, 1)]),
    "datetime with zone": ([datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=2))), None, NAT],
                           [datetime.datetime(2019, 12, 31, 22), None, None]),
    "tags": ([["x", "y"], [], None], [["x", "y"], [], None]),
    "tags of other kinds": ([("x",), {"b", "a"}, np.array(["z"])], [["x"], ["a", "b"], ["z"]]),
    "int lists": ([[3, 1, 3], None, []], [[3, 1, 3], None, []]),
    "matrix": (np.array([[1, 2], [3, 4], [5, 6]]), [[1, 2], [3, 4], [5, 6]]),
}  # fmt: skip


def held(index: annlib.Index, ids: Any = None) -> dict[str, list[Any]]:
    return {name: column.tolist() for name, column in index.attributes(ids).items()}


WANTED = {name: wanted for name, (_, wanted) in COLUMNS.items()}
GIVEN = {name: given for name, (given, _) in COLUMNS.items()}


@pytest.mark.parametrize("index_type", INDEXES)
def test_every_type_comes_out_as_it_went_in(index_type: type[annlib.Index], tmp_path: Path) -> None:
    index = index_type.build(vectors(3, 4), attributes=GIVEN)
    assert held(index) == WANTED
    assert held(index, [2, 0, 2]) == {name: [w[2], w[0], w[2]] for name, w in WANTED.items()}
    index.save(tmp_path / "x.ann")
    for again in (
        annlib.load(tmp_path / "x.ann"),
        annlib.load(tmp_path / "x.ann", mmap=True),
        pickle.loads(pickle.dumps(index)),
    ):
        assert held(again) == WANTED and again.digest() == index.digest()
        again.add(vectors(2, 4, seed=1), attributes={"int": [7, 8], "tags": [["n"], None]})
        assert held(again, [3])["int"] == [7] and held(again, [3])["bool"] == [None]
        assert held(again, [0, 1, 2]) == WANTED
        again.set_attributes(again.attributes())
        assert held(again, [0, 1, 2]) == WANTED
    assert annlib.verify(tmp_path / "x.ann") == []


def test_frames() -> None:
    plain = {
        "int": [1, None, 3],
        "float": [0.5, None, 2.0],
        "bool": [True, None, False],
        "string": ["a", None, "b"],
        "date": [datetime.date(2020, 1, 1), None, datetime.date(1950, 1, 1)],
        "time": [datetime.datetime(2020, 1, 1, 1), None, datetime.datetime(1950, 1, 1)],
        "tags": [["x", "y"], None, []],
        "codes": [[1], None, [2, 3]],
    }
    pa = pytest.importorskip("pyarrow")
    table = pa.table(plain)
    assert held(annlib.FlatIndex.build(vectors(3, 2), attributes=table)) == plain
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({name: pd.Series(column, dtype=object) for name, column in plain.items()})
    frame["int"] = frame["int"].astype("Int64")
    frame["float"] = frame["float"].astype(float)
    frame["string"] = frame["string"].astype("category")
    frame["time"] = pd.to_datetime(frame["time"]).dt.tz_localize("UTC")
    assert held(annlib.FlatIndex.build(vectors(3, 2), attributes=frame)) == plain
    assert (
        held(annlib.FlatIndex.build(vectors(3, 2), attributes=table.to_pandas(types_mapper=pd.ArrowDtype)))
        == plain
    )
    pl = pytest.importorskip("polars")
    assert held(annlib.FlatIndex.build(vectors(3, 2), attributes=pl.DataFrame(plain))) == plain


def test_parquet(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pa.table({"a": [1, 2, None], "b": [["x"], [], None]}), tmp_path / "x.parquet")
    for path in (tmp_path / "x.parquet", str(tmp_path / "x.parquet")):
        index = annlib.FlatIndex.build(vectors(3, 2), attributes=path)
        assert held(index) == {"a": [1, 2, None], "b": [["x"], [], None]}


@pytest.mark.parametrize("index_type", INDEXES)
def test_attributes_follow_their_items(index_type: type[annlib.Index]) -> None:
    """Adds, updates, deletions, equal vectors and compaction, against a dict."""
    rng = np.random.default_rng(0)
    index = index_type(4)
    there: dict[int, tuple[Any, Any]] = {}
    following = 0
    for step in range(120):
        choice = rng.random()
        n = int(rng.integers(1, 12))
        block = rng.integers(0, 3, (n, 4)).astype(np.float32)  # many of them equal
        names = [None if rng.random() < 0.2 else f"n{rng.integers(50)}" for _ in range(n)]
        tags = [
            None if rng.random() < 0.2 else [f"t{t}" for t in rng.integers(0, 9, rng.integers(4))]
            for _ in range(n)
        ]
        names[0], tags[0] = f"step {step}", ["x"]
        if choice < 0.5 or len(there) < 30:
            ids = list(range(following, following + n))
            following += n
            index.add(block, ids, {"name": names, "tags": tags})
            there |= dict(zip(ids, zip(names, tags, strict=True), strict=True))
        else:
            ids = rng.choice(list(there), min(n, len(there)), replace=False).tolist()
            block, names, tags = block[: len(ids)], names[: len(ids)], tags[: len(ids)]
            if choice < 0.6:
                index.update(ids, block)
            elif choice < 0.7:
                index.update(ids, block, {"name": names})
                there |= {i: (name, there[i][1]) for i, name in zip(ids, names, strict=True)}
            elif choice < 0.8:
                index.set_attributes({"tags": tags}, ids)
                there |= {i: (there[i][0], tag) for i, tag in zip(ids, tags, strict=True)}
            else:
                index.delete(ids)
                for i in ids:
                    del there[i]
        if step % 40 == 39:
            index.compact()
        columns = held(index)
        assert (
            dict(zip(index.ids.tolist(), zip(columns["name"], columns["tags"], strict=True), strict=True))
            == there
        )
        assert index.count(F.tags.any("t1", "x")) == sum(
            bool({"t1", "x"} & set(t or ())) for _, t in there.values()
        )
        assert index.count(F.name >= "n3") == sum(n is not None and n >= "n3" for n, _ in there.values())


@pytest.mark.parametrize("index_type", INDEXES)
def test_digest_depends_on_attributes_and_not_on_their_order(index_type: type[annlib.Index]) -> None:
    data, n = vectors(400, 8), 400
    names = np.array([f"n{i % 37}" for i in range(n)])
    tags = [[f"t{i % 5}", f"t{i % 7}"] for i in range(n)]
    digests = []
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(n)
        index = index_type(8)
        for part in np.array_split(order, 1 + seed):
            index.add(data[part], part, {"name": names[part], "tags": [tags[i] for i in part]})
        index.compact()
        digests.append(index.digest())
    assert len(set(digests)) == 1
    index.set_attributes({"name": ["other"]}, [0])
    index.compact()
    assert index.digest() != digests[0]


def test_columns_are_added_and_replaced() -> None:
    index = annlib.HNSWIndex.build(vectors(50, 4))
    assert index.attributes() == {} and "attributes" not in index.stats()
    index.set_attributes({"a": np.arange(50)})
    index.set_attributes({"b": ["x"]}, [7])
    assert index.count(F.a < 10) == 10 and index.count(F.b == "x") == 1 and index.count(F.b.is_null()) == 49
    index.set_attributes({"a": [str(i) for i in range(50)]})  # of another type
    assert index.count(F.a == "7") == 1
    index.set_attributes({"c": [0.5] * 50})
    index.set_attributes({"c": [1]}, [3])  # ints are floats too
    assert held(index, [2, 3])["c"] == [0.5, 1.0]
    stats = index.stats()["attributes"]
    assert stats["b"]["nulls"] == 49 and stats["b"]["type"] == "string"
    assert all(0 < one["bytes"] < index.stats()["memory_bytes"] for one in stats.values())


def test_a_failed_add_adds_no_columns() -> None:
    index = annlib.HNSWIndex.build(vectors(3000, 4), attributes={"a": np.arange(3000)})
    before = index.digest()

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.add(vectors(2000, 4, seed=1), attributes={"b": np.arange(2000)}, progress=stop)
    assert set(index.attributes()) == {"a"} and index.digest() == before


def test_values_that_are_no_more_take_no_memory() -> None:
    index = annlib.FlatIndex.build(vectors(10, 4), attributes={"s": ["x"] * 10, "t": [["x"]] * 10})
    for i in range(3000):
        index.update(
            range(10), vectors(10, 4), {"s": [f"{i}-{j}" * 20 for j in range(10)], "t": [[str(i)] * 20] * 10}
        )
    assert all(one["bytes"] < 1 << 20 for one in index.stats()["attributes"].values())


@pytest.mark.parametrize("index_type", [annlib.FlatIndex, annlib.HNSWIndex])
def test_attributes_of_codes_alone(index_type: type[annlib.Index], tmp_path: Path) -> None:
    """They stay where the vectors go, through compaction, changes and files, and filter both kinds of search."""
    train = vectors(2000, 32)
    index = index_type.build(train, codec="int8", keep_vectors=False, attributes={"n": np.arange(2000)})
    index.delete(np.arange(0, 2000, 2))
    index.compact()
    index.add(vectors(2, 32, seed=1), ids=[5000, 5001], attributes={"n": [5000, None]})
    index.save(tmp_path / "x.ann")
    for one in (index, annlib.load(tmp_path / "x.ann")):
        assert held(one, [3, 1999, 5000, 5001])["n"] == [3, 1999, 5000, None]
        ids, _ = one.search(train[:5], 10, filter=F.n < 40)
        assert set(ids.ravel().tolist()) <= set(range(1, 40, 2))
        for form in (F.n < 40, {"n": {"$lt": 40}}, "n < 40", np.arange(1, 40, 2), one.ids < 40):
            _, found, _ = one.search_radius(train[0], np.inf, filter=form)
            assert sorted(found.tolist()) == list(range(1, 40, 2))


@pytest.mark.parametrize("index_type", INDEXES)
def test_dropped_as_though_never_there(index_type: type[annlib.Index], tmp_path: Path) -> None:
    data, size, tags = vectors(200, 4), np.arange(200), [["x"], ["y", "z"]] * 100
    index = index_type.build(data, attributes={"size": size, "tags": tags, "third": size % 3})
    for _ in range(3):  # columns are sorted, bitmaps are kept
        assert index.count((F.size < 10) & F.tags.any("x")) == 5
    before = index.digest()
    for missing in (["size", "nothing"], "nothing", ["Size"]):
        with pytest.raises(ValueError, match=r"no attribute '\w+'; there are: size \(int\), tags"):
            index.drop_attributes(missing)
    with pytest.raises(ValueError, match="must be a string, got 3"):
        index.drop_attributes(["size", 3])  # type: ignore[list-item]
    assert index.digest() == before
    index.drop_attributes(["tags", "third"])
    assert index.digest() == index_type.build(data, attributes={"size": size}).digest()
    assert list(index.attributes()) == ["size"] == list(index.stats()["attributes"])
    assert index.count(F.size < 10) == 10
    with pytest.raises(ValueError, match="no attribute 'tags'"):
        index.count(F.tags.any("x"))
    index.save(tmp_path / "x.ann")
    mapped = annlib.load(tmp_path / "x.ann", mmap=True)
    assert mapped.digest() == index.digest()
    mapped.drop_attributes("size")
    assert mapped.digest() == index_type.build(data).digest() and mapped.attributes() == {}
    # The name is free for another type.
    mapped.add(vectors(1, 4, seed=1), attributes={"size": ["large"]})
    assert mapped.count(F.size == "large") == 1 and mapped.count(F.size.is_null()) == 200


def test_filter_indexes_go_with_their_attribute(tmp_path: Path) -> None:
    data, columns = vectors(2000, 4), {"size": np.arange(2000) % 8, "other": np.arange(2000) % 4}
    index = annlib.HNSWIndex.build(data, M=8, ef_construction=40, attributes=columns)
    for name in columns:
        index.create_filter_index(name, min_items=100)
    index.drop_attributes(["size"])
    assert list(index.filter_indexes()) == ["other"]
    index.save(tmp_path / "x.ann")
    again = annlib.load(tmp_path / "x.ann")
    assert isinstance(again, annlib.HNSWIndex) and list(again.filter_indexes()) == ["other"]
    same = annlib.HNSWIndex.build(data, M=8, ef_construction=40, attributes={"other": columns["other"]})
    same.create_filter_index("other", min_items=100)
    assert again.digest() == index.digest() == same.digest()
    index.add(data[:10], attributes={"size": np.arange(10)})
    assert index.search(data[0], 5, filter="size < 3").counts == 3
