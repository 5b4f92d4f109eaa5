"""The process in which one index is built and measured with filters; requests as in :mod:`..process`."""

from __future__ import annotations

import json
import os
import shutil
import time
from hashlib import blake2b
from itertools import repeat
from pathlib import Path
from typing import cast

import numpy as np

from annlib.datasets import read_hdf5

from ..peers.base import Array
from ..process import Report, one_by_one, serve, thread_limit, together, version
from ..sweeps import Params
from ..worker import Measurement
from .peers.base import Filtered
from .workload import content_key, read


class FilteredMeasurement(Measurement):
    """One peer, its columns, and the buckets that it is asked."""

    def open(
        self,
        report: Report,
        *,
        dataset: str,
        workload: str,
        folder: str,
        name: str,
        requires: str,
        params: Params,
    ) -> None:
        """Read the buckets. What is built next is kept in `folder`, or taken from there if it is there."""
        data = read_hdf5(dataset)
        work = read(data, Path(workload))
        self._columns, self._buckets = work.columns, {bucket.name: bucket for bucket in work.buckets}
        digest = blake2b(json.dumps([params, version(requires)]).encode(), digest_size=8).hexdigest()
        self._kept = Path(folder, f"{name}-{content_key(data)}-{digest}")

    def construct(self, train: Array, report: Report) -> None:
        peer = self._filtered
        peer.take(self._columns)
        if self._kept.exists():
            peer.load(self._kept)
            return
        super().construct(train, report)
        part = self._kept.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        peer.save(part)
        if part.exists():
            os.replace(part, self._kept)

    def visit(
        self, report: Report, *, bucket: str, search: Params, k: int, mode: str, seconds: float, out: str
    ) -> None:
        """Ask the queries of a bucket once; `out` takes neighbours, times and cores.

        In mode "single" for about `seconds` at most: answers and times are then of the first queries.
        """
        peer, asked = self._filtered, self._buckets[bucket]
        queries = self.queries[asked.rows]
        with thread_limit(1):
            peer.set_search(**search)
            # A library is measured in the midst of its work: what it does once is done, and caches hold what searches
            # of this kind use, and not what the library before it did. Other vectors, for answers are to be looked for.
            others = np.roll(queries, 1, axis=0)
            one_by_one(peer.search_where, zip(others, repeat(k), asked.predicates, strict=False), k, seconds)
            peer.forget()
            cpu, start = time.process_time(), time.perf_counter()
            if mode == "single":
                arguments = ((query, k, one) for query, one in zip(queries, asked.predicates, strict=True))
                neighbors, times = one_by_one(peer.search_where, arguments, k, seconds)
            else:
                neighbors, times = together(peer.search_each, (queries, k, asked.predicates), k)
            wall = time.perf_counter() - start
            np.savez(out, neighbors=neighbors, times=times, cores=(time.process_time() - cpu) / wall)

    @property
    def _filtered(self) -> Filtered:
        return cast("Filtered", self.peer)


def main() -> None:
    """Measure filtered searches."""
    serve(FilteredMeasurement())
