"""diskannpy: a Vamana graph on disk, walked by product codes in memory; reads past the page cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diskannpy
import numpy as np

from ...peers.base import Array
from .base import DiskPeer

# Version 0.7 never ends opening an index for a single thread.
_FEWEST_THREADS = 2
_NO_CACHE = 0


class DiskANN(DiskPeer):
    """StaticDiskIndex; all of its memory is codes, as many bytes a vector as the memory allows."""

    built_by_memory = True

    def build(self, progress: Callable[[int, int], None]) -> None:
        vectors = self.folder / "vectors.bin"
        with open(vectors, "wb") as file:
            np.array([self.rows.count, self.rows.dim], np.uint32).tofile(file)
            for block in self.rows.blocks():
                block.tofile(file)
        diskannpy.build_disk_index(
            data=str(vectors),
            distance_metric="mips" if self.metric == "ip" else "l2",
            index_directory=str(self.folder),
            complexity=self.params["complexity"],
            graph_degree=self.params["degree"],
            search_memory_maximum=self.memory / 2**30,
            build_memory_maximum=self.build_memory / 2**30,
            num_threads=max(_FEWEST_THREADS, self.threads),
            vector_dtype=np.float32,
        )
        vectors.unlink()

    def open(self, threads: int) -> None:
        self._index = diskannpy.StaticDiskIndex(
            str(self.folder),
            num_threads=max(_FEWEST_THREADS, threads),
            num_nodes_to_cache=0,
            cache_mechanism=_NO_CACHE,
        )

    def set_search(self, **params: Any) -> None:
        self._effort = params

    def search_one(self, query: Array, k: int) -> Array:
        return np.asarray(self._index.search(query, k, **self._effort).identifiers).astype(np.int64)

    def search(self, queries: Array, k: int, threads: int) -> Array:
        found = self._index.batch_search(queries, k, num_threads=threads, **self._effort)
        return np.asarray(found.identifiers).astype(np.int64)
