"""scalable-vs (SVS): Vamana graphs over float32 or over LVQ codes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import svs

from .base import Array, Peer, saved_bytes


class Svs(Peer):
    """Vamana; the registry fixes the bits of LVQ's two levels, (0, 0) for float32."""

    def build(self, train: Array, progress: Callable[[int, int], None]) -> None:
        name = {"l2": "L2", "cosine": "Cosine", "ip": "MIP"}[self.metric]
        parameters = svs.VamanaBuildParameters(
            graph_max_degree=self.params["degree"],
            window_size=self.params["build_window"],
            alpha=1.2 if self.metric == "l2" else 0.95,
        )
        with tempfile.TemporaryDirectory() as folder:
            data = self._codes(train, os.path.join(folder, "train.fvecs"))
            self._index = svs.Vamana.build(
                parameters, data, getattr(svs.DistanceType, name), num_threads=self.threads
            )
        self._index.num_threads = 1

    def _codes(self, train: Array, path: str) -> Any:
        primary, residual = self.params["bits"]
        if not primary:
            return train
        svs.write_vecs(train, path)
        loader = svs.VectorDataLoader(path, svs.DataType.float32, dims=self.dim)
        return svs.LVQLoader(loader, primary=primary, residual=residual)

    def set_search(self, **params: Any) -> None:
        self._index.search_window_size = params["window"]

    def search(self, queries: Array, k: int) -> Array:
        return np.asarray(self._index.search(queries, k)[0]).astype(np.int64)

    def index_bytes(self) -> int:
        return saved_bytes(lambda path: self._index.save(path, path + ".graph", path + ".data"))
