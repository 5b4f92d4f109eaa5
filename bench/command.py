"""``annlib bench``: its options, and from them to files, tables and plots."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from annlib import datasets
from annlib._progress import bar_is_seen
from annlib._tables import print_table

from .disk.peers import DISK
from .filtered.peers import FILTERED
from .peers import PEERS, Entry, select

if TYPE_CHECKING:
    from .results import Record

DEFAULT_PEERS = "annlib,annlib-float32,faiss-hnsw,hnswlib"
DEMO = "demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the options of the benchmark."""
    add = parser.add_argument
    add("--dataset", metavar="NAME|FILE", help="demo, a .hdf5 file, or an ann-benchmarks set (default: demo)")
    add(
        "--peers",
        help=f"comma-separated, or all: {', '.join(PEERS)} (default: {DEFAULT_PEERS}); "
        f"with --filtered {', '.join(FILTERED)}, with --disk {', '.join(DISK)} (default for both: all)",
    )
    add("--k", type=int, default=10, help="neighbours (default: %(default)s)")
    add("--out", type=Path, default=Path("results"), metavar="DIR", help="(default: %(default)s)")
    add(
        "--data",
        type=Path,
        default=Path("data"),
        metavar="DIR",
        help="of downloads, and of what --filtered and --disk keep (default: %(default)s)",
    )
    add("--runs", type=int, default=3, help="rounds, of which the best counts (default: %(default)s)")
    add("--sweep", choices=("quick", "default", "full"), default="default", help="(default: %(default)s)")
    add("--grid", type=Path, metavar="FILE.json", help='{"PEER": {"build": [{...}], "search": [{...}]}}')
    add(
        "--mode",
        choices=("single", "batch", "both"),
        default="both",
        help="queries a call (default: %(default)s)",
    )
    add("--queries", type=int, metavar="N", help="only the first N queries; of each bucket with --filtered")
    add(
        "--interleave",
        action="store_true",
        help="alternate the rounds of all indexes, against noisy machines",
    )
    add("--native-dtype", action="store_true", help="float16, int8 and uint8 files go in as they are")
    add("--threads", type=int, default=_cpus(), help="for builds (default: %(default)s)")
    add(
        "--timeout",
        type=float,
        default=3600,
        metavar="SECONDS",
        help="a build or round (default: %(default)s)",
    )
    add("--ratio-to", metavar="PEER", help="add ratios of QPS to this peer")
    add("--from", dest="source", type=Path, metavar="DIR", help="show the results in DIR, measure nothing")
    add("--quiet", action="store_true", help="no progress bars")
    filtered = parser.add_argument_group(
        "filtered search",
        "of the options above --sweep, --grid, --mode, --interleave, --native-dtype and --ratio-to are of no use here",
    ).add_argument
    filtered("--filtered", action="store_true", help="queries with predicates, in buckets")
    filtered(
        "--buckets", metavar="PARTS", help="only those with one of these comma-separated parts in their names"
    )
    filtered(
        "--batch",
        type=int,
        nargs="?",
        const=10_000,
        default=0,
        metavar="N",
        help="in their place, N queries with 100 different predicates in one call (default: 10000)",
    )
    _add_disk_arguments(parser)
    parser.add_argument(
        "--seconds",
        type=float,
        metavar="S",
        help="a library may spend on a bucket of --filtered (default: 3) or a setting of --disk (default: 30); "
        "it is asked fewer queries if it needs longer",
    )


