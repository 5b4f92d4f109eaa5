"""zvec: a Vamana graph on disk, walked by product codes in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import zvec

from ...peers.base import Array
from .base import DiskPeer

_BLOCK = 1000


class Zvec(DiskPeer):
    """A collection in a folder; as many bytes of codes a vector as the memory allows."""

    built_by_memory = True

    def build(self, progress: Callable[[int, int], None]) -> None:
        self._start(1)
        metric = {"l2": "L2", "cosine": "COSINE", "ip": "IP"}[self.metric]
        graph = zvec.DiskAnnIndexParam(
            metric_type=getattr(zvec.MetricType, metric),
            max_degree=self.params["degree"],
            list_size=self.params["complexity"],
            pq_chunk_num=max(1, min(self.memory // self.rows.count, self.rows.dim)),
        )
        schema = zvec.CollectionSchema(
            name="rows",
            vectors=zvec.VectorSchema("vector", zvec.DataType.VECTOR_FP32, self.rows.dim, index_param=graph),
        )
        table = zvec.create_and_open(path=str(self.folder / "rows"), schema=schema)
        row = 0
        for large in self.rows.blocks():
            for block in np.array_split(large, -(-len(large) // _BLOCK)):
                table.insert(
                    [zvec.Doc(id=str(row + i), vectors={"vector": vector}) for i, vector in enumerate(block)]
                )
                row += len(block)
                progress(row, self.rows.count)
        table.optimize(zvec.OptimizeOption(concurrency=self.threads))
        table.close()

    def _start(self, query_threads: int) -> None:
        zvec.init(query_threads=query_threads, optimize_threads=self.threads, log_level=zvec.LogLevel.ERROR)

    def open(self, threads: int) -> None:
        self._start(threads)
        self._table = zvec.open(
            str(self.folder / "rows"), zvec.CollectionOption(read_only=True, enable_mmap=False)
        )

    def set_search(self, **params: Any) -> None:
        self._effort = zvec.DiskAnnQueryParam(list_size=params["list_size"])

    def search_one(self, query: Array, k: int) -> Array:
        asked = zvec.Query(field_name="vector", vector=query, param=self._effort)
        found = self._table.query(asked, topk=k, output_fields=[])
        return np.array([int(document.id) for document in found], dtype=np.int64)
