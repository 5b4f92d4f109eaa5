"""One line at one bucket: what the harness records, judged by the exact answers among the rows that pass."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from annlib.datasets import Dataset

from .. import metrics
from ..results import OWN_ATTRIBUTE, Record, read_all
from .predicate import Array, Columns
from .workload import Bucket


@dataclass
class FilteredRecord(Record):
    """A :class:`..results.Record` of one bucket, whose name ends that of the data set.

    ``recall`` is against min(k, matches), ``returned`` the mean share of min(k, matches) that came at all.
    ``selectivity`` and ``lift`` are the bucket's. ``asked`` is of how many queries, the bucket's first ones
    where time was short.
    """

    kind: str = ""
    correlation: str = ""
    selectivity: float = 0.0
    lift: float = 0.0
    returned: float = 0.0
    asked: int = 0

    def judge(self, truth: Truth, neighbors: Array) -> None:
        """Take the answers (q, k)."""
        self.neighbors, self.distances = truth.passing(neighbors)
        self.asked = count = len(neighbors)
        right = (self.distances <= truth.limits[:count, None]).sum(axis=1)
        real = (self.neighbors >= 0).sum(axis=1)
        self.recall = float((right / truth.wanted[:count]).mean())
        self.returned = float((real / truth.wanted[:count]).mean())


def read(root: Path) -> list[FilteredRecord]:
    """The records of filtered searches under `root`; other files are named in a warning, OSError for no folder."""

    def read_record(file: Any) -> FilteredRecord:
        summary = json.loads(file.attrs[OWN_ATTRIBUTE])
        if not summary.get("kind"):
            raise ValueError("of a search without filters")
        return FilteredRecord(**summary)

    return read_all(root, read_record)


class Truth:
    """The exact answers of one bucket.

    Attributes
    ----------
    wanted : ndarray, shape (q,)
        min(k, matches).
    limits : ndarray, shape (q,)
        The largest distance of a right answer.
    """

    def __init__(self, dataset: Dataset, columns: Columns, bucket: Bucket, k: int) -> None:
        # As a data set of its own, so that the figures are computed as without filters.
        self._dataset = replace(dataset, test=dataset.test[bucket.rows], neighbors=bucket.neighbors)
        self._columns, self._bucket = columns, bucket
        self.wanted = np.minimum(k, bucket.matches)
        self.limits = metrics.thresholds(self._dataset, len(bucket.rows), k)

    def passing(self, neighbors: Array) -> tuple[Array, Array]:
        """The answers to the first queries and their distances, -1 and infinity for repeats and what does not pass."""
        result = metrics.without_repeats(neighbors)
        for ids, predicate in zip(result, self._bucket.predicates, strict=False):
            ids[~self._columns.mask(predicate)[ids]] = -1
        return result, metrics.answer_distances(self._dataset, result)
