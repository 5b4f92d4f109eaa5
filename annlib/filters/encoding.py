"""Expressions as bytes for the core: the format is in cpp/filter/expression.h."""

from __future__ import annotations

import datetime
import re
import struct
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ids import IntArray
from .expression import All, AnyOf, Expression, Items, Leaf, Not, Operator

_INT64 = range(-(1 << 63), 1 << 63)
_EPOCH = datetime.datetime(1970, 1, 1)
_MICROSECOND = datetime.timedelta(microseconds=1)
_ISO = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?(Z|[+-]\d\d:?\d\d)?)?", re.ASCII
)


def encode(expression: Expression) -> tuple[bytes | Items, ...]:
    """The bytes of an expression, with its items where those of `encode_ids` or `encode_mask` are to stand.

    ValueError for what is no expression and for literals of no type that there is.
    """
    out = bytearray()
    items: list[tuple[int, Items]] = []
    try:
        _node(expression, out, items)
    except RecursionError:
        raise ValueError("the filter is nested too deeply") from None
    pieces: list[bytes | Items] = []
    begin = 0
    for position, listed in items:
        pieces += bytes(out[begin:position]), listed
        begin = position
    return *pieces, bytes(out[begin:])


def encode_ids(keys: IntArray) -> bytes:
    """The bytes of the items under these ids of the core."""
    return _items(6, keys)


def encode_mask(rows: NDArray[np.bool_]) -> bytes:
    """The bytes of the items with these rows."""
    return _items(7, rows)


def _items(tag: int, array: NDArray[Any]) -> bytes:
    data = array.tobytes()
    # The core knows a list again by its hash, which therefore must not be one that can be met by design or by chance.
    return (
        struct.pack("<B16sQ", tag, blake2b(data, digest_size=16, person=bytes([tag])).digest(), len(data))
        + data
    )


def _node(expression: Expression, out: bytearray, items: list[tuple[int, Items]]) -> None:
    if isinstance(expression, Leaf):
        _leaf(expression, out)
    elif isinstance(expression, Items):
        items.append((len(out), expression))
    elif isinstance(expression, Not):
        out.append(2)
        _node(expression.part, out, items)
    elif isinstance(expression, (All, AnyOf)):
        out += struct.pack("<BI", 3 if isinstance(expression, All) else 4, len(expression.parts))
        for part in expression.parts:
            _node(part, out, items)
    else:
        raise ValueError(f"{expression!r} is no filter expression")


def _leaf(leaf: Leaf, out: bytearray) -> None:
    values = [value for value in leaf.values if not _is_null(value)]
    if len(values) < len(leaf.values):
        if leaf.operator < Operator.IS_IN:
            raise ValueError(f"attribute {leaf.column!r} cannot be ordered against null: use is_null()")
        null = Leaf(leaf.column, Operator.IS_NULL, (), leaf.position)
        if not values:
            return _leaf(null, out)
        out += struct.pack("<BI", 4, 2)
        _leaf(null, out)
    out += struct.pack("<BBi", 5, leaf.operator, leaf.position)
    _text(leaf.column, out)
    out += struct.pack("<I", len(values))
    for value in values:
        _literal(value, out)


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, np.datetime64) and bool(np.isnat(value)))


def _text(text: str, out: bytearray) -> None:
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{text!r} has surrogates in it and cannot be written as UTF-8") from None
    out += struct.pack("<I", len(data))
    out += data


def _literal(value: Any, out: bytearray) -> None:
    if isinstance(value, (bool, np.bool_)):
        out += struct.pack("<BB", 0, bool(value))
    elif isinstance(value, (int, np.integer)):
        _integer(int(value), out)
    elif isinstance(value, (float, np.floating)):
        out += struct.pack("<Bd", 2, value)
    elif isinstance(value, str):
        instant = instant_of_text(value)
        out += struct.pack("<B", 3) if instant is None else struct.pack("<Bq", 5, instant)
        _text(value, out)
    elif isinstance(value, (datetime.date, np.datetime64)):
        out += struct.pack("<Bq", 4, instant_of(value))
    else:
        raise ValueError(
            "a filter compares with bool, int, float, str, date, datetime and datetime64, "
            f"got {value!r} of type {type(value).__name__}"
        )


def _integer(value: int, out: bytearray) -> None:
    if value in _INT64:
        out += struct.pack("<Bq", 1, value)
    else:  # larger than all values or smaller, and that a float can say
        out += struct.pack("<Bd", 2, np.inf if value > 0 else -np.inf)


def instant_of(value: datetime.date | np.datetime64) -> int:
    """Microseconds since 1970-01-01; times with a zone are taken to UTC. ValueError beyond 64 bits."""
    if isinstance(value, np.datetime64):
        exact = value.astype("datetime64[us]")
        if exact.astype(value.dtype) != value and np.datetime_data(value.dtype)[0] not in (
            "ns",
            "ps",
            "fs",
            "as",
        ):
            raise ValueError(f"{value!r} is out of the range of microseconds")
        return int(exact.astype(np.int64))
    if not isinstance(value, datetime.datetime):
        value = datetime.datetime(value.year, value.month, value.day)
    if value.tzinfo is not None:
        value = value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
    return (value - _EPOCH) // _MICROSECOND


def instant_of_text(text: str) -> int | None:
    """As `instant_of`, of an ISO 8601 date or time; None where the text is none."""
    match = _ISO.fullmatch(text)
    if match is None:
        return None
    day, minute, second, fraction, zone = match.groups()
    iso = f"{day}T{minute or '00:00'}:{second or '00'}.{(fraction or '').ljust(6, '0')}"
    try:
        return instant_of(datetime.datetime.fromisoformat(iso + _offset(zone)))
    except (ValueError, OverflowError):
        return None


def _offset(zone: str | None) -> str:
    if zone is None:
        return ""
    return "+00:00" if zone == "Z" else f"{zone[:3]}:{zone[-2:]}"
