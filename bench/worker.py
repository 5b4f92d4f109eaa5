"""The process in which one index of one library is built and measured.

Started by :mod:`.client`. Requests come as lines of JSON on standard input, ``{"op": ..., ...}``; every one
is answered by any number of ``{"progress": [done, total]}`` and one ``{"result": ...}`` or ``{"error": ...}``
line on standard output. What the library itself prints goes to standard error.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.metadata
import json
import math
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from annlib.datasets import read_hdf5

from .peers import Entry
from .peers.base import Array, Peer, unit
from .sweeps import Params

Report = Callable[[int, int], None]


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
        baseline = _restart_peak()
        with thread_limit(threads):
            start = time.perf_counter()
            self.construct(train, report)
            seconds = time.perf_counter() - start
        peak = _peak_bytes() - baseline
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


def one_by_one(
    search: Callable[..., Array], arguments: Iterable[tuple[Any, ...]], k: int, seconds: float = math.inf
) -> tuple[Array, Array]:
    """One query a call, as ann-benchmarks measures: row numbers (q, k), and seconds of every call.

    Ends with the query during which `seconds` are over.
    """
    clock = time.perf_counter
    found, times = [], []
    end = clock() + seconds
    for query in arguments:
        start = clock()
        ids = search(*query)
        stop = clock()
        times.append(stop - start)
        found.append(ids)
        if stop > end:
            break
    return padded(found, k), np.array(times)


def together(
    search: Callable[..., Sequence[Array] | Array], arguments: tuple[Any, ...], k: int
) -> tuple[Array, Array]:
    """All queries in one call; the seconds of one query are the mean."""
    start = time.perf_counter()
    found = search(*arguments)
    seconds = time.perf_counter() - start
    return padded(found, k), np.full(len(found), seconds / max(1, len(found)))


def padded(found: Any, k: int) -> Array:
    result = np.full((len(found), k), -1, dtype=np.int64)
    for row, ids in zip(result, found, strict=True):
        row[: len(ids)] = ids
    return result


def _as_taken(cls: type[Peer], vectors: Array, metric: str, native: bool) -> Array:
    """The vectors as the library is to have them: float32, unless it takes the file's own type."""
    if metric == "cosine" and cls.unit_for_cosine:
        return unit(vectors.astype(np.float32))
    keep = native and str(vectors.dtype) in cls.dtypes
    return np.ascontiguousarray(vectors, dtype=vectors.dtype if keep else np.float32)


def thread_limit(threads: int) -> Any:
    """OpenMP and BLAS of every loaded library at `threads`, where threadpoolctl is there."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return contextlib.nullcontext()
    return threadpool_limits(threads)


def _status_bytes(key: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(key)), None)


def _peak_bytes() -> int:
    """Largest resident size so far; on Linux since the last :func:`_restart_peak`."""
    scale = 1 if sys.platform == "darwin" else 1024
    return _status_bytes("VmHWM:") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def _restart_peak() -> int:
    """Let the peak start from the present resident size, which is returned (see proc(5), clear_refs)."""
    gc.collect()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _status_bytes("VmRSS:") or _peak_bytes()


def version(module: str) -> str:
    """Of the package that brings `module`; "unknown" where none does."""
    names = importlib.metadata.packages_distributions().get(module, [])
    return next((importlib.metadata.version(name) for name in names), "unknown")


def main() -> None:
    """Measure searches."""
    serve(Measurement())


def serve(measurement: object) -> None:
    """Answer requests with the methods of `measurement` that they name, until standard input ends."""
    # Libraries print to file descriptor 1, so the answers get a descriptor that no library knows.
    with os.fdopen(os.dup(1), "w", buffering=1) as answers:
        os.dup2(2, 1)

        def report(done: int, total: int) -> None:
            print(json.dumps({"progress": [done, total]}), file=answers)

        for line in sys.stdin:
            request = json.loads(line)
            try:
                answer = {"result": getattr(measurement, request.pop("op"))(report, **request)}
            except Exception as error:
                # One line: some libraries print their arguments, the vectors among them.
                answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
            print(json.dumps(answer), file=answers)
