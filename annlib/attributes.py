"""Attributes as users hand them over, and the arrays by which they go into the core and come out of it."""

from __future__ import annotations

import datetime
import itertools
import os
from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .filters.encoding import instant_of

#: A dict of columns, a pandas or polars DataFrame, a pyarrow Table, or the path of a Parquet file.
Attributes: TypeAlias = "Mapping[str, Any] | str | os.PathLike[str] | Any"


class AttributeType(IntEnum):
    """What an attribute holds; the numbers are those of the core."""

    BOOL = 0
    INT = 1
    FLOAT = 2
    DATE = 3
    DATETIME = 4
    STRING = 5
    STRINGS = 6
    INTS = 7


class Rows(NamedTuple):
    """One column as the core takes it, a row an item."""

    type: int
    present: NDArray[np.uint8]  #: 0: null
    numbers: NDArray[Any]  #: int64, float64 for FLOAT; of INTS the elements
    lists: NDArray[np.int64]  #: of lists where each row's elements begin, and the end
    texts: NDArray[np.int64]  #: of strings where each row's or element's text begins, and the end
    text: bytes


class _Values(NamedTuple):
    """The values of a column that are not null."""

    type: AttributeType | None  #: None where there is nothing to tell it by
    numbers: NDArray[Any] = np.empty(0, np.int64)
    strings: list[str] = []  # noqa: RUF012
    lengths: NDArray[np.int64] | None = None  #: of lists


_NOTHING = np.empty(0, np.int64)


def to_core(attributes: Attributes | None, count: int, known: Mapping[str, int]) -> dict[str, Rows]:
    """Columns for the core, each of `count` rows.

    `known` are the types of the index's columns, for columns that have nothing to tell their type by. ValueError,
    naming the column, for values that are of no type or of several, and for another number of them.
    """
    if attributes is None:
        return {}
    columns = columns_of(attributes)
    rows = {}
    for name, column in columns.items():
        if not isinstance(name, str):
            raise ValueError(f"the name of an attribute must be a string, got {name!r}")
        try:
            rows[name] = _rows(column, count, known.get(name))
        except (ValueError, TypeError, OverflowError) as error:
            raise ValueError(f"attribute {name!r}: {error}") from None
    return rows


def columns_of(attributes: Attributes) -> Mapping[str, Any]:
    """Columns by name, of whatever holds them; ValueError for what does not."""
    if isinstance(attributes, (str, os.PathLike)):
        attributes = _read_parquet(os.fspath(attributes))
    if isinstance(attributes, Mapping):
        return attributes
    library = type(attributes).__module__.partition(".")[0]
    if library in ("pandas", "polars"):
        return {name: attributes[name] for name in attributes.columns}
    if library == "pyarrow" and hasattr(attributes, "column_names"):
        return dict(zip(attributes.column_names, attributes.columns, strict=True))
    raise ValueError(
        "attributes must be a dict of columns, a pandas or polars DataFrame, a pyarrow Table or the path of a "
        f"Parquet file, got {type(attributes).__name__}"
    )


def _read_parquet(path: str) -> Any:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError("reading attributes from Parquet takes pyarrow: pip install pyarrow") from error
    return parquet.read_table(path)


def _rows(column: Any, count: int, known: int | None) -> Rows:
    present, held = _split(column)
    if len(present) != count:
        raise ValueError(f"got {len(present)} values for {count} items")
    values = _values(held)
    type_ = values.type if values.type is not None else known
    if type_ is None:
        raise ValueError("there is no value to tell its type by: give an array with a dtype, or leave it out")
    return _spread(values, AttributeType(type_), present)


def _spread(values: _Values, type_: AttributeType, present: NDArray[np.bool_]) -> Rows:
    """Rows with nulls between the values."""
    is_list, count = type_ >= AttributeType.STRINGS, len(present)
    lists = _NOTHING
    if is_list:
        lengths = np.zeros(count, np.int64)
        lengths[present] = values.lengths if values.lengths is not None else 0
        lists = _offsets(lengths)
    texts, text = _NOTHING, b""
    if type_ in (AttributeType.STRING, AttributeType.STRINGS):
        encoded = [_utf8(string) for string in values.strings]
        sizes = np.array([len(one) for one in encoded], np.int64)
        if not is_list:
            every = np.zeros(count, np.int64)
            every[present] = sizes
            sizes = every
        texts, text = _offsets(sizes), b"".join(encoded)
    numbers = values.numbers
    if not is_list and type_ != AttributeType.STRING:
        numbers = np.zeros(count, np.float64 if type_ == AttributeType.FLOAT else np.int64)
        numbers[present] = values.numbers
    return Rows(type_, present.astype(np.uint8), numbers, lists, texts, text)


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])


