"""Vectors from anywhere, a block at a time: arrays, files, Arrow tables, iterators.

:func:`open_source` makes a :class:`Source` of each.
"""

from __future__ import annotations

import mmap
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from . import _arrow_vectors as arrow
from ._vector_files import (
    HDF5_SUFFIXES,
    PARQUET_SUFFIXES,
    VECS_DTYPES,
    Array,
    import_h5py,
    split_member,
    vecs_records,
    vectors_of,
)
from .arrays import as_count, as_numbers, as_vectors, stored_dtype

#: An array (also memory-mapped), a path, a pyarrow Table, or an iterator of blocks.
SourceLike: TypeAlias = "ArrayLike | os.PathLike[str] | Iterator[ArrayLike] | Source"

_SUFFIXES = (".npy", *VECS_DTYPES, *HDF5_SUFFIXES, *PARQUET_SUFFIXES)
_READ_BYTES = 8 << 20


class Source(ABC):
    """Vectors that can be had block by block. For one thread at a time.

    Attributes
    ----------
    name : str
        What errors call it.
    dim : int
    dtype : numpy.dtype
        Of the blocks: as the source has it where it can be stored (float32, float16, int8, uint8), else float32.
    count : int or None
        Vectors there are; None where only the end will tell.
    rewinds : bool
        Whether `blocks` can be called again.
    """

    rewinds = True

    def __init__(self, name: str, dim: int, dtype: np.dtype[Any], count: int | None) -> None:
        self.name = name
        if dim < 1:
            raise ValueError(f"{name} must have shape (n, dim) with a dim of 1 at least, got {dim}")
        self.dim = dim
        self.dtype = stored_dtype(dtype)
        self.count = count

    @abstractmethod
    def _pieces(self, rows: int) -> Iterator[ArrayLike]:
        """All vectors in order, at most `rows` at a time, as the source has them."""

    def blocks(self, rows: int) -> Iterator[Array]:
        """All vectors in order, as arrays of shape (n, dim), 1 <= n <= `rows`, in C order and of the source's dtype.

        Not to be written to. At most one block is in memory, besides what the file's own format takes (Parquet: a row
        group of the column). NaN and infinity pass.

        Raises
        ------
        ValueError
            Vectors of another dim or dtype than the first, or no numbers; a second reading of what does not rewind.
        OSError
            The file cannot be read.
        """
        rows = as_count(rows, "rows")
        for number, piece in enumerate(self._pieces(rows)):
            block = self._checked(piece, number)
            if len(block):
                yield block

    def _checked(self, piece: ArrayLike, number: int) -> Array:
        block = as_vectors(piece, f"block {number} of {self.name}")
        if block.shape[1] != self.dim:
            raise ValueError(
                f"{self.name}: block {number} has dim {block.shape[1]}, those before it have {self.dim}"
            )
        if block.dtype != self.dtype:
            raise ValueError(
                f"{self.name}: block {number} has dtype {block.dtype}, those before it have {self.dtype}"
            )
        return block

    def rows_of(self, memory: int) -> int:
        """How many vectors take `memory` bytes; one at least."""
        return max(1, memory // (self.dim * self.dtype.itemsize))

    def read(self) -> Array:
        """All vectors, shape (count, dim), in C order; of an array itself where it is in that form already."""
        blocks = self.blocks(self.rows_of(_READ_BYTES))
        if self.count is None:
            return np.concatenate([np.empty((0, self.dim), self.dtype), *blocks])
        out, done = np.empty((self.count, self.dim), self.dtype), 0
        for block in blocks:
            out[done : done + len(block)] = block
            done += len(block)
        return out

    def __repr__(self) -> str:
        count = "?" if self.count is None else self.count
        return f"{type(self).__name__}({self.name}: {count} x {self.dim} {self.dtype})"


class ArraySource(Source):
    """An array, or one in a mapped file: its pages are let go of after each block, so that they do not add up."""

    def __init__(self, array: Array, name: str) -> None:
        if array.ndim != 2:
            raise ValueError(f"{name} must have shape (n, dim), got {array.ndim} dimension(s): {array.shape}")
        super().__init__(name, array.shape[1], as_numbers(array, name).dtype, len(array))
        self._array = array

    def _pieces(self, rows: int) -> Iterator[Array]:
        return _paged(self._array, rows)

    def read(self) -> Array:
        return as_vectors(self._array, self.name)


def _paged(array: Array, rows: int) -> Iterator[Array]:
    mapping = _mapping_of(array)
    for start in range(0, len(array), rows):
        yield array[start : start + rows]
        if mapping is not None:
            mapping.madvise(mmap.MADV_DONTNEED)


def _mapping_of(array: Array) -> mmap.mmap | None:
    """The mapping of a file behind an array, if nothing can have been written to it: then no page of it is lost."""
    base: Any = array
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap) and base.mode != "r":
            return None
        base = base.base
    return base if isinstance(base, mmap.mmap) else None


