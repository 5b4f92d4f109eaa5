"""The command ``annlib``: build, search, info, verify, tune, report, bench and demo.

Exit status: 0 for success, 1 where the work failed (one line on standard error says why), 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

import annlib

from . import datasets, demo
from ._progress import bar_is_seen
from ._tables import print_table
from .spann_disk import DiskSPANNIndex

#: Recalls that ``tune`` shows the effort of.
_TARGETS = (0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command; every command sets ``run``, a function of its namespace."""
    parser = _Parser(prog="annlib", description="Approximate nearest neighbours in files of vectors.")
    parser.add_argument("--traceback", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        sub.set_defaults(run=run)
        return sub

    _build_arguments(command("build", _build, "build an index over a file of vectors and save it"))
    _search_arguments(command("search", _search, "find the nearest neighbours of a file of queries"))
    info = command("info", _info, "show what an index file holds")
    info.add_argument("index", type=Path)
    info.add_argument("--json", action="store_true", help="machine-readable")
    verify = command(
        "verify", _verify, "check an index file; exit status 1 and the damage where it is corrupt"
    )
    verify.add_argument("index", type=Path)
    tune = command("tune", _tune, "measure the effort that each recall needs and store it in the file")
    tune.add_argument("index", type=Path)
    tune.add_argument("--queries", metavar="FILE", help="like those to come (default: a sample of the index)")
    tune.add_argument("-k", "--k", type=int, default=10, help="neighbours (default: %(default)s)")
    tune.add_argument("--threads", type=int, help="(default: all cores)")
    report = command("report", _report, "tell how far queries are from an index's data, and what is found")
    report.add_argument("index", type=Path)
    report.add_argument("queries", help=".npy, .fvecs, .bvecs, or .hdf5 (its array test)")
    report.add_argument("-k", "--k", type=int, default=10, help="neighbours (default: %(default)s)")
    report.add_argument("--ef-search", type=int, metavar="N", help="effort")
    report.add_argument("--threads", type=int, help="(default: all cores)")
    _bench_arguments(command("bench", _bench, "measure annlib beside other libraries"))
    demo.add_arguments(
        command("demo", demo.run, "search 10,000 arXiv papers, no network and no files needed")
    )
    return parser


def _build_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "vectors", help=".npy, .fvecs, .bvecs, .parquet, or .hdf5 (its array train); FILE::NAME takes another"
    )
    add("-o", "--output", type=Path, required=True, metavar="PATH", help="file, or directory of spann-disk")
    add(
        "--kind",
        choices=("hnsw", "spann", "spann-disk", "flat"),
        default="hnsw",
        help="(default: %(default)s)",
    )
    add("--metric", help="l2, ip or cosine (default: that of an .hdf5 file, else l2)")
    add("--ids", metavar="FILE.npy", help="integers or strings, one a vector (default: 0, 1, 2 …)")
    add("--M", type=int, default=16, help="edges a node and level (default: %(default)s)")
    add("--ef-construction", type=int, default=200, help="effort of the build (default: %(default)s)")
    add("--list-size", type=int, help="vectors of a posting list (default: 128; spann-disk: 64)")
    add("--replicas", type=int, help="posting lists of a vector (default: 2; spann-disk: 4)")
    add("--memory-budget", default="2GiB", help="of building spann-disk (default: %(default)s)")
    add("--codec", help="how searches see vectors, as int8 or rabitq:2 (default: auto; flat: the vectors)")
    add("--no-keep-vectors", dest="keep_vectors", action="store_false", help="keep their codes alone")
    add("--layout", default="auto", help="of the graph: plain or fused (default: %(default)s)")
    add("--dtype", help="type to store (default: that of the file)")
    add("--seed", type=int, default=0, help="(default: %(default)s)")
    add("--threads", type=int, help="(default: all cores)")
    add("--quiet", action="store_true", help="no progress bar")


def _search_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("index", type=Path)
    add("queries", help=".npy, .fvecs, .bvecs, or .hdf5 (its array test)")
    add("-k", "--k", type=int, default=10, help="neighbours (default: %(default)s)")
    effort = parser.add_mutually_exclusive_group()
    effort.add_argument("--ef-search", type=int, metavar="N", help="effort; of posting lists: how many")
    effort.add_argument("--recall", type=float, metavar="R", help="a recall to reach, such as 0.95")
    add("--filter-ids", metavar="FILE.npy", help="only these ids, or a boolean mask of the rows")
    add("-o", "--output", type=Path, metavar="FILE.npz", help="ids, distances and counts (default: a table)")
    add("--threads", type=int, help="(default: all cores)")
    add("--mmap", action="store_true", help="map the file in place of reading it")


def _bench_arguments(parser: argparse.ArgumentParser) -> None:
    from annlib_bench import command

    command.add_arguments(parser)


def _bench(args: argparse.Namespace) -> int:
    from annlib_bench import command

    return int(command.run(args))


