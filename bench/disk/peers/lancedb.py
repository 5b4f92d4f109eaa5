"""LanceDB: IVF-PQ with refinement; a cap on its caches, beside which the system keeps what it likes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa

from ...peers.base import Array
from .base import DiskPeer


class LanceDB(DiskPeer):
    """A table in a folder. Its searches use threads of their own, as many as they like."""

    def build(self, progress: Callable[[int, int], None]) -> None:
        dim = self.rows.dim
        schema = pa.schema([("vector", pa.list_(pa.float32(), dim)), ("row", pa.int64())])

        def batches() -> Iterator[Any]:
            start = 0
            for block in self.rows.blocks():
                vectors = pa.FixedSizeListArray.from_arrays(pa.array(block.ravel()), dim)
                numbers = pa.array(np.arange(start, start + len(block)))
                yield pa.record_batch([vectors, numbers], schema=schema)
                start += len(block)
                progress(start, self.rows.count)

        table = lancedb.connect(self.folder).create_table("rows", batches(), schema=schema)
        table.create_index(
            metric=self._metric,
            vector_column_name="vector",
            index_type="IVF_PQ",
            num_partitions=max(1, round(self.params["lists_per_root"] * math.sqrt(self.rows.count))),
            num_sub_vectors=max(1, dim // self.params["dims_per_part"]),
        )

    @property
    def _metric(self) -> str:
        return {"l2": "l2", "cosine": "cosine", "ip": "dot"}[self.metric]

    def open(self, threads: int) -> None:
        session = lancedb.Session(index_cache_size_bytes=self.memory, metadata_cache_size_bytes=self.memory)
        self._table = lancedb.connect(self.folder, session=session).open_table("rows")

    def set_search(self, **params: Any) -> None:
        self._effort = params

    def search_one(self, query: Array, k: int) -> Array:
        search = self._table.search(query).distance_type(self._metric).nprobes(self._effort["nprobe"])
        search = search.limit(k).refine_factor(self._effort["refine_factor"])
        return np.asarray(search.select(["row", "_distance"]).to_arrow()["row"])
