"""Runs searches of indexes on disk: every index built in a process of its own, rounds of all of them alternating."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from annlib._progress import reporter

from .. import metrics
from ..client import Worker
from ..peers import Entry
from ..runner import failures_of, settings
from ..sweeps import Params
from .data import DiskData
from .peers import DISK
from .results import DiskRecord

_MODULE = f"{__package__}.worker"


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes
    ----------
    data : what is indexed, with queries and answers; indexes are kept beside its files
    peers : names, of ``entries``
    k : neighbours asked for
    memory : shares of the rows' bytes (as float32) that a library may hold while it searches
    search_threads : how many threads search; with one, one query a call, with more, all in one call
    runs : rounds over all settings; the fastest time of every setting counts
    sweep, grids : settings, as in :class:`..runner.Plan`
    queries : the first so many; None for all but those that warm up, and for half of them at least
    warm : how many others are asked before, in each round at each setting
    seconds : for the queries of a setting on one thread; fewer are asked where it needs longer
    build_memory : bytes that a build may hold, for libraries that can keep to that
    threads : for the build
    timeout : seconds for a build, and for a setting
    pythons : interpreters, for peers that need their own
    """

    data: DiskData
    peers: Sequence[str]
    k: int = 10
    memory: Sequence[float] = (0.1, 0.25)
    search_threads: Sequence[int] = (1, 2)
    runs: int = 3
    sweep: str = "default"
    grids: Mapping[str, Mapping[str, list[Params]]] = field(default_factory=dict)
    queries: int | None = None
    warm: int = 500
    seconds: float = 30.0
    build_memory: int = 4 << 30
    threads: int = 1
    timeout: float = 3600.0
    pythons: Mapping[str, str] = field(default_factory=dict)
    progress: bool = False
    entries: Mapping[str, Entry] = field(default_factory=lambda: DISK)

    @property
    def asked(self) -> int:
        """Queries that are measured."""
        there = len(self.data.dataset.test)
        return min(self.queries or max(there - self.warm, (there + 1) // 2), there)


@dataclass
class Outcome:
    """What came of a plan: records, and the reason for every index that failed, by its name."""

    records: list[DiskRecord] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)


@dataclass
class _Index:
    """One index with one share of memory: its settings, and its records by (setting, threads)."""

    peer: str
    share: float
    limit: int
    build: Params
    search: Sequence[Params]
    records: dict[tuple[int, int], DiskRecord] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return " ".join([self.peer, *(f"{k}={v}" for k, v in self.build.items()), f"memory={self.share:g}"])


def run(plan: Plan) -> Outcome:
    """Measure `plan`. An index that fails is named in the outcome; the others go on.

    Raises ValueError where there are too few neighbours, or the plan names an unknown sweep or peer.
    """
    dataset = plan.data.dataset
    if not 1 <= plan.k <= dataset.neighbors.shape[1]:
        raise ValueError(f"k must be 1 to {dataset.neighbors.shape[1]} for {dataset.name}, not {plan.k}")
    limits = metrics.thresholds(dataset, plan.asked, plan.k)
    outcome = Outcome()
    for share in plan.memory:
        limit = int(share * plan.data.rows.nbytes)
        indexes = [
            _Index(name, share, limit, build, search)
            for name, build, search in settings(plan.entries, plan.peers, plan.sweep, plan.grids)
        ]
        with tempfile.TemporaryDirectory() as folder:
            for index in indexes:
                with failures_of(outcome.failures, index.name), _worker(plan, index, folder) as worker:
                    _build(plan, index, worker)
            for turn in range(plan.runs):
                for index in indexes:
                    if index.name not in outcome.failures:
                        with failures_of(outcome.failures, index.name):
                            _round(plan, limits, index, folder, turn)
        for index in indexes:
            outcome.records += [r for r in index.records.values() if r.run_count == plan.runs]
    return outcome


@contextlib.contextmanager
def _worker(plan: Plan, index: _Index, folder: str) -> Iterator[Worker]:
    """A process that knows where the index is, and has nothing of it yet."""
    log, python = Path(folder, "worker.log"), plan.pythons.get(index.peer)
    with Worker(log, max(plan.threads, *plan.search_threads), _MODULE, python) as worker:
        worker.request(
            "take",
            plan.timeout,
            name=index.peer,
            entry={**asdict(plan.entries[index.peer]), "sweeps": {}},
            params=index.build,
            metric=plan.data.dataset.metric,
            rows=os.fspath(plan.data.rows.path.resolve()),
            folder=os.fspath(plan.data.rows.path.parent.resolve()),
            memory=index.limit,
            build_memory=plan.build_memory,
            threads=plan.threads,
        )
        yield worker


def _build(plan: Plan, index: _Index, worker: Worker) -> None:
    """Have the index built, unless it is there, and make its records."""
    count = plan.data.rows.count
    with reporter(plan.progress, count, f"build {index.name}") as report:
        built = worker.request(
            "build", plan.timeout, lambda done, total: report(done * count // max(1, total))
        )
        report(count)
    for threads in plan.search_threads:
        for number, setting in enumerate(index.search):
            plural = "thread" if threads == 1 else "threads"
            index.records[number, threads] = DiskRecord(
                peer=index.peer,
                build=index.build,
                search=setting,
                dataset=f"{plan.data.dataset.name}/memory {index.share:g}, {threads} {plural}",
                metric=plan.data.dataset.metric,
                k=plan.k,
                mode="single" if threads == 1 else "batch",
                memory_share=index.share,
                memory_limit=index.limit,
                threads=threads,
                **built,
            )


def _round(plan: Plan, limits: metrics.Array, index: _Index, folder: str, turn: int) -> None:
    """Visit every setting once, each in a process that has never held anything of the index."""
    out = Path(folder, "visit.npz")
    what = f"search {index.name} {turn + 1}/{plan.runs}"
    with reporter(plan.progress, len(index.records), what) as report:
        for done, ((number, threads), record) in enumerate(index.records.items()):
            with _worker(plan, index, folder) as worker:
                figures = worker.request(
                    "visit",
                    plan.timeout,
                    queries=os.fspath(plan.data.queries.resolve()),
                    asked=plan.asked,
                    warm=plan.warm,
                    search=index.search[number],
                    k=plan.k,
                    threads=threads,
                    seconds=plan.seconds,
                    out=os.fspath(out),
                )
            with np.load(out) as arrays:
                record.visited(plan.data.dataset, limits, arrays, figures)
            report(done + 1)
