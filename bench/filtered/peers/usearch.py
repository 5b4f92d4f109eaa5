"""usearch, which has no filters in Python: post-filtering."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from usearch.index import Index

from ...peers.usearch import USearch
from ..predicate import Array, Predicate
from .base import Filtered, over_fetched


class FilteredUSearch(USearch, Filtered):
    """HNSW, asked for k by selectivity and more."""

    def set_search(self, **params: Any) -> None:
        self._ef = params["ef"]

    def search_where(self, query: Array, k: int, predicate: Predicate) -> Array:
        return over_fetched(self._fetch, query[None], k, self.columns.mask(predicate))[0]

    def _fetch(self, queries: Array, count: int) -> Array:
        self._index.expansion_search = max(self._ef, count)
        found = self._index.search(queries[0], count, threads=1)
        return np.asarray(found.keys).astype(np.int64)[None]

    def save(self, path: Path) -> None:
        self._index.save(str(path))

    def load(self, path: Path) -> None:
        index = Index.restore(str(path))
        assert index is not None
        self._index = index
