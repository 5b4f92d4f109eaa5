"""The processes in which an index on disk is built, and in which it is searched; requests as in :mod:`..process`.

Needs numpy alone, for a peer may have an interpreter of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import cast

import numpy as np

from ..peers import Entry
from ..peers.base import files_bytes
from ..process import Report, one_by_one, peak_bytes, restart_peak, serve, thread_limit, together, version
from ..sweeps import Params
from . import host
from .peers.base import DiskPeer
from .rows import Rows

_ACCOUNT = "built.json"


@dataclass
class Counts:
    """What has been read so far: blocks by the library's count, bytes by the process, reads by the device."""

    reads: int | None
    read_bytes: int | None
    device_reads: int | None

    def since(self, earlier: Counts, queries: int) -> dict[str, float | None]:
        """The same for a query, on average."""
        now, then = vars(self), vars(earlier)
        return {
            name: None if now[name] is None or then[name] is None else (now[name] - then[name]) / queries
            for name in now
        }


class DiskMeasurement:
    """One peer with the folder that its index is kept in."""

    def take(
        self,
        report: Report,
        *,
        name: str,
        entry: Params,
        params: Params,
        metric: str,
        rows: str,
        folder: str,
        memory: int,
        build_memory: int,
        threads: int,
    ) -> None:
        """Import the library and say where its index is to be."""
        description = Entry(**entry)
        cls = cast("type[DiskPeer]", description.load())
        self._version = version(description.requires)
        given = {**params, **description.fixed}
        identity = [given, self._version, memory if cls.built_by_memory else 0]
        digest = blake2b(json.dumps(identity).encode(), digest_size=8).hexdigest()
        self._kept = Path(folder, f"{name}-{digest}")
        self._peer = cls(metric, Rows(Path(rows)), self._kept, memory, build_memory, threads, given)
        self._threads = threads

    def build(self, report: Report) -> Params:
        """Build the index, or find it built: what that took, and the bytes of its files."""
        account = self._kept / _ACCOUNT
        if not account.exists():
            shutil.rmtree(self._kept, ignore_errors=True)
            part = self._kept.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            self._peer.folder = part
            baseline = restart_peak()
            with thread_limit(self._threads):
                start = time.perf_counter()
                self._peer.build(report)
                seconds = time.perf_counter() - start
            built = {
                "build_seconds": seconds,
                "peak_rss_bytes": max(0, peak_bytes() - baseline),
                "index_bytes": files_bytes(os.fspath(part)),
                "build_threads": self._threads,
                "version": self._version,
            }
            (part / _ACCOUNT).write_text(json.dumps(built))
            os.replace(part, self._kept)
        return cast("Params", json.loads(account.read_text()))

    def visit(
        self,
        report: Report,
        *,
        queries: str,
        asked: int,
        warm: int,
        search: Params,
        k: int,
        threads: int,
        seconds: float,
        out: str,
    ) -> Params:
        """Open the index with nothing of it in memory and ask every query once; `out` takes neighbours and times.

        The first `asked` queries of the file count; before them come `warm` others, for caches. On one thread, one
        query a call for about `seconds` at most: answers are then of the first queries. On more, all in one call.
        What was read is the mean of a query, ``memory_bytes`` the growth of this process to its peak.
        """
        vectors = np.load(queries)
        counted, others = vectors[:asked], vectors[asked : asked + warm]
        peer = self._peer
        host.drop_page_cache(self._kept)
        baseline = restart_peak()
        with thread_limit(threads):
            peer.open(threads)
            peer.set_search(**search)
            for query in others:
                peer.search_one(query, k)
            before = self._counts()
            cpu, start = time.process_time(), time.perf_counter()
            if threads == 1:
                found = one_by_one(peer.search_one, ((query, k) for query in counted), k, seconds)
            else:
                found = together(peer.search, (counted, k, threads), k)
            cores = (time.process_time() - cpu) / (time.perf_counter() - start)
            after = self._counts()
        neighbors, times = found
        np.savez(out, neighbors=neighbors, times=times)
        memory = max(0, peak_bytes() - baseline)
        return {"cores": cores, "memory_bytes": memory, **after.since(before, len(times))}

    def _counts(self) -> Counts:
        return Counts(self._peer.reads(), host.read_bytes(), host.device_reads(self._kept))


def main() -> None:
    """Measure an index on disk."""
    serve(DiskMeasurement())
