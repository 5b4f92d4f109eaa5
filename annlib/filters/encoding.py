"""Expressions as bytes for the core: the format is in cpp/filter/expression.h."""

from __future__ import annotations

import datetime
import re
import struct
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ids import IntArray
from .expression import All, AnyOf, Expression, Items, Leaf, Not, Operator

_PARTS = struct.Struct("<BI").pack
_LEAF = struct.Struct("<BBiI").pack
_LENGTH = struct.Struct("<I").pack
_BOOLEAN = struct.Struct("<BB").pack
_INTEGER = struct.Struct("<Bq").pack
_REAL = struct.Struct("<Bd").pack
_EPOCH = datetime.datetime(1970, 1, 1)
_MICROSECOND = datetime.timedelta(microseconds=1)
_ISO = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?(Z|[+-]\d\d:?\d\d)?)?", re.ASCII
)


def encode(expression: Expression) -> tuple[bytes | Items, ...]:
    """The bytes of an expression, with its items where those of `encode_ids` or `encode_mask` are to stand, which are
    the index's. Kept with the expression.

    ValueError for what is no expression and for literals of no type that there is.
    """
    if expression.encoded is not None:
        return expression.encoded
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
    expression.encoded = *pieces, bytes(out[begin:])
    return expression.encoded


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
        out += _PARTS(3 if isinstance(expression, All) else 4, len(expression.parts))
        for part in expression.parts:
            _node(part, out, items)
    else:
        raise ValueError(f"{expression!r} is no filter expression")


def _leaf(leaf: Leaf, out: bytearray) -> None:
    # A search has no time to lose: types that need not be looked for are known beforehand.
    literals = [_LITERALS.get(type(value), _literal)(value) for value in leaf.values]
    if b"" in literals:
        if leaf.operator < Operator.IS_IN:
            raise ValueError(f"attribute {leaf.column!r} cannot be ordered against null: use is_null()")
        literals = [literal for literal in literals if literal]
        null = Leaf(leaf.column, Operator.IS_NULL, (), leaf.position)
        if not literals:
            return _leaf(null, out)
        out += _PARTS(4, 2)
        _leaf(null, out)
    column = _utf8(leaf.column)
    out += _LEAF(5, leaf.operator, leaf.position, len(column)) + column + _LENGTH(len(literals))
    out += b"".join(literals)


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{text!r} has surrogates in it and cannot be written as UTF-8") from None


def _literal(value: Any) -> bytes:
    """Nothing, of a null."""
    for kind, write in _KINDS:
        if isinstance(value, kind):
            return write(value)
    raise ValueError(
        "a filter compares with bool, int, float, str, date, datetime and datetime64, "
        f"got {value!r} of type {type(value).__name__}"
    )


def _integer(value: Any) -> bytes:
    if -(1 << 63) <= value < 1 << 63:
        return _INTEGER(1, value)
    return _REAL(2, np.inf if value > 0 else -np.inf)  # beyond all values, and that a float can say


def _string(value: str) -> bytes:
    text = _utf8(value)
    instant = instant_of_text(value)
    return (b"\3" if instant is None else _INTEGER(5, instant)) + _LENGTH(len(text)) + text


def _instant(value: Any) -> bytes:
    if isinstance(value, np.datetime64) and np.isnat(value):
        return b""
    return _INTEGER(4, instant_of(value))


#: What writes a literal, by the first that it is one of.
_KINDS: list[tuple[Any, Callable[[Any], bytes]]] = [
    ((bool, np.bool_), lambda value: _BOOLEAN(0, bool(value))),
    ((int, np.integer), _integer),
    ((float, np.floating), lambda value: _REAL(2, value)),
    (str, _string),
    ((datetime.date, np.datetime64), _instant),
    (type(None), lambda value: b""),
]
_LITERALS: dict[type, Callable[[Any], bytes]] = {int: _integer, str: _string}


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
