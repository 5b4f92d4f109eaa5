"""annlib itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import annlib

from .base import Array, Peer


class AnnlibHNSW(Peer):
    """HNSWIndex; the registry fixes the codec."""

    dtypes = ("float32", "float16", "int8", "uint8")

    _index: annlib.HNSWIndex | annlib.SPANNIndex

    def build(self, train: Array, progress: Callable[[int, int], None]) -> None:
        self._index = annlib.HNSWIndex.build(
            train, metric=self.metric, threads=self.threads, progress=progress, **self.params
        )

    def set_search(self, **params: Any) -> None:
        self._ef = params["ef"]

    def search(self, queries: Array, k: int) -> Array:
        return np.asarray(self._index.search(queries, k, ef_search=self._ef, threads=1).ids)

    def search_one(self, query: Array, k: int) -> Array:
        return self.search(query, k)

    def index_bytes(self) -> int:
        return int(self._index.stats()["memory_bytes"])

    def distance_computations(self, queries: Array, k: int) -> float | None:
        stats = self._index.search(queries, k, ef_search=self._ef, threads=1).stats
        return float(stats["distance_computations"]) / len(queries)


class AnnlibSPANN(AnnlibHNSW):
    """SPANNIndex in memory."""

    def build(self, train: Array, progress: Callable[[int, int], None]) -> None:
        self._index = annlib.SPANNIndex.build(
            None, train, metric=self.metric, threads=self.threads, progress=progress, **self.params
        )

    def set_search(self, **params: Any) -> None:
        self._ef = params["nprobe"]


class AnnlibFlat(Peer):
    """FlatIndex: exact."""

    dtypes = AnnlibHNSW.dtypes

    def build(self, train: Array, progress: Callable[[int, int], None]) -> None:
        self._index = annlib.FlatIndex(self.dim, self.metric)
        self._index.add(train, threads=self.threads)
        self._count = len(train)

    def search(self, queries: Array, k: int) -> Array:
        return np.asarray(self._index.search(queries, k, threads=1).ids)

    def search_one(self, query: Array, k: int) -> Array:
        return self.search(query, k)

    def index_bytes(self) -> int:
        return int(self._index.stats()["memory_bytes"])

    def distance_computations(self, queries: Array, k: int) -> float | None:
        return float(self._count)
