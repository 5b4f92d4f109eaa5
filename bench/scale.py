"""``python -m annlib_bench.scale``: what an index of many rows takes to build, in memory, and to search.

Rows are made here, so that any size can be measured without a file: clusters in each of which the data spreads over few
dimensions, as in embeddings. One process does all of it, hence the peak of its memory covers rows, build and index.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import annlib
from annlib.datasets import exact_neighbors

Array = NDArray[Any]

_BLOCK_ROWS = 4096
_ROWS_A_CLUSTER = 1000


def clustered_source(dim: int, clusters: int, spread: int, seed: int = 0) -> Callable[[int], Array]:
    """What draws rows of float32, shape (n, dim), anew at each call.

    Each cluster has a centre and `spread` directions of its own, on which rows are normal with ever smaller deviations;
    in all others they differ by a twentieth. The intrinsic dimension is hence `spread` at most.
    """
    rng = np.random.default_rng(seed)
    centres = np.float32(0.5) * rng.standard_normal((clusters, dim), np.float32)  # so that clusters overlap
    scales = np.linspace(1.0, 0.2, spread, dtype=np.float32)[:, None]
    directions = scales * rng.standard_normal((clusters, spread, dim), np.float32) / np.float32(spread**0.5)

    def draw(n: int) -> Array:
        rows = 0.05 * rng.standard_normal((n, dim), np.float32)
        cluster = rng.integers(0, clusters, n)
        rows += centres[cluster]
        rows += np.einsum("ns,nsd->nd", rng.standard_normal((n, spread), np.float32), directions[cluster])
        return rows

    return draw


def peak_bytes() -> int:
    """The most memory that this process has had resident."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def measure(args: argparse.Namespace) -> None:
    """Build, search at each effort, and print a line for each step."""
    draw = clustered_source(
        args.dim, max(1, args.rows // _ROWS_A_CLUSTER), min(args.spread, args.dim), args.seed
    )
    queries = draw(args.queries)
    rows = np.empty((args.rows, args.dim), np.float32)
    for start in range(0, args.rows, _BLOCK_ROWS):
        part = rows[start : start + _BLOCK_ROWS]
        part[:] = draw(len(part))
    print(
        f"rows: {args.rows:,} x {args.dim} float32, {rows.nbytes / 1e9:.2f} GB; peak {peak_bytes() / 1e9:.2f} GB"
    )

    start_time = time.perf_counter()
    index = annlib.HNSWIndex.build(
        rows,
        metric=args.metric,
        M=args.M,
        ef_construction=args.ef_construction,
        codec=args.codec,
        progress=args.progress,
    )
    seconds = time.perf_counter() - start_time
    print(
        f"built: {seconds:.1f} s, {args.rows / seconds:,.0f} rows/s, index "
        f"{index.stats()['memory_bytes'] / 1e9:.2f} GB; peak {peak_bytes() / 1e9:.2f} GB"
    )

    neighbours, _ = exact_neighbors(rows, queries, args.metric, args.k)
    print(f"{'ef_search':>9}  recall@{args.k:<2}  {'QPS':>8}  one query a call, one thread")
    for ef in args.ef_search:
        best = 0.0
        for _ in range(args.rounds):
            start_time = time.perf_counter()
            found = [index.search(query, args.k, ef_search=ef).ids for query in queries]
            best = max(best, len(queries) / (time.perf_counter() - start_time))
        hits = sum(len(np.intersect1d(a, b)) for a, b in zip(found, neighbours, strict=True))
        print(f"{ef:>9}  {hits / neighbours.size:9.4f}  {best:8,.0f}")
    print(f"peak of all: {peak_bytes() / 1e9:.2f} GB")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser("python -m annlib_bench.scale", description=__doc__.split("\n")[0])
    made.add_argument("--rows", type=int, default=1_000_000)
    made.add_argument("--dim", type=int, default=128)
    made.add_argument(
        "--spread", type=int, default=16, help="directions in which a cluster spreads (default 16)"
    )
    made.add_argument("--metric", default="l2", choices=sorted(annlib.list_metrics()))
    made.add_argument("--codec", default="auto", choices=annlib.list_codecs())
    made.add_argument("--M", type=int, default=16)
    made.add_argument("--ef-construction", type=int, default=200)
    made.add_argument("--ef-search", type=int, nargs="+", default=[16, 32, 64, 128, 256])
    made.add_argument("--k", type=int, default=10)
    made.add_argument("--queries", type=int, default=200)
    made.add_argument("--rounds", type=int, default=5, help="the fastest counts (default 5)")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--progress", action="store_true", help="show a bar while building")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Run with the given arguments, or the process's."""
    measure(parser().parse_args(arguments))


if __name__ == "__main__":
    main()
