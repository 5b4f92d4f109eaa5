"""hnswlib with a function of the row number."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import hnswlib
import numpy as np

from ...peers.hnswlib import Hnswlib
from ..predicate import Array, Columns, Mask, Predicate
from .base import Filtered
from .compiled import mask_filter

_log = logging.getLogger(__name__)


class FilteredHnswlib(Hnswlib, Filtered):
    """The walk asks a function in C++ where one can be compiled, and one in Python otherwise."""

    def take(self, columns: Columns) -> None:
        super().take(columns)
        self._compiled: ModuleType | None = None
        try:
            self._compiled = mask_filter()
        except (ImportError, OSError, subprocess.CalledProcessError) as error:
            _log.warning("hnswlib filters by a function in Python: %s", error)

    def _function(self, mask: Mask) -> Callable[[int], object]:
        if self._compiled is None:
            # Of what Python has, the quickest answer.
            return mask.tobytes().__getitem__
        self._compiled.use(mask)
        passes: Callable[[int], object] = self._compiled.passes
        return passes

    def search_where(self, query: Array, k: int, predicate: Predicate) -> Array:
        mask = self.columns.mask(predicate)
        passes = self._function(mask)
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
