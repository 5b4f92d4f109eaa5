"""``annlib bench --disk``: its options, and from them to files, tables and plots."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import TypeVar

from annlib._progress import bar_is_seen
from annlib._tables import print_table

from .. import results as files
from ..command import DEMO, dataset_path, name_skipped, remarks
from . import data, report, results, runner
from .peers import DISK, select
from .results import DiskRecord

N = TypeVar("N", int, float)


def run(args: argparse.Namespace) -> int:
    """Do what the options say; the exit status is 1 where an index failed."""
    if args.source is not None:
        records, failures = results.read(args.source), dict[str, str]()
        if not records:
            raise ValueError(f"{args.source}: no results of indexes on disk")
    else:
        records, failures = _measure(args)
    for title, group in report.groups(records).items():
        print_table(*report.table(group, args.ratio_to), title)
        print_table(*report.reading(group), "a query")
        first = group[0]
        name = first.dataset.partition("/")[0]
        path = args.out / f"{name}-k{first.k}-disk-{first.memory_share:g}-{first.threads}.png"
        report.plot(group, path, title)
        print(f"plot: {path}")
    return remarks([record for record in records if record.threads == 1], failures)


def _measure(args: argparse.Namespace) -> tuple[list[DiskRecord], dict[str, str]]:
    if args.dataset is not None and args.synthetic is not None:
        raise ValueError("--dataset and --synthetic name two data sets; give one of them")
    if args.warm < 0:
        raise ValueError(f"--warm must be 0 or more, not {args.warm}")
    pythons = dict(_pair(text) for text in args.python)
    names = DISK if args.peers in (None, "all") else args.peers.split(",")
    peers, skipped = select(list(names), pythons)
    name_skipped(skipped, DISK)
    folder, progress = args.data / "disk", not args.quiet and bar_is_seen()
    if args.synthetic is not None:
        given = data.synthetic(_positive(args.synthetic, "--synthetic"), folder, progress=progress)
    else:
        given = data.from_file(dataset_path(args.dataset or DEMO, args.data), folder)
    plan = runner.Plan(
        data=given,
        peers=peers,
        k=args.k,
        memory=_list(args.memory, float, "--memory"),
        search_threads=_list(args.search_threads, int, "--search-threads"),
        runs=_positive(args.runs, "--runs"),
        sweep=args.sweep,
        grids=json.loads(args.grid.read_text()) if args.grid else {},
        queries=None if args.queries is None else _positive(args.queries, "--queries"),
        warm=args.warm,
        seconds=_positive(30.0 if args.seconds is None else args.seconds, "--seconds"),
        build_memory=int(_positive(args.build_memory, "--build-memory") * 2**30),
        threads=_positive(args.threads, "--threads"),
        timeout=args.timeout,
        pythons=pythons,
        progress=progress,
    )
    outcome = runner.run(plan)
    written = files.write(args.out, outcome.records, outcome.failures, skipped, "disk.json")
    print(f"results: {written}")
    return outcome.records, outcome.failures


def _pair(text: str) -> tuple[str, str]:
    name, given, path = text.partition("=")
    if not given:
        raise ValueError(f"--python {text}: expected PEER=PATH")
    return name, path


def _list(text: str, kind: Callable[[str], N], option: str) -> list[N]:
    return [_positive(kind(part), option) for part in text.split(",")]


def _positive(value: N, option: str) -> N:
    if value <= 0:
        raise ValueError(f"{option} must be above 0, not {value}")
    return value