def _add_disk_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group(
        "indexes on disk", "of the options above --mode, --interleave and --native-dtype are of no use here"
    ).add_argument
    add("--disk", action="store_true", help="indexes on disk, searched with little memory")
    add("--synthetic", type=int, metavar="N", help="in place of a data set, N clustered rows of 128 float32")
    add(
        "--memory",
        default="0.1,0.25",
        metavar="SHARES",
        help="of the vectors' bytes, that may be held in memory (default: %(default)s)",
    )
    add("--search-threads", default="1,2", metavar="NUMBERS", help="(default: %(default)s)")
    add(
        "--warm",
        type=int,
        default=500,
        metavar="N",
        help="other queries asked before those that are timed (default: %(default)s)",
    )
    add(
        "--build-memory",
        type=float,
        default=4.0,
        metavar="GIB",
        help="that a build may hold, for libraries that can keep to that (default: %(default)s)",
    )
    add(
        "--python",
        action="append",
        default=[],
        metavar="PEER=PATH",
        help="an interpreter for a peer that needs its own, with that library and numpy installed",
    )


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(args: argparse.Namespace) -> int:
    """Do what the options say; the exit status is 1 where an index failed."""
    # Here and not above: --help has to work without h5py.
    if args.filtered:
        from .filtered import command as filtered

        return filtered.run(args)
    if args.disk:
        from .disk import command as disk

        return disk.run(args)
    from . import report, results

    if args.source is not None:
        dataset = datasets.read_hdf5(dataset_path(args.dataset, args.data)) if args.dataset else None
        records, failures = results.read(args.source, dataset), dict[str, str]()
        if not records:
            raise ValueError(f"{args.source}: no results")
    else:
        records, failures = _measure(args)
    for title, group in report.groups(records).items():
        columns, rows = report.table(group, args.ratio_to)
        print_table(columns, rows, title)
        name = f"{group[0].dataset}-k{group[0].k}-{group[0].mode}.png"
        report.plot(group, args.out / name, title)
        print(f"plot: {args.out / name}")
    return remarks(records, failures)


def remarks(records: Sequence[Record], failures: Mapping[str, str]) -> int:
    """Name what failed or used several cores; the exit status."""
    for record in records:
        if record.cores > 1.2:
            setting = f"{record.peer} {record.build} {record.search} ({record.mode})"
            print(f"{setting}: {record.cores:.1f} cores while searching, not one", file=sys.stderr)
    for name, reason in failures.items():
        print(f"failed: {name}: {reason}", file=sys.stderr)
    return 1 if failures else 0


def name_skipped(skipped: Iterable[str], entries: Mapping[str, Entry]) -> None:
    """Say which peers are not measured, and why."""
    for name in skipped:
        print(f"skipped: {name} is not installed (no module {entries[name].requires})", file=sys.stderr)


def _measure(args: argparse.Namespace) -> tuple[list[Any], dict[str, str]]:
    from . import results, runner

    if args.runs < 1 or args.threads < 1:
        raise ValueError("--runs and --threads must be at least 1")
    peers, skipped = select(PEERS if args.peers == "all" else (args.peers or DEFAULT_PEERS).split(","))
    name_skipped(skipped, PEERS)
    if args.ratio_to is not None and args.ratio_to not in peers:
        raise ValueError(
            f"--ratio-to {args.ratio_to}: not among the peers that are measured, {', '.join(peers)}"
        )
    plan = runner.Plan(
        dataset=dataset_path(args.dataset or DEMO, args.data),
        peers=peers,
        k=args.k,
        runs=args.runs,
        sweep=args.sweep,
        grids=json.loads(args.grid.read_text()) if args.grid else {},
        modes=runner.MODES if args.mode == "both" else (args.mode,),
        queries=args.queries,
        interleave=args.interleave,
        native=args.native_dtype,
        threads=args.threads,
        timeout=args.timeout,
        progress=not args.quiet and bar_is_seen(),
    )
    outcome = runner.run(plan)
    print(f"results: {results.write(args.out, outcome.records, outcome.failures, skipped)}")
    return outcome.records, outcome.failures


def dataset_path(name: str, directory: Path) -> Path:
    """The file of a data set: "demo", a path, a file of that name in `directory`, or a download into it."""
    if name == DEMO:
        return datasets.demo_path()
    if name.endswith((".hdf5", ".h5")):
        return Path(name)
    local = directory / f"{name}.hdf5"
    return local if local.exists() else datasets.download(name, directory)
