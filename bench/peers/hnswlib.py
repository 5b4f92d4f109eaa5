"""hnswlib."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hnswlib
import numpy as np

from .base import Array, Peer


class Hnswlib(Peer):
    """HNSW over float32."""

    def build(self, train: Array, progress: Callable[[int, int], None]) -> None:
        self._index = hnswlib.Index(space=self.metric, dim=self.dim)
        self._index.init_index(max_elements=len(train), **self.params)
        self._index.add_items(train, num_threads=self.threads)
        self._index.set_num_threads(1)

    def set_search(self, **params: Any) -> None:
        self._index.set_ef(params["ef"])

    def search(self, queries: Array, k: int) -> Array:
        return np.asarray(self._index.knn_query(queries, k, num_threads=1)[0])

    def index_bytes(self) -> int:
        return int(self._index.index_file_size())
