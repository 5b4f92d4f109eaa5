"""faiss: HNSW and inverted lists with a bitmap of what passes, and post-filtering."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from ...peers.faiss import Faiss, FaissHNSW
from ..predicate import Array, Predicate
from .base import Filtered, by_predicate, over_fetched


class _Bitmap(Faiss, Filtered):
    """Filters by ``IDSelectorBitmap``; subclasses say what else a search takes."""

    def parameters(self, **shared: Any) -> Any:
        """Search parameters of the index's own class."""
        raise NotImplementedError

    def set_search(self, **params: Any) -> None:
        self._effort = params

    def search_where(self, query: Array, k: int, predicate: Predicate) -> Array:
        bits = np.packbits(self.columns.mask(predicate), bitorder="little")
        parameters = self.parameters(sel=faiss.IDSelectorBitmap(bits), **self._effort)
        return np.asarray(self._index.search(query[None], k, params=parameters)[1][0])

    def save(self, path: Path) -> None:
        faiss.write_index(self._index, str(path))

    def load(self, path: Path) -> None:
        self._index = faiss.read_index(str(path))
        faiss.omp_set_num_threads(1)


class FilteredHNSW(_Bitmap, FaissHNSW):
    """Walks with a bitmap one query at a time; batches are post-filtered, predicate by predicate."""

    def parameters(self, **shared: Any) -> Any:
        return faiss.SearchParametersHNSW(**shared)

    def search_each(self, queries: Array, k: int, predicates: Sequence[Predicate]) -> Sequence[Array]:
        found: list[Array] = [np.empty(0, np.int64)] * len(queries)

        def search(part: Array, count: int) -> Array:
            effort = faiss.SearchParametersHNSW(efSearch=max(self._effort["efSearch"], count))
            return np.asarray(self._index.search(part, count, params=effort)[1])

        for predicate, rows in by_predicate(predicates):
            answers = over_fetched(search, queries[rows], k, self.columns.mask(predicate))
            for row, ids in zip(rows, answers, strict=True):
                found[row] = ids
        return found


class FilteredIVF(_Bitmap):
    """Inverted lists of full vectors."""

    def description(self, count: int) -> str:
        lists = round(self.params["lists_per_root"] * math.sqrt(count))
        return f"IVF{max(1, min(lists, count // 39))},Flat"

    def parameters(self, **shared: Any) -> Any:
        return faiss.SearchParametersIVF(**shared)
