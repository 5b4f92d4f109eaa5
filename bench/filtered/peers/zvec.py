"""zvec: HNSW over float32, conditions as text, an inverted index for every column."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zvec

from ...peers.base import files_bytes
from ..predicate import Array, Predicate, sql
from .base import Filtered

_ANY_TAG = "{column} contain_any ({values})"
_BLOCK = 1000


class Zvec(Filtered):
    """A collection in a folder. It knows negations of single conditions only."""

    def build(self, train: Array, progress: Callable[[int, int], None]) -> None:
        self._start()
        metric = {"l2": "L2", "cosine": "COSINE", "ip": "IP"}[self.metric]
        graph = zvec.HnswIndexParam(
            metric_type=getattr(zvec.MetricType, metric),
            m=self.params["M"],
            ef_construction=self.params["ef_construction"],
        )
        schema = zvec.CollectionSchema(
            name="rows",
            fields=[self._field(name, column) for name, column in self.columns.given.items()],
            vectors=zvec.VectorSchema("vector", zvec.DataType.VECTOR_FP32, self.dim, index_param=graph),
        )
        self._table = zvec.create_and_open(path=f"{self._folder.name}/rows", schema=schema)
        columns = {
            name: column if isinstance(column, list) else column.tolist()
            for name, column in self.columns.given.items()
        }
        for start in range(0, len(train), _BLOCK):
            rows = range(start, min(start + _BLOCK, len(train)))
            self._table.insert(
                [
                    zvec.Doc(
                        id=str(row),
                        vectors={"vector": train[row]},
                        fields={name: column[row] for name, column in columns.items()},
                    )
                    for row in rows
                ]
            )
            progress(rows.stop, len(train))
        self._table.optimize()

    def _start(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        zvec.init(query_threads=1, optimize_threads=self.threads, log_level=zvec.LogLevel.ERROR)

    def _field(self, name: str, column: Any) -> Any:
        if isinstance(column, list):
            kind = zvec.DataType.ARRAY_STRING
        else:
            kind = zvec.DataType.STRING if column.dtype == object else zvec.DataType.INT64
        index = zvec.InvertIndexParam(enable_range_optimization=kind == zvec.DataType.INT64)
        return zvec.FieldSchema(name, kind, index_param=index)

    def set_search(self, **params: Any) -> None:
        self._effort = zvec.HnswQueryParam(ef=params["ef"])

    def search_where(self, query: Array, k: int, predicate: Predicate) -> Array:
        asked = zvec.Query(field_name="vector", vector=query, param=self._effort)
        found = self._table.query(asked, topk=k, filter=sql(predicate, _ANY_TAG), output_fields=[])
        return np.array([int(document.id) for document in found], dtype=np.int64)

    def save(self, path: Path) -> None:
        self._table.flush()
        shutil.copytree(self._folder.name, path)

    def load(self, path: Path) -> None:
        self._start()
        shutil.copytree(path, self._folder.name, dirs_exist_ok=True)
        self._table = zvec.open(f"{self._folder.name}/rows")

    def index_bytes(self) -> int:
        return files_bytes(self._folder.name)
