"""ScaNN: a tree of partitions, anisotropic 4-bit product codes, reordering by full vectors."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from scann import scann_ops_pybind

from .base import Array, Peer, saved_bytes


class Scann(Peer):
    """Tree-AH with reordering; leaves and candidates are chosen per search."""

    unit_for_cosine = True

    def build(self, train: Array, progress: Callable[[int, int], None]) -> None:
        count = len(train)
        leaves = max(1, round(self.params["lists_per_root"] * math.sqrt(count)))
        measure = "squared_l2" if self.metric == "l2" else "dot_product"
        builder = scann_ops_pybind.builder(train, 10, measure).set_n_training_threads(self.threads)
        builder = builder.tree(leaves, min(leaves, 8), training_sample_size=min(count, 250_000))
        builder = builder.score_ah(2, anisotropic_quantization_threshold=0.2)
        self._index = builder.reorder(100).build()
        self._leaves = leaves

    def set_search(self, **params: Any) -> None:
        self._effort = {
            "leaves_to_search": min(params["leaves"], self._leaves),
            "pre_reorder_num_neighbors": params["reorder"],
        }

    def search(self, queries: Array, k: int) -> Array:
        ids = self._index.search_batched(queries, final_num_neighbors=k, **self._effort)[0]
        return np.asarray(ids).astype(np.int64)

    def search_one(self, query: Array, k: int) -> Array:
        return np.asarray(self._index.search(query, final_num_neighbors=k, **self._effort)[0])

    def index_bytes(self) -> int:
        def save(path: str) -> None:
            os.mkdir(path)
            self._index.serialize(path)

        return saved_bytes(save)
