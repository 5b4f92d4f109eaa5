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
        index: Any = annlib.SPANNIndex.build(
            self.folder / "index",
            self.rows.path,
            metric=self.metric,
            memory_budget=self.build_memory,
            threads=self.threads,
            progress=progress,
            **self.params,
        )
        index.close()

    def open(self, threads: int) -> None:
        path = self.folder / "index"
        with annlib.SPANNIndex.open(path, cache=0, read_only=True) as index:
            needed = index.stats()["memory_bytes"]
        self._index = annlib.SPANNIndex.open(path, cache=max(0, self.memory - needed), read_only=True)

    def set_search(self, **params: Any) -> None:
        self._effort = params

    def search_one(self, query: Array, k: int) -> Array:
        return np.asarray(self.search(query[None], k, 1)[0])

    def search(self, queries: Array, k: int, threads: int) -> Array:
        return np.asarray(self._index.search(queries, k, threads=threads, **self._effort).ids)

    def reads(self) -> int | None:
        return int(self._index.stats()["reads"])
