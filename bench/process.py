"""What the processes have in common in which indexes are built and measured: requests, threads, memory, the clock.

Started by :mod:`.client`. Requests come as lines of JSON on standard input, ``{"op": ..., ...}``; every one
is answered by any number of ``{"progress": [done, total]}`` and one ``{"result": ...}`` or ``{"error": ...}``
line on standard output. What the library itself prints goes to standard error. Needs numpy alone, for such a process
may be one of another interpreter.
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

from .peers.base import Array

Report = Callable[[int, int], None]


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


def peak_bytes() -> int:
    """Largest resident size so far; on Linux since the last :func:`restart_peak`."""
    scale = 1 if sys.platform == "darwin" else 1024
    return _status_bytes("VmHWM:") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def restart_peak() -> int:
    """Let the peak start from the present resident size, which is returned (see proc(5), clear_refs)."""
    gc.collect()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _status_bytes("VmRSS:") or peak_bytes()


def version(module: str) -> str:
    """Of the package that brings `module`; "unknown" where none does."""
    names = importlib.metadata.packages_distributions().get(module, [])
    return next((importlib.metadata.version(name) for name in names), "unknown")
