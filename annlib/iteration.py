"""Neighbours in batches, for who does not know beforehand how many are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arrays import as_count, as_queries
from .filters import CompiledFilter, Filter, is_one_per_query
from .results import SearchResult

#: Ids and distances, each of shape (m,).
Batch: TypeAlias = tuple[NDArray[Any], NDArray[np.float32]]

#: Who asks for more than this part of what passes gets an exact search for all of it. A walk computes some twenty
#: distances for each result, so a wider one would compute as many, and not be the last.
_EXACT_SHARE = 32


class _Searched(Protocol):
    @property
    def dim(self) -> int: ...
    def count(self, filter: Filter | None) -> int: ...
    def compile(self, filter: Filter) -> CompiledFilter: ...
    def search(
        self,
        queries: ArrayLike,
        k: int = ...,
        *,
        ef_search: int | None = ...,
        filter: Filter | None = ...,
        plan: str = ...,
    ) -> SearchResult: ...


class Iterated:
    """The part of `Index` that gives neighbours in batches; thread safety and errors as there."""

    def iterate(
        self: _Searched,
        query: ArrayLike,
        k: int = 10,
        filter: Filter | None = None,
        ef_search: int | None = None,
    ) -> Iterator[Batch]:
        """The neighbours of one query in batches, ever farther, until all items that pass have been given.

        What pgvector calls an iterative scan and Milvus a search iterator: for results that are filtered further or
        shown page by page, where nobody knows how many it takes. Each item comes once. The first batch is that of
        ``search(query, k)``, and each is sorted by distance; a batch begins nearer than the last has ended only where a
        wider walk of a graph index has found what a narrower one had missed. Behind the batches are searches for twice
        as many results at a time, which together compute up to about five times what one search for all of them does;
        beyond a thirty-second of what passes one exact search gives all that is left.

        Searches see the index as it is when they run: what is added meanwhile may come or not, and what is deleted
        may still come if it had been found before.

        Parameters
        ----------
        query : array_like, shape (dim,)
            Copied.
        k : int
            Items in a batch; the last may have fewer.
        filter : filter, optional
            As in `search`, but one. It is compiled now: a mask stands for the items that are there now.
        ef_search : int, optional
            As in `search`; searches for many results take at least twice as much as these.

        Yields
        ------
        ids : ndarray, shape (m,)
            int64, or objects of type str; 1 <= m <= k.
        distances : ndarray of float32, shape (m,)

        Raises
        ------
        ValueError
            At once, as in `search`.
        """
        block = as_queries(query, self.dim)
        if block.ndim != 1:
            raise ValueError(f"iterate takes one query of shape ({self.dim},), got shape {block.shape}")
        block, k = block.copy(), as_count(k, "k")
        if is_one_per_query(filter):
            raise ValueError(f"iterate takes one filter, got a list of {len(filter)}")  # type: ignore[arg-type]
        chosen = None if filter is None else self.compile(filter)

        def wider(width: int) -> SearchResult:
            matches = self.count(chosen)
            if width * _EXACT_SHARE > matches:
                return self.search(block, matches + 1, filter=chosen, plan="exact")
            return self.search(block, width, ef_search=max(ef_search or 0, 2 * width), filter=chosen)

        return _batches(self.search(block, k, ef_search=ef_search, filter=chosen), wider, k)


def _batches(result: SearchResult, wider: Callable[[int], SearchResult], k: int) -> Iterator[Batch]:
    """What a search for k and ever wider ones find, k items at a time, up to one that finds fewer than it asks for."""
    given: set[Any] = set()
    waiting: list[tuple[Any, float]] = []
    width = k
    while True:
        complete = result.counts < len(result.ids)
        real = slice(result.counts)
        found = dict(zip(result.ids[real].tolist(), result.distances[real].tolist(), strict=True))
        # A wider walk may miss what a narrower one has found.
        found |= {item: distance for item, distance in waiting if item not in found}
        waiting = sorted(((i, d) for i, d in found.items() if i not in given), key=itemgetter(1))
        ready = len(waiting) if complete else len(waiting) // k * k
        for begin in range(0, ready, k):
            ids, distances = zip(*waiting[begin : min(begin + k, ready)], strict=True)
            given.update(ids)
            yield np.array(ids, result.ids.dtype), np.array(distances, np.float32)
        if complete:
            return
        waiting = waiting[ready:]
        width *= 2
        result = wider(width)
