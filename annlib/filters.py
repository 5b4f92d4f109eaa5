"""Filters as users write them, and the masks and id lists that the core takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .ids import IntArray

#: A boolean mask by row order of ``index.ids``, or an array or list of ids.
Filter: TypeAlias = "NDArray[Any] | Sequence[Any]"


class CoreFilter(NamedTuple):
    """The core's filter arguments; both None lets everything through."""

    mask: NDArray[np.bool_] | None
    ids: IntArray | None


EVERYTHING = CoreFilter(None, None)


def is_one_per_query(filter: Any) -> bool:
    """Whether a filter argument is a list with a filter for each query."""
    return isinstance(filter, (list, tuple)) and any(
        item is None or (np.ndim(item) > 0 and not isinstance(item, str)) for item in filter
    )


def lower(filter: Any, to_keys: Callable[[Any], IntArray]) -> CoreFilter:
    """One filter for the core; `to_keys` turns ids, known or not, into the core's.

    Raises ValueError for what is no filter. A mask's length is checked by the core, against the state that it searches.
    """
    if filter is None:
        return EVERYTHING
    if isinstance(filter, (str, dict)) or callable(filter):
        raise ValueError(
            f"a filter is a boolean mask by row order of index.ids or an array of ids, got {filter!r}"
        )
    if isinstance(filter, (set, frozenset, range)):
        filter = list(filter)
    array = np.asarray(filter)
    if array.ndim != 1:
        raise ValueError(f"a filter must be one-dimensional, got shape {array.shape}")
    if array.dtype == np.bool_:
        return CoreFilter(np.ascontiguousarray(array), None)
    if array.size == 0:
        return CoreFilter(None, np.empty(0, np.int64))
    return CoreFilter(None, to_keys(filter if array.dtype.kind in "UO" else array))
