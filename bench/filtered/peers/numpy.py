"""Brute force over what passes, with numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..predicate import Array, Predicate
from .base import Filtered


class Numpy(Filtered):
    """Gathers the rows that pass and multiplies."""

    unit_for_cosine = True

    def build(self, train: Array, progress: Callable[[int, int], None]) -> None:
        self._rows = train
        self._squares = np.einsum("ij,ij->i", train, train)

    def search_where(self, query: Array, k: int, predicate: Predicate) -> Array:
        ids = np.flatnonzero(self.columns.mask(predicate))
        away = -(self._rows[ids] @ query)
        if self.metric == "l2":
            away = self._squares[ids] + 2 * away
        if len(ids) > k:
            near = np.argpartition(away, k)[:k]
            ids, away = ids[near], away[near]
        return np.asarray(ids[np.argsort(away)])

    def index_bytes(self) -> int:
        return int(self._rows.nbytes)
