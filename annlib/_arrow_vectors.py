"""Columns of lists of numbers in Arrow tables and Parquet files, as arrays of vectors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ._vector_files import Array


def _import_pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError("vectors of Parquet files need pyarrow: pip install pyarrow") from error
    return pyarrow


def parquet_file(path: Path) -> Any:
    """An open ``pyarrow.parquet.ParquetFile``; ValueError for a file that is none."""
    arrow = _import_pyarrow()
    from pyarrow import parquet

    try:
        return parquet.ParquetFile(path)
    except arrow.ArrowInvalid as error:
        raise ValueError(f"{path}: no Parquet file: {error}") from None


def _holds_vectors(type_: Any) -> bool:
    types = _import_pyarrow().types
    lists = (types.is_list, types.is_large_list, types.is_fixed_size_list)
    numbers = (types.is_floating, types.is_integer)
    return any(is_(type_) for is_ in lists) and any(is_(type_.value_type) for is_ in numbers)


def vector_column(schema: Any, wanted: str | None, where: str) -> str:
    """The name of the column of vectors; ValueError unless `wanted` is one, or there is one."""
    found = [field.name for field in schema if _holds_vectors(field.type)]
    if wanted is not None:
        if wanted not in found:
            raise ValueError(
                f"{where}: no column {wanted!r} of lists of numbers; there are {', '.join(found)}"
            )
        return wanted
    if len(found) != 1:
        raise ValueError(
            f"{where}: vectors are the one column of lists of numbers, and there are {len(found)}"
            + (f": {', '.join(found)}; name one as PATH::{found[0]}, or select it" if found else "")
        )
    return str(found[0])


def form_of(field: Any, first: Any, name: str) -> tuple[int, np.dtype[Any]]:
    """Dimension and dtype of a column, whose first row tells where its type does not."""
    dtype = np.dtype(field.type.value_type.to_pandas_dtype())
    if _import_pyarrow().types.is_fixed_size_list(field.type):
        return field.type.list_size, dtype
    if first is None or len(first) == 0:
        raise ValueError(f"{name} has no rows, and lists of any length: nothing tells the dimension")
    if not first.column(0).is_valid()[0].as_py():
        raise ValueError(f"{name}: row 0 is null, vectors cannot be")
    return len(first.column(0)[0]), dtype


def vectors(batches: Iterable[Any], dim: int, name: str) -> Iterator[Array]:
    """Record batches of one column as arrays of shape (n, dim); ValueError for nulls and other lengths."""
    row = 0
    for batch in batches:
        column = batch.column(0)
        if column.null_count:
            null = int(np.argmin(column.is_valid().to_numpy(zero_copy_only=False)))
            raise ValueError(f"{name}: row {row + null} is null, vectors cannot be")
        lengths = column.value_lengths().to_numpy(zero_copy_only=False)
        if (lengths != dim).any():
            other = int(np.argmax(lengths != dim))
            raise ValueError(f"{name}: row {row + other} has {lengths[other]} values, the first one {dim}")
        values = column.flatten()
        if values.null_count:
            null = int(np.argmin(values.is_valid().to_numpy(zero_copy_only=False))) // dim
            raise ValueError(f"{name}: row {row + null} has a null in it, vectors cannot")
        yield values.to_numpy(zero_copy_only=False).reshape(-1, dim)
        row += len(column)
