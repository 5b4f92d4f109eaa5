"""LanceDB: one HNSW over 8-bit scalars with refinement, conditions as SQL, an index for every column."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa

from ...peers.base import files_bytes
from ..predicate import Array, Predicate, sql
from .base import Filtered

_REFINED = 2
_ANY_TAG = "array_has_any({column}, [{values}])"


class LanceDB(Filtered):
    """A table in a folder. Its searches use threads of their own, as many as they like."""

    def build(self, train: Array, progress: Callable[[int, int], None]) -> None:
        self._folder = tempfile.TemporaryDirectory()
        rows = pa.FixedSizeListArray.from_arrays(pa.array(train.ravel()), self.dim)
        # Lists of strings come as they are, everything else as what numpy has made of it.
        columns = {name: pa.array(column) for name, column in self.columns.given.items()}
        data = pa.table({"vector": rows, "row": np.arange(len(train)), **columns})
        self._table = lancedb.connect(self._folder.name).create_table("rows", data)
        self._table.create_index(
            metric=self._metric,
            vector_column_name="vector",
            index_type="IVF_HNSW_SQ",
            num_partitions=1,
            m=self.params["M"],
            ef_construction=self.params["ef_construction"],
        )
        for name, column in self.columns.given.items():
            labels = "LABEL_LIST" if isinstance(column, list) else "BITMAP"
            kind = labels if isinstance(column, list) or column.dtype == object else "BTREE"
            self._table.create_scalar_index(name, index_type=kind)

    @property
    def _metric(self) -> str:
        return {"l2": "l2", "cosine": "cosine", "ip": "dot"}[self.metric]

    def set_search(self, **params: Any) -> None:
        self._ef = params["ef"]

    def search_where(self, query: Array, k: int, predicate: Predicate) -> Array:
        search = self._table.search(query).distance_type(self._metric).nprobes(1)
        search = search.where(sql(predicate, _ANY_TAG), prefilter=True).limit(k).refine_factor(_REFINED)
        # Less is refused.
        search = search.ef(max(self._ef, _REFINED * k))
        return np.asarray(search.select(["row", "_distance"]).to_arrow()["row"])

    def save(self, path: Path) -> None:
        shutil.copytree(self._folder.name, path)

    def load(self, path: Path) -> None:
        self._folder = tempfile.TemporaryDirectory()
        shutil.copytree(path, self._folder.name, dirs_exist_ok=True)
        self._table = lancedb.connect(self._folder.name).open_table("rows")

    def index_bytes(self) -> int:
        return files_bytes(self._folder.name)
