"""Runs a plan: builds every index in its own process, visits the settings round by round, keeps the best."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from annlib._progress import reporter
from annlib.datasets import Dataset, read_hdf5

from . import metrics
from .client import Worker, WorkerError
from .peers import PEERS, Entry
from .results import Record
from .sweeps import Params

logger = logging.getLogger(__name__)

MODES = ("single", "batch")


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes
    ----------
    dataset : path of an HDF5 file in the ann-benchmarks layout
    peers : names, of ``entries``
    k : neighbours asked for
    runs : rounds over all settings; the fastest time of every setting counts
    sweep : "quick", "default" or "full"
    grids : {peer: {"build": [...], "search": [...]}} in place of a peer's sweep, either half or both
    modes : "single" (one query a call), "batch" (all in one call)
    queries : the first so many of the file, None for all
    interleave : build everything first, then let the rounds of the indexes alternate, so that whatever else
        the machine does hits all of them
    native : hand vectors in the file's type to libraries that take it; otherwise float32 to all
    threads : for the build
    timeout : seconds for a build, and for a round
    """

    dataset: Path
    peers: Sequence[str]
    k: int = 10
    runs: int = 3
    sweep: str = "default"
    grids: Mapping[str, Mapping[str, list[Params]]] = field(default_factory=dict)
    modes: Sequence[str] = MODES
    queries: int | None = None
    interleave: bool = False
    native: bool = False
    threads: int = 1
    timeout: float = 3600.0
    progress: bool = False
    entries: Mapping[str, Entry] = field(default_factory=lambda: PEERS)


@dataclass
class Outcome:
    """What came of a plan: records, and the reason for every index that failed, by its name."""

    records: list[Record] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)


@dataclass
class _Index:
    """One index of the plan: its settings, its worker once started, and its best records so far."""

    peer: str
    build: Params
    search: list[Params]
    records: dict[tuple[int, str], Record] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return " ".join([self.peer, *(f"{key}={value}" for key, value in self.build.items())])


def run(plan: Plan) -> Outcome:
    """Measure `plan`. An index that fails is named in the outcome; the others go on.

    Raises ValueError where the file has too few neighbours or the plan names an unknown sweep or peer.
    """
    dataset = read_hdf5(plan.dataset)
    queries = min(plan.queries or len(dataset.test), len(dataset.test))
    if not 1 <= plan.k <= dataset.neighbors.shape[1]:
        raise ValueError(f"k must be 1 to {dataset.neighbors.shape[1]} for {dataset.name}, not {plan.k}")
    limits = metrics.thresholds(dataset, queries, plan.k)
    outcome = Outcome()
    indexes = [_Index(*one) for one in settings(plan.entries, plan.peers, plan.sweep, plan.grids)]
    for group in [indexes] if plan.interleave else [[index] for index in indexes]:
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            live: list[tuple[_Index, Worker]] = []
            for number, index in enumerate(group):
                worker = stack.enter_context(Worker(folder / f"{number}.log", plan.threads))
                with failures_of(outcome.failures, index.name):
                    _build(plan, dataset, index, worker)
                    live.append((index, worker))
            for turn in range(plan.runs):
                for index, worker in [pair for pair in live if pair[0].name not in outcome.failures]:
                    with failures_of(outcome.failures, index.name):
                        _round(plan, dataset, limits, index, worker, folder, turn)
        for index in group:
            outcome.records += [record for record in index.records.values() if record.run_count == plan.runs]
    return outcome


def settings(
    entries: Mapping[str, Entry],
    peers: Sequence[str],
    sweep: str,
    grids: Mapping[str, Mapping[str, list[Params]]],
) -> Iterator[tuple[str, Params, list[Params]]]:
    """Every index of the peers: its peer, build and search parameters, by the sweep or what `grids` has in its place.

    Raises ValueError for an unknown sweep, and for grids of other peers.
    """
    if unused := set(grids) - set(peers):
        raise ValueError(f"grids for {sorted(unused)}, which are not among the peers {list(peers)}")
    for name in peers:
        sweeps = entries[name].sweeps
        if sweep not in sweeps:
            raise ValueError(f"unknown sweep {sweep!r}; there are {', '.join(sweeps)}")
        own, standard = grids.get(name, {}), sweeps[sweep]
        for build in own.get("build", standard.build):
            yield name, dict(build), [dict(setting) for setting in own.get("search", standard.search)]


@contextlib.contextmanager
def failures_of(failures: dict[str, str], name: str) -> Iterator[None]:
    """Have the failure of a worker go into `failures`, under the name of its index."""
    try:
        yield
    except WorkerError as error:
        failures[name] = str(error)
        logger.warning("%s failed: %s", name, error)


def _build(plan: Plan, dataset: Dataset, index: _Index, worker: Worker) -> None:
    with reporter(plan.progress, len(dataset.train), f"build {index.name}") as report:
        built = worker.request(
            "build",
            plan.timeout,
            lambda done, total: report(done * len(dataset.train) // max(1, total)),
            dataset=os.fspath(plan.dataset.resolve()),
            entry={**asdict(plan.entries[index.peer]), "sweeps": {}},
            params=index.build,
            threads=plan.threads,
            queries=plan.queries,
            native=plan.native,
        )
        report(len(dataset.train))
    counts = worker.request("count", plan.timeout, search=index.search, k=plan.k)
    for number, (setting, count) in enumerate(zip(index.search, counts, strict=True)):
        for mode in plan.modes:
            index.records[number, mode] = Record(
                peer=index.peer,
                build=index.build,
                search=setting,
                dataset=dataset.name,
                metric=dataset.metric,
                k=plan.k,
                mode=mode,
                build_threads=plan.threads,
                distance_computations=count,
                **built,
            )


def _round(
    plan: Plan,
    dataset: Dataset,
    limits: metrics.Array,
    index: _Index,
    worker: Worker,
    folder: Path,
    turn: int,
) -> None:
    with reporter(plan.progress, len(index.search), f"search {index.name} {turn + 1}/{plan.runs}") as report:
        written = worker.request(
            "round",
            plan.timeout,
            lambda done, total: report(done),
            search=index.search,
            k=plan.k,
            modes=list(plan.modes),
            out=os.fspath(folder),
        )
    for number, files in enumerate(written):
        for mode, file in zip(plan.modes, files, strict=True):
            with np.load(file) as found:
                record = index.records[number, mode]
                if record.run_count == 0:
                    record.answer(dataset, found["neighbors"], limits)
                record.time(found["times"], float(found["cores"]))
