"""annlib.sources and annlib.sampling: vectors from anywhere, a block at a time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import annlib
from annlib.sampling import random64, random_sample
from annlib.sources import open_source

VECTORS = np.random.default_rng(0).standard_normal((1000, 6)).astype(np.float32)


def vecs_bytes(vectors: np.ndarray) -> bytes:
    dim = np.int32(vectors.shape[1]).tobytes()
    return b"".join(dim + row.tobytes() for row in vectors)


def lists(vectors: np.ndarray, fixed: bool = False) -> Any:
    """A pyarrow column of vectors."""
    arrow = pytest.importorskip("pyarrow", reason="Arrow tables need pyarrow")
    values = arrow.array(vectors.ravel())
    if fixed:
        return arrow.FixedSizeListArray.from_arrays(values, vectors.shape[1])
    offsets = np.arange(len(vectors) + 1, dtype=np.int32) * vectors.shape[1]
    return arrow.ListArray.from_arrays(arrow.array(offsets), values)


def as_npy(folder: Path) -> Path:
    np.save(folder / "v.npy", VECTORS)
    return folder / "v.npy"


def as_fortran_npy(folder: Path) -> Path:
    np.save(folder / "f.npy", np.asfortranarray(VECTORS))
    return folder / "f.npy"


def as_fvecs(folder: Path) -> str:
    (folder / "v.fvecs").write_bytes(vecs_bytes(VECTORS))
    return str(folder / "v.fvecs")


def as_hdf5(folder: Path) -> Path:
    h5py = pytest.importorskip("h5py", reason="HDF5 needs the extra annlib[data]")
    with h5py.File(folder / "v.hdf5", "w") as file:
        file["train"] = VECTORS
        file["test"] = VECTORS[:3]
    return folder / "v.hdf5"


def as_parquet(folder: Path, fixed: bool = False) -> Path:
    arrow = pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    from pyarrow import parquet

    table = arrow.table({"title": ["x"] * len(VECTORS), "vector": lists(VECTORS, fixed)})
    parquet.write_table(table, folder / "v.parquet", row_group_size=300)
    return folder / "v.parquet"


def as_table(folder: Path) -> Any:
    arrow = pytest.importorskip("pyarrow", reason="Arrow tables need pyarrow")
    parts = [arrow.table({"a": lists(VECTORS[part])}) for part in (slice(0, 400), slice(400, 1000))]
    return arrow.concat_tables(parts)


KINDS: dict[str, Callable[[Path], Any]] = {
    "array": lambda _: VECTORS,
    "strided array": lambda _: np.repeat(VECTORS, 2, axis=1)[:, ::2],
    "float64": lambda _: VECTORS.astype(np.float64),
    "big-endian": lambda _: VECTORS.astype(">f4"),
    "nested lists": lambda _: VECTORS.tolist(),
    "memory map": lambda folder: np.load(as_npy(folder), mmap_mode="r"),
    "writable map": lambda folder: np.load(as_npy(folder), mmap_mode="c"),
    "npy": as_npy,
    "npy in Fortran order": as_fortran_npy,
    "fvecs": as_fvecs,
    "hdf5": as_hdf5,
    "parquet": as_parquet,
    "parquet of fixed size": lambda folder: as_parquet(folder, fixed=True),
    "table": as_table,
    "table of fixed size": lambda _: pytest.importorskip("pyarrow").table({"v": lists(VECTORS, fixed=True)}),
    "slice of a table": lambda _: (
        pytest.importorskip("pyarrow").table({"v": lists(np.concatenate([VECTORS, VECTORS]))}).slice(1000)
    ),
    "iterator": lambda _: iter(np.split(VECTORS, [1, 1, 500])),
}


@pytest.mark.parametrize("kind", KINDS)
def test_all_vectors_come_in_order(kind: str, tmp_path: Path) -> None:
    for rows in (1, 7, 300, 5000):
        source = open_source(KINDS[kind](tmp_path))
        assert (source.dim, source.dtype) == (6, np.float32)
        assert source.count == (None if kind == "iterator" else 1000)
        blocks = list(source.blocks(rows))
        assert all(0 < len(block) <= rows for block in blocks)
        assert all(block.flags.c_contiguous and block.dtype == np.float32 for block in blocks)
        np.testing.assert_array_equal(np.concatenate(blocks), VECTORS)
        if source.rewinds:
            np.testing.assert_array_equal(source.read(), VECTORS)
            assert open_source(source) is source
        else:
            with pytest.raises(ValueError, match="read already"):
                next(source.blocks(1))
    np.testing.assert_array_equal(open_source(KINDS[kind](tmp_path)).read(), VECTORS)
    assert "6 float32" in repr(source)


@pytest.mark.parametrize("kind", ["npy", "parquet", "iterator"])
def test_an_index_is_built_from_it(kind: str, tmp_path: Path) -> None:
    expected = annlib.HNSWIndex.build(VECTORS, M=4).digest()
    assert annlib.HNSWIndex.build(KINDS[kind](tmp_path), M=4).digest() == expected
    flat = annlib.FlatIndex.build(KINDS[kind](tmp_path))
    assert flat.search(VECTORS[17], 1).ids.tolist() == [17]


@pytest.mark.parametrize("dtype", ["float16", "int8", "uint8", "int32", "float64"])
def test_element_types_are_kept_where_they_can_be_stored(dtype: str, tmp_path: Path) -> None:
    vectors = np.random.default_rng(1).integers(0, 100, (20, 3)).astype(dtype)
    stored = dtype if dtype in ("float16", "int8", "uint8") else "float32"
    np.save(tmp_path / "v.npy", vectors)
    sources: list[Any] = [vectors, tmp_path / "v.npy", iter([vectors[:5], vectors[5:]])]
    if "pyarrow" in sys.modules:
        sources.append(sys.modules["pyarrow"].table({"v": lists(vectors)}))
    for given in sources:
        source = open_source(given)
        assert source.dtype == np.dtype(stored)
        read = source.read()
        assert read.dtype == np.dtype(stored)
        np.testing.assert_array_equal(read, vectors)


def test_bvecs_and_ivecs(tmp_path: Path) -> None:
    vectors = np.random.default_rng(2).integers(0, 200, (9, 4))
    for suffix, dtype, stored in ((".bvecs", np.uint8, "uint8"), (".ivecs", np.int32, "float32")):
        path = tmp_path / f"v{suffix}"
        path.write_bytes(vecs_bytes(vectors.astype(dtype)))
        source = open_source(path)
        assert source.dtype == np.dtype(stored)
        np.testing.assert_array_equal(source.read(), vectors)


def test_a_vector_of_another_dimension_is_found_when_it_comes(tmp_path: Path) -> None:
    content = bytearray(vecs_bytes(VECTORS))
    content[700 * 28] = 5
    path = tmp_path / "v.fvecs"
    path.write_bytes(content)
    blocks = open_source(path).blocks(100)
    for _ in range(7):
        next(blocks)
    with pytest.raises(ValueError, match="vector 700 has dimension 5, the first one 6"):
        next(blocks)


def test_pages_of_a_mapped_file_do_not_add_up(tmp_path: Path) -> None:
    np.save(tmp_path / "big.npy", np.ones((1 << 19, 32), np.float32))  # 64 MiB

    def mapped_mib() -> float:
        status = Path("/proc/self/status").read_text()
        return int(status.split("RssFile:")[1].split()[0]) / 1024

    source = open_source(tmp_path / "big.npy")
    before, most = mapped_mib(), 0.0
    for block in source.blocks(1 << 14):  # 2 MiB
        assert block.sum() == block.size
        most = max(most, mapped_mib())
    assert most - before < 32
    # Nothing that was written to a private mapping is let go of.
    private = np.load(tmp_path / "big.npy", mmap_mode="c")
    private[:] = 2
    assert all((block == 2).all() for block in open_source(private).blocks(1 << 14))
    assert (private == 2).all()


def test_members_are_chosen_by_name(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="HDF5 needs the extra annlib[data]")
    path = as_hdf5(tmp_path)
    np.testing.assert_array_equal(open_source(f"{path}::test").read(), VECTORS[:3])
    with pytest.raises(ValueError, match=r"no array 'tset'; there are test, train"):
        open_source(f"{path}::tset")
    with h5py.File(path, "w") as file:
        file["group/rows"] = VECTORS
        file["ids"] = np.arange(3)
    np.testing.assert_array_equal(open_source(path).read(), VECTORS)
    with pytest.raises(ValueError, match=r"no array 'group'; there are group/rows"):
        open_source(f"{path}::group")
    with pytest.raises(ValueError, match=r"shape \(n, dim\), got int64 of \(3,\)"):
        open_source(f"{path}::ids")
    with h5py.File(path, "a") as file:
        file["other"] = VECTORS
    with pytest.raises(
        ValueError, match=r"2 arrays .*name one as .*::group/rows, there are group/rows, other"
    ):
        open_source(path)
    with h5py.File(path, "w") as file:
        file["ids"] = np.arange(3)
    with pytest.raises(ValueError, match="0 arrays"):
        open_source(path)


def test_columns_are_chosen_by_name(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    from pyarrow import parquet

    table = arrow.table({"a": lists(VECTORS), "b": lists(VECTORS[:, :2]), "n": np.arange(1000)})
    path = tmp_path / "v.parquet"
    parquet.write_table(table, path)
    assert open_source(f"{path}::b").dim == 2
    with pytest.raises(ValueError, match=r"there are 2: a, b; name one as PATH::a"):
        open_source(path)
    with pytest.raises(ValueError, match=r"no column 'n' of lists of numbers; there are a, b"):
        open_source(f"{path}::n")
    with pytest.raises(ValueError, match="there are 0"):
        open_source(table.select(["n"]))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1.0, 2.0], [3.0]], "row 1 has 1 values, the first one 2"),
        ([[1.0, 2.0], None], "row 1 is null"),
        ([None, [1.0, 2.0]], "row 0 is null"),
        ([[1.0, 2.0], [3.0, 4.0], [5.0, None]], "row 2 has a null in it"),
        ([], "has no rows"),
    ],
)
def test_lists_that_are_no_vectors(rows: list[Any], message: str) -> None:
    arrow = pytest.importorskip("pyarrow", reason="Arrow tables need pyarrow")
    table = arrow.table({"v": arrow.array(rows, arrow.list_(arrow.float32()))})
    with pytest.raises(ValueError, match=message):
        open_source(table).read()


def blocks_of(*blocks: Any) -> Iterator[Any]:
    return iter(blocks)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("v.csv", r"v\.csv: unknown kind of vector file; there are \.npy .*\.hdf5 .*\.parquet"),
        ("v.npy::x", "unknown kind"),
        (np.zeros(3), r"\(n, dim\), got 1 dimension"),
        (np.zeros((2, 0)), "dim of 1 at least"),
        (np.array([["a"]]), "real numbers"),
        (blocks_of(), "gave no block"),
        (blocks_of(np.zeros((2, 3)), np.zeros((2, 4))), "block 1 has dim 4, those before it have 3"),
        (blocks_of(np.zeros((2, 3)), np.zeros((2, 3), np.uint8)), "block 1 has dtype uint8, .* have float32"),
        (
            blocks_of(np.zeros((2, 3)), [[1, 2, 3], [4]]),
            "block 1 of the iterator must be a rectangular array",
        ),
        (blocks_of(np.zeros((2, 3)), np.zeros(3)), r"block 1 of the iterator must have shape \(n, dim\)"),
        (blocks_of("text"), "block 0 of the iterator must be real numbers"),
    ],
)
def test_what_is_no_source(source: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_source(source).read()


def test_blocks_are_numbered_as_they_were_given() -> None:
    source = open_source(blocks_of(np.zeros((100, 3)), np.zeros((100, 3)), np.zeros((2, 4))))
    with pytest.raises(ValueError, match="block 2 has dim 4"):
        list(source.blocks(7))


def test_bad_files(tmp_path: Path) -> None:
    for suffix in (".npy", ".fvecs", ".hdf5", ".parquet"):
        pytest.importorskip("h5py" if suffix == ".hdf5" else "pyarrow" if suffix == ".parquet" else "numpy")
        with pytest.raises(OSError):
            open_source(tmp_path / f"none{suffix}")
        for content in (b"", b"garbage" * 100):
            (tmp_path / f"bad{suffix}").write_bytes(content)
            with pytest.raises((ValueError, OSError, EOFError)):
                open_source(tmp_path / f"bad{suffix}")
    np.save(tmp_path / "objects.npy", np.array([object()]), allow_pickle=True)
    with pytest.raises(ValueError, match=r"allow_pickle|Python objects"):
        open_source(tmp_path / "objects.npy")
    with pytest.raises(ValueError, match="between 1"):
        next(open_source(VECTORS).blocks(0))


@pytest.mark.parametrize(("module", "name"), [("h5py", "v.hdf5"), ("pyarrow", "v.parquet")])
def test_what_is_not_installed_is_named(
    module: str, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=f"{module}.*pip install"):
        open_source(tmp_path / name)


def test_random_numbers_are_the_cores() -> None:
    # As in cpp/tests/core_test.cpp.
    assert random64(0, 0, np.array([0]))[0] == 0x33FE8BD4F9C57863
    assert random64(1, 2, np.array([3]))[0] == 0x57B834B23CDC9D17
    assert random64(2**64 - 1, 2, np.array([1 << 62]))[0] == 0x290BB993431F975F


def test_a_sample_is_one_of_a_set(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.arange(5000, dtype=np.float32)[:, None]
    ids = np.random.default_rng(3).permutation(1 << 20)[:5000]
    order = np.random.default_rng(4).permutation(5000)
    plain = random_sample(vectors, 700, seed=5, ids=ids)
    assert plain.vectors.shape == (700, 1) and len(set(plain.ids.tolist())) == 700
    np.testing.assert_array_equal(ids[plain.vectors[:, 0].astype(int)], plain.ids)
    for block_bytes in (4, 4000, 1 << 20):
        monkeypatch.setattr("annlib.sampling._BLOCK_BYTES", block_bytes)
        shuffled = random_sample(iter([vectors[order]]), 700, seed=5, ids=ids[order])
        np.testing.assert_array_equal(shuffled.ids, plain.ids)
        np.testing.assert_array_equal(shuffled.vectors, plain.vectors)
    other = random_sample(vectors, 700, seed=6, ids=ids)
    assert 40 < np.isin(other.ids, plain.ids).sum() < 180  # 98 by chance
    larger = random_sample(vectors, 1400, seed=5, ids=ids)
    np.testing.assert_array_equal(larger.ids[:700], plain.ids)


def test_a_sample_is_fair() -> None:
    vectors = np.arange(2000, dtype=np.float32)[:, None]
    times = np.zeros(2000)
    for seed in range(200):
        times[random_sample(vectors, 500, seed).ids] += 1
    # Binomial: 200 draws at 1/4, standard deviation 6.1; and of ten parts of the rows.
    assert times.min() > 15 and times.max() < 85
    np.testing.assert_allclose(times.reshape(10, 200).mean(axis=1), 50, atol=2.5)


def test_samples_of_few_and_wrong_arguments() -> None:
    few = random_sample(VECTORS[:5], 10)
    assert sorted(few.ids.tolist()) == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(few.vectors, VECTORS[few.ids])
    assert random_sample(np.empty((0, 3)), 10).vectors.shape == (0, 3)
    for ids in (np.arange(999), np.arange(1001)):
        for source in (VECTORS, iter([VECTORS])):
            with pytest.raises(ValueError, match=rf"got 1000 vectors.* and {len(ids)} ids"):
                random_sample(source, 10, ids=ids)
    with pytest.raises(ValueError, match="seed"):
        random_sample(VECTORS, 10, seed=-1)
    with pytest.raises(ValueError, match="n must be"):
        random_sample(VECTORS, 0)
