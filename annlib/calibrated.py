"""Indexes whose recall grows with an effort."""

from __future__ import annotations

import logging
from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ._core import HnswIndex as CoreHnsw
from ._core import SpannIndex as CoreSpann
from .arrays import as_count, as_queries, as_threads
from .calibration import Calibration, measure, measure_filtered
from .filters import Filter
from .index import Index

_log = logging.getLogger("annlib")


class Calibrated(Index):
    """The part of an approximate index that knows what effort a recall takes; thread safety and errors as `Index`."""

    _core: CoreHnsw | CoreSpann

    def __init__(self, dim: int, metric: str, dtype: DTypeLike | None, keep_vectors: bool) -> None:
        self._calibrations: dict[int, Calibration] = {}
        self._target: float | None = None
        super().__init__(dim, metric, dtype, keep_vectors)

    @abstractmethod
    def _least_effort(self, k: int) -> int:
        """Less is not worth asking for."""

    @abstractmethod
    def _default_effort(self, k: int) -> int:
        """Of a search that says nothing."""

    def calibrate(
        self,
        queries: ArrayLike | None = None,
        k: int = 10,
        *,
        filter: Filter | None = None,
        threads: int | None = None,
    ) -> Calibration:
        """Measure recall@k against exact search at growing effort, and keep what each recall needs.

        The effort is ef_search or nprobe. Searches of a graph under filters need less for a recall, the less, the fewer
        items pass; so it is measured a second time under a filter that lets a quarter of the items through, drawn at
        random.

        With ``keep_vectors=False`` the exact search is one of all codes: what codes lose is not part of such a recall.

        Parameters
        ----------
        queries : array_like, shape (n, dim), optional
            Like those to come; at most 1,000 are used. Default: stored vectors, each searched for as though it had
            never been added, which tell less where queries and vectors differ in kind.
        k : int
        filter : as in `search`, optional
            Measures searches under this filter, by the plans that they choose, against what passes.

        Returns
        -------
        Calibration
            Also kept with the index, for `search(..., recall=...)`, and saved with it, unless it is that of a filter.

        Raises
        ------
        ValueError
            An empty index, no queries, and as for `search`; a filter that fewer than k items pass.
        """
        k = as_count(k, "k")
        block = None if queries is None else np.atleast_2d(as_queries(queries, self._dim))
        if len(self) == 0:
            raise ValueError("an empty index cannot be calibrated")
        if block is not None and len(block) == 0:
            raise ValueError("queries must be at least one vector to calibrate with")
        core_threads = as_threads(threads)
        with self._write_lock:  # all of it is measured on one state of the index
            if filter is not None:
                return measure_filtered(
                    self._core, block, k, self._least_effort(k), self._lower(filter), core_threads
                )
            calibration = measure(self._core, block, k, self._least_effort(k), core_threads)
        self._calibrations[k] = calibration
        return calibration

    def _effort(
        self, ef_search: int | None, recall: float | None, queries: NDArray[Any], k: int
    ) -> tuple[int, int]:
        if ef_search is not None:
            return (max(as_count(ef_search, "ef_search"), self._least_effort(k)),) * 2
        target = self._target if recall is None else as_recall(recall, "recall")
        if target is None:
            return (self._default_effort(k),) * 2
        size = len(self._core)
        if size == 0:
            return (self._default_effort(k),) * 2
        calibration = self._calibrations.get(k)
        if calibration is None or not calibration.fits(size):
            _log.info("measuring what recall@%d needs on %r", k, self)
            enough = queries.ndim == 2 and len(queries) >= 100
            calibration = self.calibrate(queries if enough else None, k)
        return calibration.efforts_for(target)


def as_recall(value: Any, what: str) -> float:
    """A recall; ValueError unless it is above 0 and at most 1."""
    if isinstance(value, float) and 0 < value <= 1:  # of most searches, which have no time to lose
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 < value <= 1:
        raise ValueError(f"{what} must be above 0 and at most 1, got {value!r}")
    return float(value)
