"""What an index does with attributes and filters."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import filters
from . import ids as id_forms
from .attributes import Attributes, from_core, to_core
from .filters import EVERYTHING, CompiledFilter, CoreFilter, Filter
from .ids import IntArray

#: The number of no filter, for the core.
NO_FILTER = 2**32 - 1

if TYPE_CHECKING:
    from ._core import Index as CoreIndex


class Attributed:
    """The part of `Index` that knows attributes and filters; thread safety and errors as there."""

    _core: CoreIndex
    _write_lock: threading.RLock

    def _keys(self, listed: NDArray[Any] | list[Any]) -> IntArray:
        raise NotImplementedError

    def _known_keys(self, ids: Any, distinct: bool = True) -> tuple[IntArray, bool]:
        raise NotImplementedError

    def attributes(self, ids: Any = None) -> dict[str, NDArray[Any]]:
        """The attributes of items, as a dict of columns.

        Parameters
        ----------
        ids : array_like of ids, optional
            Default: all, by the order of ``index.ids``.

        Returns
        -------
        dict of str to ndarray, shape (n,)
            bool, int64, float64, datetime64[D] or datetime64[us]; object for strings (str) and lists. A null is NaT, or
            None in an array of objects. Good for ``add`` and ``set_attributes`` again.

        Raises
        ------
        KeyError
            An id is not there.
        """
        with self._write_lock:
            keys = self._core.ids() if ids is None else self._known_keys(ids, distinct=False)[0]
            return from_core(self._core.attributes(keys))

    def set_attributes(self, attributes: Attributes, ids: Any = None) -> None:
        """Add attributes to items that are there, or replace them.

        Parameters
        ----------
        attributes : as in `add`
            One row for each of `ids`. Attributes that it does not name stay as they are.
        ids : array_like of ids, shape (n,), optional
            Other items keep their values, and have null in columns that are new. Default: all, by the order of
            ``index.ids``; columns may change their type then (a filter index for ranges goes where there are none).

        Raises
        ------
        ValueError
            Values of several types or of none that there is, or of another type than the column's; another number of
            rows; an id twice.
        KeyError
            An id is not there.
        """
        with self._write_lock:
            if ids is None:
                self._core.set_attributes(None, to_core(attributes, len(self._core), {}))
                return
            keys, _ = self._known_keys(ids)
            self._core.set_attributes(keys, to_core(attributes, len(keys), self._core.attribute_types()))

    def drop_attributes(self, names: str | Iterable[str]) -> None:
        """Take attributes away, and filter indexes on them; the index is then as though they had never been there.

        Parameters
        ----------
        names : str or iterable of str
            One or several.

        Raises
        ------
        ValueError
            An attribute that there is not, naming those that there are; nothing is dropped then.
        """
        listed = [names] if isinstance(names, str) else list(names)
        for name in listed:
            if not isinstance(name, str):
                raise ValueError(f"the name of an attribute must be a string, got {name!r}")
        with self._write_lock:
            self._core.drop_attributes(listed)

    def count(self, filter: Filter | None) -> int:
        """How many items a filter lets through, exactly. ValueError as in `search`."""
        return self._core.count(*self._lower(filter))

    def compile(self, filter: Filter) -> CompiledFilter:
        """A filter that is read once and used in many searches.

        Its columns, types and values are checked now: ValueError as in `search`. A mask stands for the items that are
        there now, whatever is added later.
        """
        if filter is None:
            raise ValueError("a filter to compile must be given, got None")
        core = filters.lower(filter, self._filter_keys, self._keys_of_rows)
        self._core.count(*core)
        return CompiledFilter(core, filter)

    def _lower(self, filter: Filter | None) -> CoreFilter:
        return filters.lower(filter, self._filter_keys)

    def _lower_each(self, each: Sequence[Any]) -> tuple[list[CoreFilter], NDArray[np.uint32]]:
        """The different filters of a batch, and for each query the number of its own, or NO_FILTER."""
        different: list[CoreFilter] = []
        numbers: dict[Any, int] = {}
        filter_of = np.empty(len(each), np.uint32)
        for query, one in enumerate(each):
            # What was met before is not read again: a text, or an object that `each` keeps alive.
            met = one if isinstance(one, str) else id(one)
            number = numbers.get(met)
            if number is None:
                core = self._lower(one)
                number = NO_FILTER if core is EVERYTHING else len(different)
                if core.expression is not None:
                    number = numbers.setdefault(core.expression, number)
                if number == len(different):
                    different.append(core)
                numbers[met] = number
            filter_of[query] = number
        return different, filter_of

    def _filter_keys(self, ids: Any) -> IntArray:
        return self._keys(id_forms.as_list(ids)[0])

    def _keys_of_rows(self, mask: NDArray[np.bool_]) -> IntArray:
        with self._write_lock:
            self._core.count(*CoreFilter(mask=np.ascontiguousarray(mask)))  # a ValueError for another length
            return self._core.ids()[mask]

    def _attribute_stats(self) -> dict[str, Any]:
        """Each attribute's type, nulls and bytes, for `stats`; nothing where there are none."""
        stats = self._core.attribute_stats()
        return {"attributes": stats} if stats else {}
