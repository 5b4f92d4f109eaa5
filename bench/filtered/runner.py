"""Runs filtered searches: builds every index once, finds for each bucket what reaches the recall, and times that."""

from __future__ import annotations

import contextlib
import os
import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from annlib._progress import reporter
from annlib.datasets import Dataset, read_hdf5

from ..client import Worker
from ..runner import failures_of
from ..sweeps import Params
from . import workload
from .peers import FILTERED, TARGET, FilteredPeer, Line
from .results import FilteredRecord, Truth
from .workload import Bucket


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes
    ----------
    dataset : path of an HDF5 file in the ann-benchmarks layout
    peers : names, of ``entries``
    folder : keeps workloads and indexes from run to run
    k : neighbours asked for
    queries : for each bucket
    batch : queries of the batch; 0 for the buckets instead
    distinct : different predicates of the batch
    only : parts of names of buckets, of which one must be in a bucket's name; empty for all
    runs : timed rounds over all buckets; the fastest counts
    seconds : that a peer may spend on a bucket; it is asked fewer queries where it needs longer
    threads : for the build
    timeout : seconds for a build, and for a bucket
    """

    dataset: Path
    peers: Sequence[str]
    folder: Path
    k: int = 10
    queries: int = 100
    batch: int = 0
    distinct: int = 100
    only: Sequence[str] = ()
    runs: int = 3
    seconds: float = 3.0
    threads: int = 1
    timeout: float = 3600.0
    progress: bool = False
    entries: Mapping[str, FilteredPeer] = field(default_factory=lambda: FILTERED)

    def lines(self, name: str) -> Mapping[str, Line]:
        """The lines of a peer in this plan."""
        return self.entries[name].batch if self.batch else self.entries[name].lines


@dataclass
class Outcome:
    """What came of a plan: records, and the reason for every index that failed, by its name."""

    records: list[FilteredRecord] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)


@dataclass
class _Index:
    """One index with its worker, and the records of its lines by (bucket, line)."""

    name: str
    worker: Worker
    built: Params
    records: dict[tuple[str, str], FilteredRecord] = field(default_factory=dict)


def run(plan: Plan) -> Outcome:
    """Measure `plan`. An index that fails is named in the outcome; the others go on.

    Raises ValueError where no bucket has a name that is asked for.
    """
    dataset = read_hdf5(plan.dataset)
    path = _workload(plan, dataset)
    work = workload.read(dataset, path)
    buckets = [b for b in work.buckets if not plan.only or any(part in b.name for part in plan.only)]
    if not buckets:
        names = ", ".join(bucket.name for bucket in work.buckets)
        raise ValueError(f"no bucket has one of {list(plan.only)} in its name; there are {names}")
    truths = {bucket.name: Truth(dataset, work.columns, bucket, plan.k) for bucket in buckets}
    outcome = Outcome()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        live: list[_Index] = []
        for number, name in enumerate(name for name in plan.peers if plan.lines(name)):
            log = folder / f"{number}.log"
            worker = stack.enter_context(Worker(log, plan.threads, f"{__package__}.worker"))
            with failures_of(outcome.failures, name):
                live.append(_Index(name, worker, _build(plan, path, dataset, name, worker)))
        for turn in range(1 + plan.runs):
            with reporter(plan.progress, len(buckets), f"round {turn}/{plan.runs}") as report:
                for done, bucket in enumerate(buckets):
                    for index in live:
                        if index.name not in outcome.failures and plan.entries[index.name].answers(
                            bucket.kind
                        ):
                            with failures_of(outcome.failures, index.name):
                                _visit(plan, dataset, bucket, truths[bucket.name], index, folder, turn)
                    report(done + 1)
    outcome.records = [
        record for index in live if index.name not in outcome.failures for record in index.records.values()
    ]
    return outcome


def _workload(plan: Plan, dataset: Dataset) -> Path:
    if plan.batch:
        return workload.open_or_make_batch(dataset, plan.folder, plan.k, plan.batch, plan.distinct)
    return workload.open_or_make(dataset, plan.folder, plan.k, plan.queries)


def _build(plan: Plan, path: Path, dataset: Dataset, name: str, worker: Worker) -> Params:
    peer = plan.entries[name]
    file = os.fspath(plan.dataset.resolve())
    worker.request(
        "open",
        plan.timeout,
        dataset=file,
        workload=os.fspath(path.resolve()),
        folder=os.fspath(plan.folder.resolve()),
        name=name,
        requires=peer.entry.requires,
        params={**peer.build, **peer.entry.fixed},
    )
    with reporter(plan.progress, len(dataset.train), f"build {name}") as report:
        built: Params = worker.request(
            "build",
            plan.timeout,
            lambda done, total: report(done * len(dataset.train) // max(1, total)),
            dataset=file,
            entry=asdict(peer.entry),
            params=peer.build,
            threads=plan.threads,
            queries=None,
            native=False,
        )
        report(len(dataset.train))
    return built


def _visit(
    plan: Plan, dataset: Dataset, bucket: Bucket, truth: Truth, index: _Index, folder: Path, turn: int
) -> None:
    """Time each line at its setting, which the first visit finds: the first to reach the recall, or else the best."""
    lines = list(plan.lines(index.name).items())
    if turn > 0:  # what a line finds in the caches depends on the one before
        random.Random(f"{turn} {bucket.name}").shuffle(lines)
    for name, line in lines:
        record = index.records.get((bucket.name, name))
        if record is not None:
            found = _ask(plan, bucket, index, line, record.search, folder)
            record.time(found["times"], float(found["cores"]))
            continue
        for setting in line.settings:
            found = _ask(plan, bucket, index, line, setting, folder)
            tried = FilteredRecord(
                peer=name,
                build=plan.entries[index.name].build,
                search=setting,
                dataset=f"{dataset.name}/{bucket.name}",
                metric=dataset.metric,
                k=plan.k,
                mode=line.mode,
                build_threads=plan.threads,
                kind=bucket.kind,
                correlation=bucket.correlation,
                selectivity=bucket.selectivity,
                lift=bucket.lift,
                **index.built,
            )
            tried.judge(truth, found["neighbors"])
            tried.time(found["times"], float(found["cores"]))
            if record is None or tried.recall > record.recall:
                record = tried
            if tried.recall >= TARGET:
                break
        assert record is not None
        index.records[bucket.name, name] = record


def _ask(
    plan: Plan, bucket: Bucket, index: _Index, line: Line, setting: Params, folder: Path
) -> dict[str, Any]:
    out = folder / "visit.npz"
    index.worker.request(
        "visit",
        plan.timeout,
        bucket=bucket.name,
        search=setting,
        k=plan.k,
        mode=line.mode,
        seconds=plan.seconds,
        out=os.fspath(out),
    )
    with np.load(out) as found:
        return dict(found)
