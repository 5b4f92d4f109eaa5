"""Readers for files of vectors: .npy, the .fvecs family, and arrays inside HDF5."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ._exact import metric_name

StrPath: TypeAlias = "str | os.PathLike[str]"
Array: TypeAlias = NDArray[Any]

HDF5_SUFFIXES = (".hdf5", ".h5")
PARQUET_SUFFIXES = (".parquet", ".pq")
#: Element types of the .fvecs family.
VECS_DTYPES: dict[str, np.dtype[Any]] = {
    ".fvecs": np.dtype("<f4"),
    ".bvecs": np.dtype("u1"),
    ".ivecs": np.dtype("<i4"),
}


def import_h5py() -> Any:
    """The module h5py; ImportError naming the extra where it is not installed."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError("HDF5 files need h5py: install the extra, pip install 'annlib[data]'") from error
    return h5py


def read_fvecs(path: StrPath) -> NDArray[np.float32]:
    """Vectors of a ``.fvecs`` file as a read-only memory map, shape (n, d).

    Raises ValueError where the file is no whole number of vectors of one dimension.
    """
    return _read_vecs(path, VECS_DTYPES[".fvecs"])


def read_ivecs(path: StrPath) -> NDArray[np.int32]:
    """Rows of an ``.ivecs`` file (neighbours, usually), as :func:`read_fvecs`."""
    return _read_vecs(path, VECS_DTYPES[".ivecs"])


def read_bvecs(path: StrPath) -> NDArray[np.uint8]:
    """Vectors of a ``.bvecs`` file, as :func:`read_fvecs`."""
    return _read_vecs(path, VECS_DTYPES[".bvecs"])


def _read_vecs(path: StrPath, dtype: np.dtype[Any]) -> Array:
    records = vecs_records(path, dtype)
    return vectors_of(records, path)


def vecs_records(path: StrPath, dtype: np.dtype[Any]) -> Array:
    """The ``.fvecs`` family's records, an int32 ``dim`` and its values ``vector`` (http://corpus-texmex.irisa.fr), as
    a read-only memory map; ValueError where the file is no whole number of those that the first one tells of."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(4)
    dim = int.from_bytes(head, "little", signed=True) if len(head) == 4 else 0
    if dim < 1 or size % (4 + dim * dtype.itemsize):
        raise ValueError(f"{path}: {size} bytes are no whole number of {dtype} vectors of dimension {dim}")
    return np.memmap(path, np.dtype([("dim", "<i4"), ("vector", dtype, (dim,))]), mode="r")


def vectors_of(records: Array, path: StrPath, first_row: int = 0) -> Array:
    """The vectors of records that begin at `first_row` of the file; ValueError unless all are of their dimension."""
    vectors = np.asarray(records["vector"])
    other = np.flatnonzero(records["dim"] != vectors.shape[1])
    if len(other):
        row = int(other[0])
        raise ValueError(
            f"{path}: vector {first_row + row} has dimension {records['dim'][row]}, the first one {vectors.shape[1]}"
        )
    return vectors


_READERS: dict[str, Callable[[StrPath], Array]] = {
    ".fvecs": read_fvecs,
    ".bvecs": read_bvecs,
    ".ivecs": read_ivecs,
}


def read_vectors(path: StrPath, key: str = "train") -> Array:
    """Vectors of a ``.npy``, ``.fvecs``, ``.bvecs``, ``.ivecs`` or ``.hdf5`` file, chosen by its suffix.

    Memory-mapped where the format allows; `key` names the array of an HDF5 file. Raises OSError for a file
    that cannot be read and ValueError for another suffix or key.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in _READERS:
        return _READERS[suffix](path)
    if suffix == ".npy":
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    if suffix not in HDF5_SUFFIXES:
        raise ValueError(f"{path}: unknown kind of vector file; there are .npy .fvecs .bvecs .ivecs .hdf5")
    with import_h5py().File(path, "r") as file:
        if key not in file:
            raise ValueError(f"{path}: no array {key!r}; there are {sorted(file)}")
        return np.asarray(file[key][:])


def split_member(path: StrPath) -> tuple[Path, str | None]:
    """``FILE.hdf5::name`` or ``FILE.parquet::name`` as the file and the name; other paths as they are."""
    head, separator, name = os.fsdecode(path).rpartition("::")
    if separator and Path(head).suffix.lower() in HDF5_SUFFIXES + PARQUET_SUFFIXES:
        return Path(head), name
    return Path(os.fsdecode(path)), None


def file_metric(path: StrPath) -> str | None:
    """annlib's metric of an HDF5 file in the ann-benchmarks layout; None for other files and without one."""
    path, _ = split_member(path)
    if path.suffix.lower() not in HDF5_SUFFIXES:
        return None
    with import_h5py().File(path, "r") as file:
        return metric_name(str(file.attrs["distance"])) if "distance" in file.attrs else None
