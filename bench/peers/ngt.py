"""NGT: the approximate neighbourhood graph (ANNG) with its tree."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from typing import Any

import ngtpy
import numpy as np

from .base import Array, Peer, saved_bytes


class Ngt(Peer):
    """ANNG, searched by its exploration coefficient. It answers one query a call."""

    metrics = ("l2", "cosine")

    def build(self, train: Array, progress: Callable[[int, int], None]) -> None:
        self._folder = tempfile.TemporaryDirectory()
        path = os.path.join(self._folder.name, "index")
        distance = {"l2": "L2", "cosine": "Cosine"}[self.metric]
        ngtpy.create(path, self.dim, edge_size_for_creation=self.params["edges"], distance_type=distance)
        self._index = ngtpy.Index(path, log_disabled=True)
        self._index.batch_insert(train, num_threads=self.threads)

    def set_search(self, **params: Any) -> None:
        self._epsilon = params["epsilon"]

    def search_one(self, query: Array, k: int) -> Array:
        ids = self._index.search(query, k, epsilon=self._epsilon, with_distance=False)
        return np.asarray(ids, dtype=np.int64)

    def index_bytes(self) -> int:
        return saved_bytes(self._index.export_index)
