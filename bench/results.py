"""Measurements and their files: HDF5 in the ann-benchmarks result layout, one a setting; a JSON summary."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from annlib._vector_files import import_h5py
from annlib.datasets import Dataset

from . import metrics
from .metrics import Array
from .sweeps import Params

h5py = import_h5py()
logger = logging.getLogger(__name__)

#: What ann-benchmarks calls the metrics.
_DISTANCES = {"l2": "euclidean", "cosine": "angular", "ip": "ip"}
_ARRAYS = ("neighbors", "distances", "times")
#: The attribute with all of a record.
OWN_ATTRIBUTE = "annlib_record"

R = TypeVar("R")


@dataclass
class Record:
    """One index at one search setting in one mode; :meth:`answer` once, then :meth:`time` for every round.

    Sizes are bytes; ``index_bytes`` is what the library accounts for or serialises, ``peak_rss_bytes`` the
    growth of the process from before the build to its peak. ``distance_computations`` are per query.
    ``cores`` is CPU time by wall time of the fastest round: well above 1, and the library did not keep to one
    thread. ``neighbors`` and ``distances`` are (q, k), ``times`` (q,) seconds of the fastest round.
    """

    peer: str
    build: Params
    search: Params
    dataset: str
    metric: str
    k: int
    mode: str
    build_threads: int
    build_seconds: float
    index_bytes: int
    peak_rss_bytes: int
    version: str
    distance_computations: float | None = None
    recall: float = 0.0
    qps: float = 0.0
    mean_ms: float = 0.0
    p50_ms: float = 0.0
    p95_ms: float = 0.0
    p99_ms: float = 0.0
    cores: float = 0.0
    run_count: int = 0
    neighbors: Array = field(default_factory=lambda: np.empty((0, 0), np.int64), repr=False)
    distances: Array = field(default_factory=lambda: np.empty((0, 0)), repr=False)
    times: Array = field(default_factory=lambda: np.empty(0), repr=False)

    def answer(self, dataset: Dataset, neighbors: Array, limits: Array) -> None:
        """Take the answers (q, k): their distances and recall."""
        self.neighbors = metrics.without_repeats(neighbors)
        self.distances = metrics.answer_distances(dataset, self.neighbors)
        self.recall = metrics.recall(self.distances, limits)

    def time(self, times: Array, cores: float) -> None:
        """Take the times (q,) of one round; they count if they are the fastest so far."""
        self.run_count += 1
        latency = metrics.latency(times)
        if latency["qps"] > self.qps:
            self.times, self.cores = times, cores
            for name, value in latency.items():
                setattr(self, name, value)

    def summary(self) -> dict[str, Any]:
        """Everything but the arrays."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name not in _ARRAYS}


def _label(params: Params) -> str:
    return ", ".join(f"{key}={value}" for key, value in params.items())


def result_path(root: Path, record: Record) -> Path:
    """``root/DATASET/k/ALGO/ARGUMENTS.hdf5``; ALGO ends in -batch for that mode."""
    algo = record.peer + ("-batch" if record.mode == "batch" else "")
    arguments = json.dumps([record.build, record.search], sort_keys=True)
    name = re.sub(r"\W+", "_", arguments).strip("_") or "default"
    return root / record.dataset / str(record.k) / algo / f"{name}.hdf5"


def write(
    root: Path,
    records: Iterable[Record],
    failures: dict[str, str],
    skipped: Sequence[str],
    summary_name: str = "summary.json",
) -> Path:
    """Write one HDF5 file a record, and the summary, whose path is returned."""
    records = list(records)
    for record in records:
        path = result_path(root, record)
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            _write_record(file, record)
    summary = root / summary_name
    root.mkdir(parents=True, exist_ok=True)
    content = {
        "records": [r.summary() for r in records],
        "failures": failures,
        "not_installed": list(skipped),
    }
    summary.write_text(json.dumps(content, indent=1) + "\n")
    return summary


def _write_record(file: Any, record: Record) -> None:
    distances = np.sqrt(record.distances) if record.metric == "l2" else record.distances
    file["times"] = record.times.astype(np.float32)
    file["neighbors"] = record.neighbors.astype(np.int32)
    file["distances"] = distances.astype(np.float32)
    file.attrs.update(
        {
            "algo": record.peer,
            "batch_mode": record.mode == "batch",
            "best_search_time": record.mean_ms / 1e3,
            "build_time": record.build_seconds,
            "candidates": float((record.neighbors >= 0).sum(axis=1).mean()),
            "count": record.k,
            "dataset": record.dataset,
            "distance": _DISTANCES[record.metric],
            "expect_extra": False,
            "index_size": record.index_bytes / 1024,
            "name": f"{record.peer}({_label(record.build)}; {_label(record.search)})",
            "run_count": record.run_count,
            # Ours alone: all of the record, so that a table can be drawn from these files.
            OWN_ATTRIBUTE: json.dumps(record.summary()),
        }
    )
    if record.distance_computations is not None:
        # ann-benchmarks counts over all queries of all runs.
        file.attrs["dist_comps"] = record.distance_computations * len(record.times) * record.run_count


def read(root: Path, dataset: Dataset | None = None) -> list[Record]:
    """The records under `root`: this harness's, and with `dataset` also ann-benchmarks's own of that set.

    Files that are neither are named in a warning. Raises OSError where `root` is no folder.
    """
    return read_all(root, lambda file: _read_record(file, dataset))


def read_all(root: Path, read_record: Callable[[Any], R]) -> list[R]:
    """What `read_record` makes of the files under `root`; warnings and errors as for :func:`read`."""
    if not root.is_dir():
        raise OSError(f"{root}: no folder of results")
    records = []
    for path in sorted(root.rglob("*.hdf5")):
        try:
            with h5py.File(path, "r") as file:
                records.append(read_record(file))
        except (KeyError, OSError, ValueError, TypeError) as error:
            logger.warning("%s: no result (%s)", path, error)
    return records


def _read_record(file: Any, dataset: Dataset | None) -> Record:
    attributes = file.attrs
    if OWN_ATTRIBUTE in attributes:
        return Record(**json.loads(attributes[OWN_ATTRIBUTE]))
    if dataset is None or str(attributes["dataset"]) != dataset.name:
        raise ValueError("a result of ann-benchmarks, which needs its data set to have a recall")
    record = Record(
        peer=str(attributes["algo"]),
        build={},
        search={"name": str(attributes["name"])},
        dataset=dataset.name,
        metric=dataset.metric,
        k=int(attributes["count"]),
        mode="batch" if attributes["batch_mode"] else "single",
        build_threads=0,
        build_seconds=float(attributes["build_time"]),
        index_bytes=int(float(attributes["index_size"]) * 1024),
        peak_rss_bytes=0,
        version="unknown",
    )
    neighbors, runs = file["neighbors"][:], int(attributes["run_count"])
    if "dist_comps" in attributes:
        record.distance_computations = float(attributes["dist_comps"]) / (runs * len(neighbors))
    record.answer(dataset, neighbors, metrics.thresholds(dataset, len(neighbors), record.k))
    record.time(file["times"][:], 0.0)
    record.run_count = runs
    return record