class VecsSource(Source):
    """A file of the .fvecs family; each vector's own dimension is checked when its block comes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._records = vecs_records(path, VECS_DTYPES[path.suffix.lower()])
        vectors = self._records["vector"]
        super().__init__(str(path), vectors.shape[1], vectors.dtype, len(vectors))

    def _pieces(self, rows: int) -> Iterator[Array]:
        for number, part in enumerate(_paged(self._records, rows)):
            yield vectors_of(part, self._path, number * rows)


class Hdf5Source(Source):
    """A two-dimensional dataset of an HDF5 file."""

    def __init__(self, path: Path, member: str | None) -> None:
        self._path = path
        with import_h5py().File(path, "r") as file:
            self._member = _only_array(file, path) if member is None else member
            dataset = file.get(self._member)
            if not hasattr(dataset, "shape"):
                raise ValueError(f"{path}: no array {member!r}; there are {', '.join(_arrays(file))}")
            name = f"{path}::{self._member}"
            if len(dataset.shape or ()) != 2 or dataset.dtype.kind not in "fiu":
                raise ValueError(
                    f"{name} must be real numbers of shape (n, dim), got {dataset.dtype} of {dataset.shape}"
                )
            super().__init__(name, dataset.shape[1], dataset.dtype, dataset.shape[0])

    def _pieces(self, rows: int) -> Iterator[Array]:
        with import_h5py().File(self._path, "r") as file:
            dataset = file[self._member]
            for start in range(0, dataset.shape[0], rows):
                yield dataset[start : start + rows]


def _arrays(file: Any) -> list[str]:
    """Names of all arrays of vectors in an HDF5 file."""
    found: list[str] = []

    def visit(name: str, item: Any) -> None:
        if len(getattr(item, "shape", None) or ()) == 2 and item.dtype.kind in "fiu":
            found.append(name)

    file.visititems(visit)
    return sorted(found)


def _only_array(file: Any, path: Path) -> str:
    if "train" in file:
        return "train"
    found = _arrays(file)
    if len(found) != 1:
        raise ValueError(
            f"{path}: {len(found)} arrays of shape (n, dim) and none is called train"
            + (f"; name one as {path}::{found[0]}, there are {', '.join(found)}" if found else "")
        )
    return found[0]


class ParquetSource(Source):
    """A column of lists of numbers in a Parquet file."""

    def __init__(self, path: Path, member: str | None) -> None:
        self._path = path
        with arrow.parquet_file(path) as file:
            self._column = arrow.vector_column(file.schema_arrow, member, str(path))
            name = f"{path}::{self._column}"
            first = next(file.iter_batches(batch_size=1, columns=[self._column]), None)
            dim, dtype = arrow.form_of(file.schema_arrow.field(self._column), first, name)
            super().__init__(name, dim, dtype, file.metadata.num_rows)

    def _pieces(self, rows: int) -> Iterator[Array]:
        with arrow.parquet_file(self._path) as file:
            yield from arrow.vectors(file.iter_batches(rows, columns=[self._column]), self.dim, self.name)


class TableSource(Source):
    """A column of lists of numbers in a pyarrow Table."""

    def __init__(self, table: Any) -> None:
        column = arrow.vector_column(table.schema, None, "the table")
        self._table = table.select([column])
        name = f"column {column!r}"
        first = next(iter(self._table.slice(0, 1).to_batches()), None)
        super().__init__(name, *arrow.form_of(table.schema.field(column), first, name), table.num_rows)

    def _pieces(self, rows: int) -> Iterator[Array]:
        return arrow.vectors(self._table.to_batches(max_chunksize=rows), self.dim, self.name)


class IteratorSource(Source):
    """Blocks of any number of rows, which come once."""

    rewinds = False

    def __init__(self, blocks: Iterator[ArrayLike]) -> None:
        name = "the iterator"
        first = next(blocks, None)
        if first is None:
            raise ValueError(f"{name} gave no block: at least one is needed, of shape (n, dim)")
        block = as_vectors(first, f"block 0 of {name}")
        super().__init__(name, block.shape[1], block.dtype, None)
        self._first: Array | None = block
        self._rest = blocks

    def _pieces(self, rows: int) -> Iterator[Array]:
        if self._first is None:
            raise ValueError(f"{self.name} was read already, and an iterator can be read once")
        block, self._first = self._first, None
        number = 0
        while True:
            for start in range(0, max(len(block), 1), rows):
                yield block[start : start + rows]
            number += 1
            following = next(self._rest, None)
            if following is None:
                return
            block = self._checked(following, number)  # here, for its number is that of the caller's block


def open_source(source: SourceLike) -> Source:
    """A :class:`Source` of whatever holds vectors.

    Parameters
    ----------
    source : array_like, path, pyarrow Table, iterator of blocks, or Source
        An array has shape (n, dim) and may be memory-mapped. A path leads to a .npy, .fvecs, .bvecs, .ivecs, .hdf5 or
        .h5, .parquet or .pq file. Of an HDF5 file the dataset ``train`` is taken, or the only one of two dimensions,
        and of a Parquet file or Table the only column of lists of numbers; ``path::name`` takes another. Blocks have
        shapes (n, dim) with any n.

    Raises
    ------
    ValueError
        Another kind of file, naming those there are; no vectors in it, or several sets of them; wrong shape or dtype.
    OSError
        The file cannot be read.
    ImportError
        h5py or pyarrow is needed and not installed.
    """
    if isinstance(source, Source):
        return source
    if isinstance(source, (str, os.PathLike)):
        return _open_file(source)
    if type(source).__module__.partition(".")[0] == "pyarrow" and hasattr(source, "to_batches"):
        return TableSource(source)
    if isinstance(source, Iterator):
        return IteratorSource(source)
    return ArraySource(as_numbers(source, "vectors"), "vectors")


def _open_file(given: str | os.PathLike[str]) -> Source:
    path, member = split_member(given)
    suffix = path.suffix.lower()
    if suffix in HDF5_SUFFIXES:
        return Hdf5Source(path, member)
    if suffix in PARQUET_SUFFIXES:
        return ParquetSource(path, member)
    if suffix in VECS_DTYPES:
        return VecsSource(path)
    if suffix == ".npy":
        return ArraySource(np.load(path, mmap_mode="r", allow_pickle=False), str(path))
    raise ValueError(f"{path}: unknown kind of vector file; there are {' '.join(_SUFFIXES)}")
