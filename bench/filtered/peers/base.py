"""What the harness asks of a library that filters."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ...peers.base import Array, Peer
from ..predicate import Columns, Mask, Predicate


class Filtered(Peer):
    """A peer with attributes. Subclasses add filters to an adapter of :mod:`...peers`, or stand alone."""

    def take(self, columns: Columns) -> None:
        """Have the attributes of the rows that `build` is going to index."""
        self.columns = columns

    def save(self, path: Path) -> None:
        """Write what was built to the file or folder `path`, for `load`; not where it is built in no time."""

    def load(self, path: Path) -> None:
        """Take the place of `build` by what `save` wrote."""
        raise NotImplementedError

    @abstractmethod
    def search_where(self, query: Array, k: int, predicate: Predicate) -> Array:
        """Row numbers (at most k,) of the nearest rows that pass.

        The predicate is turned into the library's own form here, for that is part of the time.
        """

    def search_each(self, queries: Array, k: int, predicates: Sequence[Predicate]) -> Sequence[Array]:
        """The same for several queries with a predicate each."""
        return [self.search_where(q, k, predicate) for q, predicate in zip(queries, predicates, strict=True)]

    def forget(self) -> None:
        """Drop what is kept of filters that have been evaluated: the next ones are new."""

    def search_one(self, query: Array, k: int) -> Array:
        raise NotImplementedError("searched with predicates only")


def passing(ids: Array, mask: Mask) -> Array:
    """Those of the ids, -1 for none, whose rows pass."""
    real = ids[ids >= 0]
    return real[mask[real]]


def over_fetched(search: Callable[[Array, int], Array], queries: Array, k: int, mask: Mask) -> list[Array]:
    """Post-filtering: k by selectivity results without a filter, and twice as many until k of them pass.

    ``search(queries, count)`` returns row numbers, shape (q, count).
    """
    wanted = min(k, int(np.count_nonzero(mask)))
    found: list[Array] = [np.empty(0, np.int64)] * len(queries)
    if not wanted:
        return found
    pending, count = np.arange(len(queries)), -(-k * len(mask) // int(np.count_nonzero(mask)))
    while len(pending):
        count = min(count, len(mask))
        for row, ids in zip(pending, search(queries[pending], count), strict=True):
            found[row] = passing(ids, mask)[:k]
        if count == len(mask):
            break
        pending = pending[[len(found[row]) < wanted for row in pending]]
        count *= 2
    return found


def by_predicate(predicates: Sequence[Predicate]) -> Iterator[tuple[Predicate, Array]]:
    """Each different predicate with the queries that have it."""
    groups: dict[Predicate, list[int]] = {}
    for row, predicate in enumerate(predicates):
        groups.setdefault(predicate, []).append(row)
    for predicate, rows in groups.items():
        yield predicate, np.array(rows)