def _utf8(string: str) -> bytes:
    try:
        return string.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{string!r} has surrogates in it and cannot be written as UTF-8") from None


def _split(column: Any) -> tuple[NDArray[np.bool_], Any]:
    """Which rows have a value, and those values: an array, or a list of Python's objects."""
    library = type(column).__module__.partition(".")[0]
    if library == "pyarrow":
        return _split_arrow(column)
    if library == "pandas":
        return _split_pandas(column)
    if library == "polars":
        return _split_polars(column)
    if isinstance(column, np.ma.MaskedArray):
        present = ~np.ma.getmaskarray(column)
        inner, values = _split(column.compressed())
        present[present] = inner
        return present, values
    if isinstance(column, (str, bytes, Mapping)) or not isinstance(column, (Iterable, np.ndarray)):
        raise ValueError(f"a column is an array or a list of values, got {column!r}")
    if not isinstance(column, np.ndarray):
        return _split_objects(list(column))
    if column.ndim != 1:
        return _split_objects(list(column))  # a row of a matrix is a list
    if column.dtype.kind == "f":
        present = ~np.isnan(column)
    elif column.dtype.kind == "M":
        present = ~np.isnat(column)
    elif column.dtype.kind == "O":
        return _split_objects(column.tolist())
    else:
        present = np.ones(len(column), np.bool_)
    return present, column[present]


def _split_objects(values: list[Any]) -> tuple[NDArray[np.bool_], list[Any]]:
    present = np.fromiter((not _is_null(value) for value in values), np.bool_, len(values))
    return present, values if present.all() else [
        v for v, is_there in zip(values, present, strict=True) if is_there
    ]


def _is_null(value: Any) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, (float, np.floating)):
        return bool(value != value)
    return isinstance(value, np.datetime64) and bool(np.isnat(value))


def _split_pandas(column: Any) -> tuple[NDArray[np.bool_], Any]:
    present = column.notna().to_numpy(dtype=np.bool_)
    held = column[present]
    if getattr(held.dtype, "tz", None) is not None:
        held = held.dt.tz_convert("UTC").dt.tz_localize(None)
    return present, held.to_numpy()


def _split_polars(column: Any) -> tuple[NDArray[np.bool_], Any]:
    present = column.is_not_null().to_numpy()
    held = column.drop_nulls()
    if held.dtype.is_nested() or held.dtype.base_type().__name__ in ("String", "Categorical", "Enum"):
        return present, held.to_list()
    inner, values = _split(held.to_numpy())  # a NaN is no value either
    present = present.copy()
    present[present] = inner
    return present, values


def _split_arrow(column: Any) -> tuple[NDArray[np.bool_], Any]:
    present = np.array(column.is_valid().to_numpy(zero_copy_only=False), np.bool_)
    held = column.drop_null()
    kind = str(held.type)
    if any(
        kind.startswith(start) for start in ("string", "large_string", "list", "large_list", "dictionary")
    ):
        return present, held.to_pylist()
    inner, values = _split(held.to_numpy(zero_copy_only=False))
    present[present] = inner
    return present, values


def _values(values: Any) -> _Values:
    if isinstance(values, np.ndarray) and values.dtype.kind != "O":
        return _of_array(values)
    values = list(values)
    if not values:
        return _Values(None)
    lists = isinstance(values[0], (list, tuple, set, frozenset, np.ndarray))
    return _of_lists(values) if lists else _of_scalars(values)


def _of_array(values: NDArray[Any]) -> _Values:
    kind = values.dtype.kind
    if kind == "b":
        return _Values(AttributeType.BOOL, values.astype(np.int64))
    if kind in "iu":
        if kind == "u" and values.size and int(values.max()) >= 1 << 63:
            raise ValueError(f"integers must be below 2**63, got {values.max()}")
        return _Values(AttributeType.INT, values.astype(np.int64))
    if kind == "f":
        return _Values(AttributeType.FLOAT, values.astype(np.float64))
    if kind == "M":
        if np.datetime_data(values.dtype)[0] in ("Y", "M", "W", "D"):
            return _Values(AttributeType.DATE, values.astype("datetime64[D]").astype(np.int64))
        return _Values(AttributeType.DATETIME, values.astype("datetime64[us]").astype(np.int64))
    if kind in "UT":
        return _Values(AttributeType.STRING, strings=[str(value) for value in values.tolist()])
    raise ValueError(f"there is no attribute of dtype {values.dtype}")


