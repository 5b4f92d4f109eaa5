"""annlib's own posting lists on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

import annlib

from ...peers.base import Array
from .base import DiskPeer


class DiskSPANN(DiskPeer):
    """SPANNIndex; what the memory leaves beside centroids and tables is its cache."""

    # Any for as long as there are posting lists in memory only.
    _class: ClassVar[Any] = annlib.SPANNIndex

    def build(self, progress: Callable[[int, int], None]) -> None:
        self._class.build(
            self.folder / "index",
            self.rows.path,
            metric=self.metric,
            memory_budget=self.build_memory,
            threads=self.threads,
            progress=progress,
            **self.params,
        ).close()

    def open(self, threads: int) -> None:
        with self._open(0) as index:
            needed = index.stats()["memory_bytes"]
        self._index = self._open(max(0, self.memory - needed))

    def _open(self, cache: int) -> Any:
        return self._class.open(self.folder / "index", cache=cache, read_only=True)

    def set_search(self, **params: Any) -> None:
        self._effort = params

    def search_one(self, query: Array, k: int) -> Array:
        return np.asarray(self.search(query[None], k, 1)[0])

    def search(self, queries: Array, k: int, threads: int) -> Array:
        return np.asarray(self._index.search(queries, k, threads=threads, **self._effort).ids)

    def reads(self) -> int | None:
        return int(self._index.stats()["reads"])
