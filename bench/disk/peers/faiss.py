"""faiss: IVF-PQ with its lists on disk, refined by vectors on disk, both mapped: the system decides what stays."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np

from ...peers.base import Array
from .base import DiskPeer

_TRAINING_ROWS_A_LIST = 40


class FaissOnDisk(DiskPeer):
    """OnDiskInvertedLists and a mapped flat index of the vectors; no cap on memory."""

    def build(self, progress: Callable[[int, int], None]) -> None:
        faiss.omp_set_num_threads(self.threads)
        count, dim = self.rows.count, self.rows.dim
        metric = faiss.METRIC_INNER_PRODUCT if self.metric == "ip" else faiss.METRIC_L2
        lists = max(1, min(round(self.params["lists_per_root"] * math.sqrt(count)), count // 39))
        parts = max(m for m in range(1, dim // self.params["dims_per_part"] + 1) if dim % m == 0)
        index = faiss.index_factory(dim, f"IVF{lists},PQ{parts}", metric)
        index.train(self.rows.sample(max(_TRAINING_ROWS_A_LIST * lists, 1 << 16)))
        vectors = faiss.IndexFlat(dim, metric)
        for block in self.rows.blocks():
            index.add(block)
            vectors.add(block)
            progress(index.ntotal, count)
        faiss.write_index(vectors, str(self.folder / "vectors"))
        lists_on_disk = faiss.OnDiskInvertedLists(lists, index.code_size, str(self.folder / "lists"))
        in_memory = faiss.InvertedListsPtrVector()
        in_memory.push_back(index.invlists)
        lists_on_disk.merge_from_multiple(in_memory.data(), in_memory.size())
        index.replace_invlists(lists_on_disk)
        faiss.write_index(index, str(self.folder / "index"))

    def open(self, threads: int) -> None:
        # The lists' path is of the folder in which they were built.
        self._lists = faiss.read_index(str(self.folder / "index"), faiss.IO_FLAG_ONDISK_SAME_DIR)
        self._vectors = faiss.read_index(str(self.folder / "vectors"), faiss.IO_FLAG_MMAP_IFC)
        self._index = faiss.IndexRefine(self._lists, self._vectors)

    def set_search(self, **params: Any) -> None:
        inner = faiss.SearchParametersIVF(nprobe=params["nprobe"])
        self._effort = faiss.IndexRefineSearchParameters(k_factor=params["k_factor"], base_index_params=inner)

    def search_one(self, query: Array, k: int) -> Array:
        return np.asarray(self.search(query[None], k, 1)[0])

    def search(self, queries: Array, k: int, threads: int) -> Array:
        faiss.omp_set_num_threads(threads)
        return np.asarray(self._index.search(queries, k, params=self._effort)[1])
