"""annlib: expressions over its own attributes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import annlib
from annlib import F

from ...peers.annlib import AnnlibHNSW
from ..predicate import And, AnyTag, Array, Between, Equal, Not, Or, Predicate
from .base import Filtered


def expression(predicate: Predicate) -> Any:
    """The predicate as annlib's users write it."""
    match predicate:
        case Equal(column, value):
            return F[column] == value
        case AnyTag(column, values):
            return F[column].any(*values)
        case Between(column, low, high):
            return F[column].between(low, high)
        case Not(part):
            return ~expression(part)
        case And((first, *rest)):
            joined = expression(first)
            for part in rest:
                joined &= expression(part)
            return joined
        case Or((first, *rest)):
            joined = expression(first)
            for part in rest:
                joined |= expression(part)
            return joined
    raise ValueError(f"no predicate: {predicate!r}")


class FilteredAnnlib(AnnlibHNSW, Filtered):
    """HNSWIndex, at an effort or a recall, by its own choice of plan or a forced one."""

    def build(self, train: Array, progress: Callable[[int, int], None]) -> None:
        super().build(train, progress)
        self._index.set_attributes(self.columns.given)

    def save(self, path: Path) -> None:
        self._index.save(path)

    def load(self, path: Path) -> None:
        index = annlib.load(path)
        assert isinstance(index, annlib.HNSWIndex)
        self._index = index

    def set_search(self, **params: Any) -> None:
        self._effort = {"threads": 1, **params}
        if params.get("plan") == "lists" and not self._index.stats()["filter_list_bytes"]:
            self._effort["plan"] = "scan"  # an index of few items has none

    def search_where(self, query: Array, k: int, predicate: Predicate) -> Array:
        found = self._index.search(query, k, filter=expression(predicate), **self._effort)
        return np.asarray(found.ids)

    def search_each(self, queries: Array, k: int, predicates: Sequence[Predicate]) -> Sequence[Array]:
        filters = [expression(predicate) for predicate in predicates]
        return list(self._index.search(queries, k, filter=filters, **self._effort).ids)

    def forget(self) -> None:
        # Bitmaps are kept for one state of the index, and any change of attributes makes another; the orders of the
        # other columns stay, as they do for a user. Of one item: a whole column would be in the processor's caches when
        # the first query comes, in the place of what the peers, which have nothing to forget, find there.
        self._index.set_attributes({"unused": [False]}, ids=[0])