#: Of each Python type the attribute's; the first that holds for all values of a column.
_SCALARS: list[tuple[AttributeType, Callable[[Any], bool]]] = [
    (AttributeType.BOOL, lambda v: isinstance(v, (bool, np.bool_))),
    (AttributeType.INT, lambda v: isinstance(v, (int, np.integer)) and not isinstance(v, bool)),
    (
        AttributeType.FLOAT,
        lambda v: isinstance(v, (int, float, np.integer, np.floating)) and not isinstance(v, bool),
    ),
    (AttributeType.STRING, lambda v: isinstance(v, str)),
    (AttributeType.DATE, lambda v: isinstance(v, datetime.date) and not isinstance(v, datetime.datetime)),
    (AttributeType.DATETIME, lambda v: isinstance(v, (datetime.date, np.datetime64))),
]


def _of_scalars(values: list[Any]) -> _Values:
    for type_, holds in _SCALARS:
        if all(map(holds, values)):
            break
        if holds(values[0]) and type_ not in (AttributeType.INT, AttributeType.DATE):
            odd = next(value for value in values if not holds(value))
            raise ValueError(f"values of several types: {values[0]!r} and {odd!r}")
    else:
        raise ValueError(
            "values are bool, int, float, string, date, datetime or lists of strings or ints, "
            f"got {values[0]!r} of type {type(values[0]).__name__}"
        )
    if type_ == AttributeType.STRING:
        return _Values(type_, strings=[str(value) for value in values])
    if type_ == AttributeType.FLOAT:
        return _Values(type_, np.array([float(value) for value in values]))
    if type_ == AttributeType.DATE:
        return _Values(type_, np.array(values, "datetime64[D]").astype(np.int64))
    if type_ == AttributeType.DATETIME:
        return _Values(type_, np.array([instant_of(value) for value in values], np.int64))
    if type_ == AttributeType.INT and not -(1 << 63) <= min(values) <= max(values) < 1 << 63:
        raise ValueError("integers must be from -2**63 to 2**63 - 1")
    return _Values(type_, np.array(values, np.int64))


def _of_lists(values: list[Any]) -> _Values:
    elements: list[Any] = []
    lengths = np.empty(len(values), np.int64)
    for i, value in enumerate(values):
        if not isinstance(value, (list, tuple, set, frozenset, np.ndarray)):
            raise ValueError(f"values of several types: lists, and {value!r}")
        # A set has no order of its own, and what is stored shall not depend on the process.
        own = sorted(value) if isinstance(value, (set, frozenset)) else list(value)
        lengths[i] = len(own)
        elements += own
    if not elements:
        return _Values(None, lengths=lengths)
    inner = _of_scalars(elements)
    if inner.type == AttributeType.STRING:
        return _Values(AttributeType.STRINGS, strings=inner.strings, lengths=lengths)
    if inner.type == AttributeType.INT:
        return _Values(AttributeType.INTS, inner.numbers, lengths=lengths)
    raise ValueError(f"lists hold strings or ints, got {elements[0]!r}")


def from_core(columns: Mapping[str, Rows]) -> dict[str, NDArray[Any]]:
    """What the core gives, as arrays for users."""
    return {name: _array(Rows(*rows)) for name, rows in columns.items()}


def _array(rows: Rows) -> NDArray[Any]:
    present, type_ = rows.present.astype(np.bool_), AttributeType(rows.type)
    if type_ in (AttributeType.DATE, AttributeType.DATETIME):
        made: NDArray[Any] = rows.numbers.astype(
            "datetime64[D]" if type_ == AttributeType.DATE else "datetime64[us]"
        )
        made[~present] = np.datetime64("NaT")
        return made
    if type_ < AttributeType.STRING:
        numbers = rows.numbers.astype(np.bool_) if type_ == AttributeType.BOOL else rows.numbers
        return numbers if present.all() else _objects(numbers.tolist(), present)
    elements: list[Any] = rows.numbers.tolist()
    if type_ != AttributeType.INTS:
        ends = rows.texts.tolist()
        elements = [rows.text[a:b].decode() for a, b in itertools.pairwise(ends)]
    if type_ == AttributeType.STRING:
        return _objects(elements, present)
    starts = rows.lists.tolist()
    return _objects([elements[a:b] for a, b in itertools.pairwise(starts)], present)


def _objects(values: list[Any], present: NDArray[np.bool_]) -> NDArray[Any]:
    made = np.empty(len(values), object)
    for i, (value, is_there) in enumerate(zip(values, present.tolist(), strict=True)):
        made[i] = value if is_there else None
    return made
