"""usearch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from usearch.index import Index

from .base import Array, Peer


class USearch(Peer):
    """HNSW; the registry fixes the scalars that it stores, "f32", "f16" or "i8"."""

    def build(self, train: Array, progress: Callable[[int, int], None]) -> None:
        self._index = Index(
            ndim=self.dim,
            metric={"l2": "l2sq", "cosine": "cos", "ip": "ip"}[self.metric],
            dtype=self.params["dtype"],
            connectivity=self.params["M"],
            expansion_add=self.params["ef_construction"],
        )
        self._index.add(np.arange(len(train)), train, threads=self.threads)

    def set_search(self, **params: Any) -> None:
        self._index.expansion_search = params["ef"]

    def search(self, queries: Array, k: int) -> Array:
        return np.asarray(self._index.search(queries, k, threads=1).keys)

    def search_one(self, query: Array, k: int) -> Array:
        return self.search(query, k)

    def index_bytes(self) -> int:
        return int(self._index.serialized_length)

    def distance_computations(self, queries: Array, k: int) -> float | None:
        return float(self._index.search(queries, k, threads=1).computed_distances) / len(queries)
