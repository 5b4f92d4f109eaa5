"""faiss: exact search, HNSW, HNSW over 8-bit scalars, and IVF-PQ fast-scan with exact refinement."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np

from .base import Array, Peer


class Faiss(Peer):
    """An index by faiss's factory; subclasses name its description and its search parameters."""

    unit_for_cosine = True

    def description(self, count: int) -> str:
        """What ``faiss.index_factory`` is given for `count` vectors."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Set what the factory's description cannot say, before training."""

    def build(self, train: Array, progress: Callable[[int, int], None]) -> None:
        faiss.omp_set_num_threads(self.threads)
        metric = faiss.METRIC_L2 if self.metric == "l2" else faiss.METRIC_INNER_PRODUCT
        self._index = faiss.index_factory(self.dim, self.description(len(train)), metric)
        self.prepare()
        self._index.train(train)
        self._index.add(train)
        faiss.omp_set_num_threads(1)

    def set_search(self, **params: Any) -> None:
        space = faiss.ParameterSpace()
        for name, value in params.items():
            space.set_index_parameter(self._index, name, value)

    def search(self, queries: Array, k: int) -> Array:
        return np.asarray(self._index.search(queries, k)[1])

    def index_bytes(self) -> int:
        return int(faiss.serialize_index(self._index).nbytes)


class FaissFlat(Faiss):
    """Exact search."""

    def description(self, count: int) -> str:
        self._count = count
        return "Flat"

    def distance_computations(self, queries: Array, k: int) -> float | None:
        return float(self._count)


class FaissHNSW(Faiss):
    """HNSW; the registry fixes the storage, "Flat" or "SQ8"."""

    def description(self, count: int) -> str:
        return f"HNSW{self.params['M']},{self.params['storage']}"

    def prepare(self) -> None:
        self._index.hnsw.efConstruction = self.params["ef_construction"]

    def set_search(self, **params: Any) -> None:
        self._index.hnsw.efSearch = params["ef"]

    def distance_computations(self, queries: Array, k: int) -> float | None:
        faiss.cvar.hnsw_stats.reset()
        self.search(queries, k)
        return float(faiss.cvar.hnsw_stats.ndis) / len(queries)


class FaissIVFPQ(Faiss):
    """Inverted lists of 4-bit product codes scanned in registers, refined with the full vectors."""

    def description(self, count: int) -> str:
        lists = max(1, min(round(self.params["lists_per_root"] * math.sqrt(count)), count // 39))
        subvectors = max(m for m in range(1, max(self.dim // 2, 1) + 1) if self.dim % m == 0)
        return f"IVF{lists},PQ{subvectors}x4fs,RFlat"
