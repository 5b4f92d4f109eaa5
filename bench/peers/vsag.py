"""pyvsag: the HGraph index, walking on 8-bit codes and reordering by full vectors."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pyvsag

from ..sweeps import Params
from .base import Array, Peer, saved_bytes


class Vsag(Peer):
    """HGraph; the registry fixes the quantisation of its walk.

    It answers one query a call. Its file, and so its size here, is padded to blocks of 128 MiB.
    """

    def description(self) -> Params:
        """What pyvsag is to build or load."""
        return {
            "dtype": "float32",
            "metric_type": self.metric,
            "dim": self.dim,
            "index_param": {
                "base_quantization_type": self.params["codec"],
                "use_reorder": self.params["codec"] != "fp32",
                "precise_quantization_type": "fp32",
                "max_degree": 2 * self.params["M"],
                "ef_construction": self.params["ef_construction"],
                "build_thread_count": self.threads,
            },
        }

    def build(self, train: Array, progress: Callable[[int, int], None]) -> None:
        pyvsag.set_logger_off()
        self._index = pyvsag.Index("hgraph", json.dumps(self.description()))
        self._index.build(train.ravel(), np.arange(len(train), dtype=np.int64), len(train), self.dim)

    def set_search(self, **params: Any) -> None:
        self._search = json.dumps({"hgraph": {"ef_search": params["ef"]}})

    def search_one(self, query: Array, k: int) -> Array:
        return np.asarray(self._index.knn_search(query, k, self._search)[0])

    def index_bytes(self) -> int:
        return saved_bytes(self._index.save)
