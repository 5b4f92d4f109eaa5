"""annlib's own posting lists on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import annlib

from ...peers.base import Array
from .base import DiskPeer


class DiskSPANN(DiskPeer):
    """SPANNIndex; what the memory leaves beside centroids and tables is its cache."""

    def build(self, progress: Callable[[int, int], None]) -> None:
        self._library.build(
            self.folder / "index",
            self.rows.path,
            metric=self.metric,
            memory_budget=self.build_memory,
            threads=self.threads,
            progress=progress,
            **self.params,
        )

    @property
    def _library(self) -> Any:
        return annlib.SPANNIndex

    def open(self, threads: int) -> None:
        self._reads = 0
        with self._library.open(self.folder / "index", cache=0) as index:
            needed = index.stats()["memory_bytes"]
        self._index = self._library.open(self.folder / "index", cache=max(0, self.memory - needed))

    def close(self) -> None:
        self._index.close()
        del self._index

    def set_search(self, **params: Any) -> None:
        self._effort = params

    def search_one(self, query: Array, k: int) -> Array:
        return np.asarray(self.search(query[None], k, 1)[0])

    def search(self, queries: Array, k: int, threads: int) -> Array:
        found = self._index.search(queries, k, threads=threads, **self._effort)
        self._reads += found.stats["reads"]
        return np.asarray(found.ids)

    def reads(self) -> int | None:
        return self._reads
