"""diskannpy: Filtered-DiskANN, a Vamana graph in memory that is built and entered by label (one label a query)."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import diskannpy
import numpy as np

from ...peers.base import files_bytes
from ..predicate import Array, Equal, Predicate
from .base import Filtered

# Version 0.7 never ends opening an index for a single thread; a search takes one.
_FEWEST_THREADS = 2


class FilteredDiskANN(Filtered):
    """StaticMemoryIndex with the label of each row."""

    unit_for_cosine = True

    def build(self, train: Array, progress: Callable[[int, int], None]) -> None:
        self._folder = tempfile.TemporaryDirectory()
        # The column of labels; their names may hold what a file of them may not.
        self._column, labels = next(
            (name, column)
            for name, column in self.columns.given.items()
            if not isinstance(column, list) and column.dtype == object
        )
        names, codes = np.unique(labels.astype(str), return_inverse=True)
        self._codes = {name: str(code + 1) for code, name in enumerate(names.tolist())}
        complexity = self.params["complexity"]
        diskannpy.build_memory_index(
            data=np.ascontiguousarray(train, np.float32),
            distance_metric="mips" if self.metric == "ip" else "l2",
            index_directory=self._folder.name,
            complexity=complexity,
            graph_degree=self.params["degree"],
            num_threads=self.threads,
            filter_labels=[[str(code + 1)] for code in codes],
            filter_complexity=complexity,
        )
        self._index = diskannpy.StaticMemoryIndex(
            self._folder.name,
            num_threads=_FEWEST_THREADS,
            initial_search_complexity=complexity,
            enable_filters=True,
        )

    def set_search(self, **params: Any) -> None:
        self._ef = params["ef"]

    def search_where(self, query: Array, k: int, predicate: Predicate) -> Array:
        assert isinstance(predicate, Equal) and predicate.column == self._column
        code = self._codes[predicate.value]
        found = self._index.search(query, k, complexity=max(self._ef, k), filter_label=code)
        ids = np.asarray(found.identifiers).astype(np.int64)
        return ids[ids < len(self.columns)]

    def index_bytes(self) -> int:
        return files_bytes(self._folder.name)
