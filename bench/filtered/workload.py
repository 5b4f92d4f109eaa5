"""Queries with a predicate each, in buckets by kind, correlation and selectivity, and their exact answers."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from annlib._vector_files import import_h5py
from annlib.datasets import Dataset, pair_distances

from .drawing import Distances, Drawn, Pool, attribute_roles, draw, synthetic_columns
from .predicate import Array, Columns, Predicate, from_json, to_json

h5py = import_h5py()

#: Changes with what is drawn, so that files of earlier versions are not taken for this one's.
_VERSION = 2
#: Real predicates come in decades of the share that passes.
_DECADES = (0.0, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
#: Rows beyond the k nearest by float32 products whose distances are computed exactly.
_SPARE = 50


@dataclass(frozen=True, eq=False)
class Bucket:
    """Queries that are measured together.

    Attributes
    ----------
    name : str
        Kind, correlation and selectivity.
    kind : str
        "window" (a range of a drawn column), or one of those over the data's own attributes.
    correlation : {"positive", "none", "negative"}
        Whether what passes lies near the query, as it was meant; `lift` is what came of it.
    rows : ndarray, shape (q,)
        Queries, as rows of the data set's ``test``.
    predicates : sequence of q predicates
    neighbors : ndarray of int32, shape (q, k)
        Exact nearest rows that pass; -1 where fewer do.
    matches : ndarray, shape (q,)
        How many rows pass.
    selectivity : float
        Mean share of rows that pass.
    lift : float
        Share that passes among the queries' nearest rows (as many as the data set has), by `selectivity`.
    """

    name: str
    kind: str
    correlation: str
    rows: Array
    predicates: Sequence[Predicate]
    neighbors: Array
    matches: Array
    selectivity: float
    lift: float


@dataclass(frozen=True, eq=False)
class Workload:
    """Buckets over the columns of one data set."""

    columns: Columns
    buckets: Sequence[Bucket]


def open_or_make(dataset: Dataset, folder: Path, k: int, queries: int) -> Path:
    """The file of a workload in `folder`: `queries` for each bucket; made where it is not there yet.

    The same data, k and number give the same workload.
    """
    path = _path(dataset, folder, "buckets", k, queries)
    if not path.exists():
        drawn_columns = synthetic_columns(dataset)
        columns = Columns(_columns(dataset, drawn_columns))
        pool = Pool.of(dataset, columns, 4 * queries)
        exact = _Exact(dataset, columns, k)
        _write(path, drawn_columns, exact.buckets(_sorted_out(draw(pool), columns, queries)))
    return path


def open_or_make_batch(dataset: Dataset, folder: Path, k: int, queries: int, distinct: int) -> Path:
    """The file of a workload of one bucket: `queries`, each with one of `distinct` predicates drawn from all kinds."""
    path = _path(dataset, folder, "batch", k, queries, distinct)
    if not path.exists():
        drawn_columns = synthetic_columns(dataset)
        columns = Columns(_columns(dataset, drawn_columns))
        kinds = [part.predicates for part in draw(Pool.of(dataset, columns, distinct))]
        # One of each kind in turn.
        several = list(dict.fromkeys(kind[i] for i in range(distinct) for kind in kinds if i < len(kind)))
        chosen = [predicate for predicate in several if columns.mask(predicate).any()][:distinct]
        picks = np.random.default_rng(0).integers(0, len(chosen), queries)
        rows = np.arange(queries) % len(dataset.test)
        one = Drawn("batch", "none", "", rows, [chosen[pick] for pick in picks])
        _write(path, drawn_columns, _Exact(dataset, columns, k).buckets([one]))
    return path


def read(dataset: Dataset, path: Path) -> Workload:
    """A workload of `dataset`, from its file."""
    with h5py.File(path, "r") as file:
        drawn_columns = {name: column[:] for name, column in file["columns"].items()}
        buckets = [_read_bucket(group) for _, group in sorted(file["buckets"].items())]
    return Workload(Columns(_columns(dataset, drawn_columns)), buckets)


def _path(dataset: Dataset, folder: Path, *what: str | int) -> Path:
    key = blake2b(json.dumps([_VERSION, *what]).encode(), digest_size=8)
    key.update(content_key(dataset).encode())
    return folder / f"{dataset.name}-{what[0]}-{key.hexdigest()}.hdf5"


def content_key(dataset: Dataset) -> str:
    """A hash of the vectors and queries."""
    key = blake2b(digest_size=8)
    for array in (dataset.train, dataset.test):
        key.update(np.ascontiguousarray(array).data)
    return key.hexdigest()


def _columns(dataset: Dataset, drawn: Mapping[str, Array]) -> dict[str, Any]:
    own = {name: dataset.attributes[name] for name in attribute_roles(dataset).values()}
    return {**own, **drawn}


def _sorted_out(drawn: Sequence[Drawn], columns: Columns, queries: int) -> Iterator[Drawn]:
    """Kinds whose selectivity is the data's own by decades, without those that have too few queries to tell."""
    for part in drawn:
        shares = np.array([columns.mask(predicate).mean() for predicate in part.predicates])
        if part.share:
            # Where nothing passes there is nothing to find.
            yield part.taking(np.flatnonzero(shares)[:queries], part.share)
            continue
        for low, high in itertools.pairwise(_DECADES):
            at = np.flatnonzero((shares > low) & (shares <= high))[:queries]
            if len(at) >= max(3, queries // 5):
                yield part.taking(at, f"{low:.4g}-{high:.4g}")


class _Exact:
    """Exact answers: float32 products find the candidates, float64 decides among them."""

    def __init__(self, dataset: Dataset, columns: Columns, k: int) -> None:
        self._dataset, self._columns, self._k = dataset, columns, k
        self._distances = Distances(dataset)

    def buckets(self, drawn: Iterator[Drawn] | Sequence[Drawn]) -> list[Bucket]:
        parts = list(drawn)
        wanted: dict[int, list[tuple[int, int]]] = {}
        for number, part in enumerate(parts):
            for at, row in enumerate(part.rows.tolist()):
                wanted.setdefault(row, []).append((number, at))
        neighbors = [np.full((len(part.rows), self._k), -1, np.int32) for part in parts]
        matches = [np.zeros(len(part.rows), np.int64) for part in parts]
        lifts = [np.zeros(len(part.rows)) for part in parts]
        for row, line in self._distances.of(sorted(wanted)):
            for number, at in wanted[row]:
                mask = self._columns.mask(parts[number].predicates[at])
                found = self._nearest(row, np.flatnonzero(mask), line)
                neighbors[number][at, : len(found)] = found
                matches[number][at] = np.count_nonzero(mask)
                lifts[number][at] = mask[self._dataset.neighbors[row]].mean()
        return [
            Bucket(
                " ".join(filter(None, [part.kind, part.correlation, part.share])),
                part.kind,
                part.correlation,
                part.rows,
                part.predicates,
                neighbors[number],
                matches[number],
                selectivity := float(matches[number].mean() / len(self._columns)),
                float(lifts[number].mean() / selectivity),
            )
            for number, part in enumerate(parts)
        ]

    def _nearest(self, row: int, passing: Array, line: Array) -> Array:
        if len(passing) > self._k + _SPARE:
            near = np.argpartition(line[passing], self._k + _SPARE)[: self._k + _SPARE]
            passing = passing[near]
        exact = pair_distances(self._dataset.train[passing], self._dataset.test[row], self._dataset.metric)
        order: Array = passing[np.lexsort((passing, exact))[: self._k]]
        return order


def _write(path: Path, columns: Mapping[str, Array], buckets: Sequence[Bucket]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with h5py.File(part, "w") as file:
        for name, column in columns.items():
            file[f"columns/{name}"] = column
        for number, bucket in enumerate(buckets):
            group = file.create_group(f"buckets/{number:03}")
            for name in ("name", "kind", "correlation", "selectivity", "lift"):
                group.attrs[name] = getattr(bucket, name)
            for name in ("rows", "neighbors", "matches"):
                group[name] = getattr(bucket, name)
            text = json.dumps([to_json(predicate) for predicate in bucket.predicates])
            group["predicates"] = np.frombuffer(text.encode(), np.uint8)
    os.replace(part, path)


def _read_bucket(group: Any) -> Bucket:
    attributes = group.attrs
    return Bucket(
        name=str(attributes["name"]),
        kind=str(attributes["kind"]),
        correlation=str(attributes["correlation"]),
        rows=group["rows"][:],
        predicates=[from_json(form) for form in json.loads(group["predicates"][:].tobytes())],
        neighbors=group["neighbors"][:],
        matches=group["matches"][:],
        selectivity=float(attributes["selectivity"]),
        lift=float(attributes["lift"]),
    )
