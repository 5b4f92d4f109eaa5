"""hnswlib with a function of the row number."""

from __future__ import annotations

from pathlib import Path

import hnswlib
import numpy as np

from ...peers.hnswlib import Hnswlib
from ..predicate import Array, Predicate
from .base import Filtered


class FilteredHnswlib(Hnswlib, Filtered):
    """The walk asks a bound method of the bytes of a mask: of what Python has, the quickest answer."""

    def search_where(self, query: Array, k: int, predicate: Predicate) -> Array:
        mask = self.columns.mask(predicate)
        passes = mask.tobytes().__getitem__
        k = min(k, int(np.count_nonzero(mask)))
        while k:
            # It raises where it finds fewer than it is asked for.
            try:
                return np.asarray(self._index.knn_query(query, k, num_threads=1, filter=passes)[0][0])
            except RuntimeError:
                k //= 2
        return np.empty(0, np.int64)

    def save(self, path: Path) -> None:
        self._index.save_index(str(path))

    def load(self, path: Path) -> None:
        self._index = hnswlib.Index(space=self.metric, dim=self.dim)
        self._index.load_index(str(path))
        self._index.set_num_threads(1)
