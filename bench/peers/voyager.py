"""voyager."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import voyager

from .base import Array, Peer


class Voyager(Peer):
    """HNSW over float32."""

    def build(self, train: Array, progress: Callable[[int, int], None]) -> None:
        space = {"l2": "Euclidean", "cosine": "Cosine", "ip": "InnerProduct"}[self.metric]
        self._index = voyager.Index(
            getattr(voyager.Space, space), self.dim, max_elements=len(train), **self.params
        )
        self._index.add_items(train, num_threads=self.threads)

    def set_search(self, **params: Any) -> None:
        self._ef = params["ef"]

    def search(self, queries: Array, k: int) -> Array:
        # Its neighbours come as many as asked for, or not at all: an effort below k is refused.
        ids = self._index.query(queries, k, num_threads=1, query_ef=max(self._ef, k))[0]
        return np.asarray(ids).astype(np.int64)

    def search_one(self, query: Array, k: int) -> Array:
        return self.search(query, k)

    def index_bytes(self) -> int:
        return len(self._index.as_bytes())
