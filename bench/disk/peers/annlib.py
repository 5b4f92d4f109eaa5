"""annlib's own posting lists on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import annlib

from ...peers.base import Array
from .base import DiskPeer

# Bytes of an item besides its code, about: its id and sums, its slot in each list, its share of the centroids.
_ITEM_BYTES = 30


class DiskSPANN(DiskPeer):
    """SPANNIndex; what the memory leaves beside centroids and tables is its cache.

    Codes have as many bits as there is room for, up to 4; more leave no fewer vectors to be read.
    """

    built_by_memory = True

    def build(self, progress: Callable[[int, int], None]) -> None:
        index: Any = annlib.SPANNIndex.build(
            self.folder / "index",
            self.rows.path,
            metric=self.metric,
            memory_budget=self.build_memory,
            threads=self.threads,
            progress=progress,
            **{"codec": f"rabitq:{self._bits()}", **self.params},
        )
        index.close()
        self._table_file.write_text(str(self._memory_without_cache()))

    def _bits(self) -> int:
        room = self.memory / self.rows.count - _ITEM_BYTES
        return int(min(max(2, 8 * room // self.rows.dim), 4))

    def open(self, threads: int) -> None:
        cache = max(0, self.memory - int(self._table_file.read_text()))
        self._index = annlib.SPANNIndex.open(self.folder / "index", cache=cache, read_only=True)

    @property
    def _table_file(self) -> Path:
        """What the index takes besides its cache: to open it once more for that would count as memory of searches."""
        return self.folder / "memory_bytes"

    def _memory_without_cache(self) -> int:
        with annlib.SPANNIndex.open(self.folder / "index", cache=0, read_only=True) as index:
            return int(index.stats()["memory_bytes"])

    def set_search(self, **params: Any) -> None:
        self._effort = params

    def search_one(self, query: Array, k: int) -> Array:
        return np.asarray(self.search(query[None], k, 1)[0])

    def search(self, queries: Array, k: int, threads: int) -> Array:
        return np.asarray(self._index.search(queries, k, threads=threads, **self._effort).ids)

    def reads(self) -> int | None:
        return int(self._index.stats()["reads"])