def _build(args: argparse.Namespace) -> int:
    ids = None if args.ids is None else _read_ids(args.ids)
    metric = args.metric or datasets.file_metric(args.vectors) or "l2"
    start = time.perf_counter()
    exact = args.kind == "flat" and args.keep_vectors
    codec = args.codec or ("float32" if exact else "auto")
    index: annlib.Index
    if args.kind == "flat":
        index = annlib.FlatIndex.build(
            args.vectors,
            ids,
            metric=metric,
            codec=codec,
            keep_vectors=args.keep_vectors,
            threads=args.threads,
        )
    elif args.kind in ("spann", "spann-disk"):
        if not args.keep_vectors or (args.kind == "spann" and args.codec is not None):
            raise ValueError(
                "posting lists keep the vectors, and in memory have codes of their own: no --no-keep-vectors, and "
                "--codec only for spann-disk"
            )
        index = annlib.SPANNIndex.build(
            args.output if args.kind == "spann-disk" else None,
            args.vectors,
            ids,
            metric=metric,
            list_size=args.list_size,
            replicas=args.replicas,
            codec=codec,
            memory_budget=args.memory_budget,
            dtype=args.dtype,
            seed=args.seed,
            threads=args.threads,
            progress=not args.quiet and bar_is_seen(),
        )
    else:
        index = annlib.HNSWIndex.build(
            args.vectors,
            ids,
            metric=metric,
            M=args.M,
            ef_construction=args.ef_construction,
            codec=codec,
            keep_vectors=args.keep_vectors,
            layout=args.layout,
            dtype=args.dtype,
            seed=args.seed,
            threads=args.threads,
            progress=not args.quiet and bar_is_seen(),
        )
    seconds = time.perf_counter() - start
    if isinstance(index, DiskSPANNIndex):
        size = index.stats()["disk_bytes"]
        shown = repr(index)
        index.close()
    else:
        index.save(args.output)
        size, shown = args.output.stat().st_size, repr(index)
    print(f"{args.output}: {shown}, {size:,} bytes, built in {seconds:.1f} s")
    return 0


def _read_ids(path: str) -> NDArray[Any]:
    return np.asarray(np.load(path, allow_pickle=False))


def _search(args: argparse.Namespace) -> int:
    index = annlib.load(args.index, mmap=args.mmap)
    queries = np.atleast_2d(datasets.read_vectors(args.queries, key="test"))
    found = index.search(
        queries,
        args.k,
        ef_search=args.ef_search,
        recall=args.recall,
        filter=None if args.filter_ids is None else _read_ids(args.filter_ids),
        threads=args.threads,
    )
    if args.output is not None:
        ids = found.ids
        if ids.dtype == object:
            # String ids: as a type that loads without pickle, and "" where there is no answer.
            ids = ids.astype(str)
            ids[np.arange(ids.shape[1]) >= found.counts[:, None]] = ""
        with open(args.output, "wb") as file:
            np.savez(file, ids=ids, distances=found.distances, counts=found.counts)
        print(f"{args.output}: ids, distances and counts of {len(queries)} queries")
        return 0
    shown, width = 20, 10
    rows = [
        [row, *(f"{i} ({d:.4g})" for i, d in zip(ids[: min(count, width)], distances, strict=False))]
        for row, (ids, distances, count) in enumerate(
            zip(found.ids[:shown], found.distances, found.counts, strict=False)
        )
    ]
    columns = max(map(len, rows), default=1)
    table = [row + [""] * (columns - len(row)) for row in rows]
    print_table(["query", *map(str, range(1, columns))], table, "id (distance), nearest first")
    if len(queries) > shown or args.k > width:
        print(f"the first of {len(queries)} queries and {args.k} neighbours; -o FILE.npz takes all")
    return 0


def _info(args: argparse.Namespace) -> int:
    content = annlib.info(args.index)
    if args.json:
        print(json.dumps(content, indent=1, default=str))
        return 0
    sections = content.pop("sections")
    print_table(["property", "value"], [[key, str(value)] for key, value in content.items()], str(args.index))
    columns = ["name", "dtype", "shape", "offset", "length"]
    rows = [[section[column] for column in columns] for section in sections]
    print_table(columns, rows, "sections")
    return 0


def _verify(args: argparse.Namespace) -> int:
    problems = annlib.verify(args.index)
    for problem in problems:
        print(f"annlib verify: {args.index}: {problem}", file=sys.stderr)
    if not problems:
        print(f"{args.index}: ok")
    return 1 if problems else 0


def _tune(args: argparse.Namespace) -> int:
    index = annlib.load(args.index)
    if isinstance(index, annlib.FlatIndex):
        raise ValueError(f"{args.index}: {type(index).__name__} is exact, there is nothing to tune")
    assert isinstance(index, (annlib.HNSWIndex, annlib.SPANNIndex))
    queries = None if args.queries is None else datasets.read_vectors(args.queries, key="test")
    found = index.calibrate(queries, args.k, threads=args.threads)
    if isinstance(index, DiskSPANNIndex):
        index.flush()
        index.close()
    else:
        index.save(args.index)
    effort = "nprobe" if isinstance(index, annlib.SPANNIndex) else "ef_search"
    columns = [effort, f"recall@{args.k}", "distances a query"]
    points = zip(found.ef, found.recall, found.distances, strict=True)
    print_table(columns, [list(point) for point in points], "measured")
    reached = [target for target in _TARGETS if target <= max(found.recall)]
    print_table(["recall", effort], [[target, found.ef_for(target)] for target in reached], "stored")
    print(f"{args.index}: calibrated for k = {args.k}")
    return 0


def _report(args: argparse.Namespace) -> int:
    index = annlib.load(args.index)
    if not isinstance(index, annlib.HNSWIndex):
        why = "is exact" if isinstance(index, annlib.FlatIndex) else "has no graph"
        raise ValueError(f"{args.index}: {type(index).__name__} {why}, there is nothing to report on")
    queries = datasets.read_vectors(args.queries, key="test")
    print(index.report(queries, args.k, args.ef_search, threads=args.threads))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status (wrong usage and ``--help`` raise SystemExit)."""
    args = build_parser().parse_args(argv)
    try:
        return int(args.run(args))
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if args.traceback:
            raise
        # str() of a KeyError is the repr of its message.
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        text = " ".join(str(message).split()) or type(error).__name__
        print(f"annlib: {text}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
