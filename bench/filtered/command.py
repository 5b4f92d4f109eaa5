"""``annlib bench --filtered``: from its options to files, tables and plots."""

from __future__ import annotations

import argparse

from annlib._progress import bar_is_seen
from annlib._tables import print_table

from .. import results as files
from ..command import DEMO, dataset_path, name_skipped, remarks
from . import report, results, runner
from .peers import FILTERED, select
from .results import FilteredRecord


def run(args: argparse.Namespace) -> int:
    """Do what the options say; the exit status is 1 where an index failed."""
    if args.source is not None:
        records, failures = results.read(args.source), dict[str, str]()
        if not records:
            raise ValueError(f"{args.source}: no results of filtered searches")
    else:
        records, failures = _measure(args)
    for (dataset, k, batch), group in report.groups(records).items():
        title = f"{dataset}, k = {k}, one thread, filtered"
        if batch:
            print_table(*report.batch_table(group), f"{title}, a batch of few predicates")
            continue
        print_table(*report.table(group), title)
        print_table(*report.worst(group), "the worst of the buckets")
        path = args.out / f"{dataset}-k{k}-filtered.png"
        report.plot(group, path, title)
        print(f"plot: {path}")
    return remarks(records, failures)


def _measure(args: argparse.Namespace) -> tuple[list[FilteredRecord], dict[str, str]]:
    seconds = 3.0 if args.seconds is None else args.seconds
    for name in ("runs", "threads", "k"):
        if getattr(args, name) <= 0:
            raise ValueError(f"--{name} must be above 0, not {getattr(args, name)}")
    if seconds <= 0:
        raise ValueError(f"--seconds must be above 0, not {seconds}")
    if args.batch < 0:
        raise ValueError(f"--batch must be above 0, not {args.batch}")
    names = FILTERED if args.peers in (None, "all") else args.peers.split(",")
    peers, skipped = select(names)
    name_skipped(skipped, {name: peer.entry for name, peer in FILTERED.items()})
    plan = runner.Plan(
        dataset=dataset_path(args.dataset or DEMO, args.data),
        peers=peers,
        folder=args.data / "filtered",
        k=args.k,
        queries=args.queries or 100,
        batch=args.batch,
        only=args.buckets.split(",") if args.buckets else (),
        runs=args.runs,
        seconds=seconds,
        threads=args.threads,
        timeout=args.timeout,
        progress=not args.quiet and bar_is_seen(),
    )
    outcome = runner.run(plan)
    written = files.write(args.out, outcome.records, outcome.failures, skipped, "filtered.json")
    print(f"results: {written}")
    return outcome.records, outcome.failures
