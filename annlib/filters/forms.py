"""Filters as users write them, and what the core takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..ids import IntArray
from .encoding import encode, encode_ids, encode_mask
from .expression import Expression, Field, Ids, Mask

#: An expression (`F.year > 2015`), a dict, a SQL-like string, a pyarrow expression, a compiled filter, a boolean mask
#: by row order of ``index.ids``, or an array or list of ids.
Filter: TypeAlias = "Expression | CompiledFilter | NDArray[Any] | Sequence[Any] | dict[str, Any] | str | Any"


class CoreFilter(NamedTuple):
    """The core's filter arguments, of which one at most is given; none lets everything through."""

    mask: NDArray[np.bool_] | None = None
    ids: IntArray | None = None
    expression: bytes | None = None


EVERYTHING = CoreFilter()


class CompiledFilter:
    """A filter that was looked at once, by `Index.compile`; as good as what it was made of, in every search."""

    __slots__ = ("core", "source")

    def __init__(self, core: CoreFilter, source: Any) -> None:
        self.core = core
        self.source = source

    def __repr__(self) -> str:
        return f"CompiledFilter({self.source!r})"


def is_one_per_query(filter: Any) -> bool:
    """Whether a filter argument is a list with a filter for each query.

    A list of strings or numbers alone is a list of ids.
    """
    return isinstance(filter, (list, tuple)) and any(
        item is None
        or isinstance(item, (Expression, CompiledFilter, dict))
        or _is_arrow(item)
        or _is_array(item)
        for item in filter
    )


def _is_arrow(item: Any) -> bool:
    return type(item).__name__ == "Expression" and type(item).__module__.startswith("pyarrow")


def _is_array(item: Any) -> bool:
    return not isinstance(item, str) and np.ndim(item) > 0


def lower(
    filter: Any,
    to_keys: Callable[[Any], IntArray],
    rows_to_keys: Callable[[NDArray[np.bool_]], IntArray] | None = None,
) -> CoreFilter:
    """One filter for the core; `to_keys` turns ids, known or not, into the core's, and so does `rows_to_keys`, where it
    is given, with masks.

    Raises ValueError for what is no filter. What it says of columns, and a mask's length, is checked by the core,
    against the state that it searches.
    """
    if filter is None:
        return EVERYTHING
    if isinstance(filter, CompiledFilter):
        return filter.core
    expression = as_expression(filter)
    if expression is not None:
        return CoreFilter(expression=_encoded(expression, to_keys, rows_to_keys))
    if isinstance(filter, Field) or callable(filter):
        raise ValueError(f"a filter is a condition, a boolean mask or ids, got {filter!r}")
    if isinstance(filter, (set, frozenset, range)):
        filter = list(filter)
    array = np.asarray(filter)
    if array.ndim != 1:
        raise ValueError(f"a filter must be one-dimensional, got shape {array.shape}")
    if array.dtype == np.bool_:
        if rows_to_keys is not None:
            return CoreFilter(ids=rows_to_keys(array))
        return CoreFilter(mask=np.ascontiguousarray(array))
    if array.size == 0:
        return CoreFilter(ids=np.empty(0, np.int64))
    return CoreFilter(ids=to_keys(filter if array.dtype.kind in "UO" else array))


def _encoded(
    expression: Expression,
    to_keys: Callable[[Any], IntArray],
    rows_to_keys: Callable[[NDArray[np.bool_]], IntArray] | None,
) -> bytes:
    pieces = []
    for piece in encode(expression):
        if isinstance(piece, bytes):
            pieces.append(piece)
        elif isinstance(piece, Ids):
            pieces.append(encode_ids(to_keys(piece.ids)))
        elif isinstance(piece, Mask):
            pieces.append(
                encode_mask(piece.rows) if rows_to_keys is None else encode_ids(rows_to_keys(piece.rows))
            )
    return b"".join(pieces)


def as_expression(filter: Any) -> Expression | None:
    """The expression that a filter over attributes stands for; None for masks, ids and what is no filter."""
    if isinstance(filter, Expression):
        return filter
    if isinstance(filter, dict):
        from .mongo import parse_dict

        return parse_dict(filter)
    if isinstance(filter, str):
        from .sql import parse_sql

        return parse_sql(filter)
    if _is_arrow(filter):
        from .arrow import parse_arrow

        return parse_arrow(filter)
    return None
