"""``python -m annlib_bench.churn``: an index on disk while its content changes, and after.

Half of a data set's rows are built; then, in steps, others come and as many of the old go, while another thread
searches. In the end recall is compared with that of a new build of what is there.
"""

from __future__ import annotations

import argparse
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import annlib
from annlib.datasets import exact_neighbors, read_hdf5
from annlib.spann_disk import DiskSPANNIndex

Array = NDArray[Any]

_K = 10


class Searcher:
    """A thread that searches for one query after another and notes how long each takes, in seconds."""

    def __init__(self, index: DiskSPANNIndex, queries: Array, nprobe: int) -> None:
        self.seconds: list[float] = []
        self._index, self._queries, self._nprobe = index, queries, nprobe
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set():
            start = time.perf_counter()
            self._index.search(self._queries[number % len(self._queries)], _K, nprobe=self._nprobe)
            self.seconds.append(time.perf_counter() - start)
            number += 1

    def __enter__(self) -> Searcher:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def percentiles(self) -> str:
        """p50 and p99 in milliseconds."""
        p50, p99 = np.percentile(self.seconds, [50, 99]) * 1e3
        return f"p50 {p50:.2f} ms, p99 {p99:.2f} ms of {len(self.seconds)} searches"


def recall_of(index: DiskSPANNIndex, queries: Array, nearest: Array, nprobe: int) -> float:
    """recall@10; `nearest` are ids."""
    found = index.search(queries, _K, nprobe=nprobe).ids
    return float(np.mean([len(np.intersect1d(a, b)) for a, b in zip(found, nearest, strict=True)])) / _K


def measure(args: argparse.Namespace) -> None:
    """Build, change, compare, and print a line for each."""
    data = read_hdf5(args.dataset)
    rows, queries = data.train.astype(np.float32), data.test[:1000].astype(np.float32)
    half = len(rows) // 2
    rng = np.random.default_rng(0)
    order = rng.permutation(len(rows))
    there, coming = order[:half], order[half:]
    shutil.rmtree(args.directory, ignore_errors=True)
    annlib.SPANNIndex.build(args.directory, rows[there], ids=there, metric=data.metric).close()  # type: ignore[attr-defined]
    with annlib.SPANNIndex.open(args.directory, cache=args.cache, fresh=args.fresh) as index:
        with Searcher(index, queries, args.nprobe) as idle:
            time.sleep(args.idle)
        print(f"idle: {idle.percentiles()}")
        step = max(1, half // 100)
        start = time.perf_counter()
        with Searcher(index, queries, args.nprobe) as busy:
            for _ in range(args.steps):
                fresh, coming = coming[:step], coming[step:]
                old, there = there[:step], np.concatenate([there[step:], fresh])
                index.add(rows[fresh], ids=fresh)
                index.delete(old)
                time.sleep(args.pause)
        seconds = time.perf_counter() - start
        print(f"{args.steps} steps of {step} added and deleted, {seconds:.1f} s: {busy.percentiles()}")
        assert sorted(index.ids.tolist()) == sorted(there.tolist()), "a vector was lost"
        exact, _ = exact_neighbors(rows[there], queries, data.metric, _K)
        nearest = there[exact]
        changed = recall_of(index, queries, nearest, args.nprobe)
        index.flush()
        merged = recall_of(index, queries, nearest, args.nprobe)
    shutil.rmtree(args.directory)
    annlib.SPANNIndex.build(args.directory, rows[there], ids=there, metric=data.metric).close()  # type: ignore[attr-defined]
    with annlib.SPANNIndex.open(args.directory, cache=args.cache) as index:
        anew = recall_of(index, queries, nearest, args.nprobe)
    shutil.rmtree(args.directory)
    print(f"recall@{_K}: {changed:.4f}, {merged:.4f} after a flush, {anew:.4f} built anew")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser("python -m annlib_bench.churn", description=__doc__.split("\n")[0])
    made.add_argument("--dataset", type=Path, required=True, metavar="FILE.hdf5")
    made.add_argument("--directory", default="churn", help="made anew and removed (default: %(default)s)")
    made.add_argument("--cache", default="16MiB")
    made.add_argument("--fresh", default="8MiB", help="that makes a merge due (default: %(default)s)")
    made.add_argument("--nprobe", type=int, default=12)
    made.add_argument("--steps", type=int, default=50, help="of a hundredth of what is there")
    made.add_argument("--pause", type=float, default=0.2, metavar="SECONDS", help="after each step")
    made.add_argument("--idle", type=float, default=5.0, metavar="SECONDS")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Run with the given arguments, or the process's."""
    measure(parser().parse_args(arguments))


if __name__ == "__main__":
    main()
