"""annlib in ann-benchmarks: copied to ``ann_benchmarks/algorithms/annlib``, beside that project's BaseANN."""

from __future__ import annotations

from typing import Any

import numpy as np

import annlib

from ..base.module import BaseANN


class Annlib(BaseANN):  # type: ignore[misc]
    """annlib.HNSWIndex under the interface of the runner.

    Parameters
    ----------
    metric : "angular" or "euclidean"
    params : dict
        Build parameters of HNSWIndex: M, ef_construction, codec.
    """

    def __init__(self, metric: str, params: dict[str, Any]) -> None:
        self._metric, self._params = metric, params
        self._label = ", ".join(f"{key}={value}" for key, value in params.items())
        self.name = f"annlib({self._label})"

    def fit(self, X: np.ndarray) -> None:
        """Build over the rows of X (n, d), with all cores."""
        self._index = annlib.HNSWIndex.build(X, metric=self._metric, **self._params)

    def set_query_arguments(self, ef_search: int) -> None:
        """Take the effort of the queries that follow."""
        self._ef_search, self._distance_computations = ef_search, 0
        self.name = f"annlib({self._label}, ef_search={ef_search})"

    def query(self, q: np.ndarray, n: int) -> np.ndarray:
        """Row numbers of the n neighbours of q (d,), nearest first; one thread."""
        found = self._index.search(q, n, ef_search=self._ef_search, threads=1)
        self._distance_computations += found.stats["distance_computations"]
        return found.ids[: int(found.counts)]

    def batch_query(self, X: np.ndarray, n: int) -> None:
        """Answer all rows of X in one call on all cores."""
        self._batch = self._index.search(X, n, ef_search=self._ef_search)
        self._distance_computations += self._batch.stats["distance_computations"]

    def get_batch_results(self) -> list[np.ndarray]:
        """What the last batch_query found, an array a query."""
        return [ids[:count] for ids, count in zip(self._batch.ids, self._batch.counts, strict=True)]

    def get_additional(self) -> dict[str, Any]:
        """Distance computations of all queries since set_query_arguments."""
        return {"dist_comps": self._distance_computations}

    def __str__(self) -> str:
        return self.name
