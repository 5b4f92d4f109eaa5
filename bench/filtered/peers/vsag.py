"""pyvsag, which has no filters in Python: post-filtering."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyvsag

from ...peers.vsag import Vsag
from ..predicate import Array, Predicate
from .base import Filtered, over_fetched


class FilteredVsag(Vsag, Filtered):
    """HGraph, asked for k by selectivity and more."""

    def set_search(self, **params: Any) -> None:
        self._ef = params["ef"]

    def search_where(self, query: Array, k: int, predicate: Predicate) -> Array:
        return over_fetched(self._fetch, query[None], k, self.columns.mask(predicate))[0]

    def _fetch(self, queries: Array, count: int) -> Array:
        effort = json.dumps({"hgraph": {"ef_search": max(self._ef, count)}})
        return np.asarray(self._index.knn_search(queries[0], count, effort)[0])[None]

    def save(self, path: Path) -> None:
        self._index.save(str(path))

    def load(self, path: Path) -> None:
        pyvsag.set_logger_off()
        self._index = pyvsag.Index("hgraph", json.dumps(self.description()))
        self._index.load(str(path))
