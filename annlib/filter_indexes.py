"""What a graph index builds for searches under filters, on demand."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from .arrays import as_count, as_threads

if TYPE_CHECKING:
    from ._core import HnswIndex as CoreHnsw


class FilterIndexed:
    """The part of `HNSWIndex` that knows filter indexes; thread safety and errors as there."""

    _core: CoreHnsw
    _write_lock: threading.RLock

    def create_filter_index(
        self,
        name: str,
        kind: str = "label",
        *,
        min_items: int = 1024,
        memory_budget: int | None = None,
        threads: int | None = None,
    ) -> None:
        """Build graphs over the items with certain values of an attribute, for searches under filters on it.

        A filter that lets through a twentieth of the items is too much for a scan and too little for a walk through
        the whole graph. A walk through a graph of these items alone takes what an unfiltered one does (SIEVE: Li et
        al., arXiv 2507.11907; for ranges after WoW: Wang et al., arXiv 2508.18617). `search` uses what is there where
        it is cheapest, alone and as part of conjunctions and disjunctions (docs/filters.md).

        It is saved with the index and follows all changes: what is new or has another value is scanned until that is
        an eighth of the items, and then the graphs are built anew.

        Parameters
        ----------
        name : str
            The attribute. A filter index that is there already gives way to the new one.
        kind : {"label", "range"}
            "label": a graph for each value that many items have, but at most half of them; of lists for each element.
            "range", for int, float, date and datetime: graphs for windows of the values.
        min_items : int
            Fewer get no graph of their own: a scan is as fast. Windows are twice as wide at least.
        memory_budget : int, optional
            Bytes that the graphs may take; default: as many as the vectors, codes and links of the items take. The
            most frequent labels come first, and the widest windows. An item takes ``4 + 8 * M`` bytes for each graph
            that it is in.
        threads : int, optional
            Changes nothing in the result.

        Raises
        ------
        ValueError
            An attribute or a kind that there is not, or a range of what has none.
        """
        budget = None if memory_budget is None else as_count(memory_budget, "memory_budget", 2**62)
        core_threads = as_threads(threads)
        least = as_count(min_items, "min_items")
        with self._write_lock:
            self._core.create_filter_index(name, kind, least, budget, core_threads)

    def drop_filter_index(self, name: str) -> None:
        """Take away what `create_filter_index` has built. ValueError where there is none on this attribute."""
        with self._write_lock:
            self._core.drop_filter_index(name)

    def filter_indexes(self) -> dict[str, dict[str, Any]]:
        """By attribute the ``kind`` of its filter index, how many ``subgraphs`` it has, their ``members`` (an item
        counts in each), ``bytes``, and the ``changes`` of items since they were built."""
        return dict(self._core.filter_indexes())
