"""The process in which one index of one library is built and measured; requests as in :mod:`.process`."""

from __future__ import annotations

import gc
import time
from pathlib import Path

import numpy as np

from annlib.datasets import read_hdf5

from .peers import Entry
from .peers.base import Array, Peer, unit
from .process import (
    Report,
    one_by_one,
    peak_bytes,
    restart_peak,
    serve,
    thread_limit,
    together,
    version,
)
from .sweeps import Params


class Measurement:
    """One peer from its data to its measurements; the methods named like requests answer them."""

    def __init__(self) -> None:
        self.peer: Peer
        self.queries: Array
        self.threads = 1

    def build(
        self,
        report: Report,
        *,
        dataset: str,
        entry: Params,
        params: Params,
        threads: int,
        queries: int | None,
        native: bool,
    ) -> Params:
        """Import the library, read the data, build: seconds, and the growth of this process to its peak."""
        description = Entry(**entry)
        cls, data = description.load(), read_hdf5(dataset)
        self.threads = threads
        self.peer = cls(data.metric, data.train.shape[1], threads, {**params, **description.fixed})
        train, self.queries = (
            _as_taken(cls, v, data.metric, native) for v in (data.train, data.test[:queries])
        )
        del data
        baseline = restart_peak()
        with thread_limit(threads):
            start = time.perf_counter()
            self.construct(train, report)
            seconds = time.perf_counter() - start
        peak = peak_bytes() - baseline
        del train
        gc.collect()
        return {
            "build_seconds": seconds,
            "peak_rss_bytes": max(0, peak),
            "index_bytes": self.peer.index_bytes(),
            "version": version(description.requires),
        }

    def construct(self, train: Array, report: Report) -> None:
        """Let the peer have its vectors."""
        self.peer.build(train, report)

    def count(self, report: Report, *, search: list[Params], k: int) -> list[float | None]:
        """Distances per query at every setting, None where the library does not tell."""
        counts = []
        with thread_limit(1):
            for setting in search:
                self.peer.set_search(**setting)
                counts.append(self.peer.distance_computations(self.queries, k))
        return counts

    def round(
        self, report: Report, *, search: list[Params], k: int, modes: list[str], out: str
    ) -> list[list[str]]:
        """Visit every setting once; ``out/<setting>-<mode>.npz`` takes its neighbours and times."""
        measure = {"single": self._single, "batch": self._batch}
        written = []
        with thread_limit(1):
            for number, setting in enumerate(search):
                self.peer.set_search(**setting)
                files = [str(Path(out, f"{number}-{mode}.npz")) for mode in modes]
                for mode, file in zip(modes, files, strict=True):
                    cpu, start = time.process_time(), time.perf_counter()
                    neighbors, times = measure[mode](k)
                    wall = time.perf_counter() - start
                    np.savez(file, neighbors=neighbors, times=times, cores=(time.process_time() - cpu) / wall)
                written.append(files)
                report(number + 1, len(search))
        return written

    def _single(self, k: int) -> tuple[Array, Array]:
        return one_by_one(self.peer.search_one, ((query, k) for query in self.queries), k)

    def _batch(self, k: int) -> tuple[Array, Array]:
        return together(self.peer.search, (self.queries, k), k)


def _as_taken(cls: type[Peer], vectors: Array, metric: str, native: bool) -> Array:
    """The vectors as the library is to have them: float32, unless it takes the file's own type."""
    if metric == "cosine" and cls.unit_for_cosine:
        return unit(vectors.astype(np.float32))
    keep = native and str(vectors.dtype) in cls.dtypes
    return np.ascontiguousarray(vectors, dtype=vectors.dtype if keep else np.float32)


def main() -> None:
    """Measure searches."""
    serve(Measurement())
