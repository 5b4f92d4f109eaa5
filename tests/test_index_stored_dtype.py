"""Floats that are whole numbers of 8 bits, which a graph and a directory keep in bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import Array, nearest

import annlib
from annlib.persistence import from_bytes, to_bytes

DIM = 5
WHOLE = {
    "uint8": st.integers(0, 255).map(float),
    "int8": st.integers(-128, 127).map(float),
    "float32": st.floats(-300, 300, width=16),  # float16 holds it too
}
ROWS = st.lists(st.sampled_from(sorted(WHOLE)), min_size=1, max_size=4).flatmap(
    lambda kinds: st.tuples(*(st.lists(WHOLE[k], min_size=DIM, max_size=DIM) for k in kinds))
)


def held_by(rows: Array) -> str:
    """By the definition: the first type of 8 bits that gives back the same bytes."""
    for name in ("uint8", "int8"):
        with np.errstate(invalid="ignore"):
            if rows.astype(name).astype(rows.dtype).tobytes() == rows.tobytes():
                return name
    return rows.dtype.name


@settings(max_examples=60, deadline=None)
@given(first=ROWS, then=ROWS, dtype=st.sampled_from(["float32", "float16"]))
def test_what_is_added_comes_back(first: list[list[float]], then: list[list[float]], dtype: str) -> None:
    rows = np.array([*first, *then], dtype)
    index = annlib.HNSWIndex.build(rows[: len(first)])
    assert index.stats()["stored_dtype"] == held_by(rows[: len(first)])
    index.add(rows[len(first) :])
    kept = from_bytes(to_bytes(index))
    for each in (index, kept):
        assert each.dtype == dtype
        assert each.get(range(len(rows))).tobytes() == rows.tobytes()
    index.compact()
    assert index.stats()["stored_dtype"] == held_by(rows)
    assert index.get(range(len(rows))).tobytes() == rows.tobytes()


@settings(max_examples=25, deadline=None)
@given(first=ROWS, then=ROWS, dtype=st.sampled_from(["float32", "float16"]))
def test_what_is_added_to_a_directory_comes_back(
    tmp_path_factory: pytest.TempPathFactory, first: list[list[float]], then: list[list[float]], dtype: str
) -> None:
    rows = np.array([*first, *then], dtype)
    path = tmp_path_factory.mktemp("index")
    with annlib.SPANNIndex.build(path, rows[: len(first)]) as index:  # type: ignore[attr-defined]
        assert index.stats()["stored_dtype"] == held_by(rows[: len(first)])
        index.add(rows[len(first) :])
        index.flush()
        assert index.get(range(len(rows))).tobytes() == rows.tobytes()
    with annlib.SPANNIndex.open(path) as index:
        assert index.dtype == dtype
        assert index.get(range(len(rows))).tobytes() == rows.tobytes()
        index.compact()
        stored = index.stats()["stored_dtype"]
        assert stored == held_by(rows)
        assert (f"stored as {stored!r}" in repr(index)) == (stored != dtype)
        assert index.get(range(len(rows))).tobytes() == rows.tobytes()


@pytest.mark.parametrize("mmap", [False, True])
def test_a_file_grows_wider(tmp_path: Path, rng: np.random.Generator, mmap: bool) -> None:
    train = rng.integers(0, 256, (3000, 40)).astype(np.float32)
    queries = rng.uniform(0, 255, (20, 40)).astype(np.float32)
    annlib.HNSWIndex.build(train).save(tmp_path / "x.ann")
    index = annlib.load(tmp_path / "x.ann", mmap=mmap)
    assert isinstance(index, annlib.HNSWIndex)
    assert "dtype='float32' stored as 'uint8'" in repr(index)
    assert index.stats()["vector_bytes"] == train.nbytes // 4
    assert index.stats()["code_bytes"] == 0
    ids, distances = nearest(train, queries, "l2", 10)
    found = index.search(queries, 10, ef_search=1000)
    assert float(np.mean(found.ids == ids)) > 0.99
    np.testing.assert_allclose(found.distances[found.ids == ids], distances[found.ids == ids], rtol=1e-5)
    index.add(queries)
    assert index.stats()["stored_dtype"] == "float32"
    assert index.stats()["codec"] == "int8"
    both = np.concatenate([train, queries])
    assert index.get(range(len(both))).tobytes() == both.tobytes()
    again = index.search(queries, 11, ef_search=1000)
    np.testing.assert_array_equal(again.ids[:, 0], np.arange(3000, 3020))
    assert np.all(again.distances[:, 0] == 0)


@pytest.mark.parametrize("codec", ["float16", "int8", "int4", "rabitq"])
def test_a_codec_that_was_asked_for_is_made(rng: np.random.Generator, codec: str) -> None:
    train = rng.integers(0, 256, (500, 40)).astype(np.float32)
    stats = annlib.HNSWIndex.build(train, codec=codec).stats()
    assert stats["stored_dtype"] == "float32"
    assert stats["codec"].startswith(codec)
