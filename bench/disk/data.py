"""The data that is indexed on disk: a file's, or made here block by block; with queries and exact answers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from annlib._progress import reporter
from annlib.datasets import Dataset, pair_distances, read_hdf5

from ..filtered.workload import content_key
from ..peers.base import Array, unit
from ..scale import clustered_source
from .rows import Rows, write_rows

_SPARE = 16
_BLOCK_ROWS = 4096
_MOST_CLUSTERS, _ROWS_A_CLUSTER = 1000, 1000
# Local intrinsic dimensions (Levina & Bickel, 2004, at 100 neighbours) of about 18 at a million rows and 24 at ten
# millions; SIFT descriptors have 22, embeddings of short texts 27.
_SPREAD = 64


@dataclass(frozen=True)
class DiskData:
    """A data set and the float32 files that peers are given: unit vectors for "cosine", as they are otherwise.

    The rows of ``dataset`` may be a mapping of the file.
    """

    dataset: Dataset
    rows: Rows
    queries: Path


def from_file(path: Path, folder: Path) -> DiskData:
    """The data set of an HDF5 file; its float32 files are written below `folder` the first time."""
    dataset = read_hdf5(path)
    home = folder / f"{dataset.name}-{content_key(dataset)}"

    def taken(vectors: Array) -> Iterator[Array]:
        for start in range(0, len(vectors), _BLOCK_ROWS):
            block = vectors[start : start + _BLOCK_ROWS].astype(np.float32)
            yield unit(block) if dataset.metric == "cosine" else block

    for name, vectors in (("queries", dataset.test), ("rows", dataset.train)):
        if not (home / f"{name}.npy").exists():
            write_rows(home / f"{name}.npy", vectors.shape, taken(vectors))
    return DiskData(dataset, Rows(home / "rows.npy"), home / "queries.npy")


def synthetic(
    count: int, folder: Path, *, dim: int = 128, queries: int = 2000, k: int = 100, progress: bool = False
) -> DiskData:
    """`count` rows in clusters (:func:`..scale.clustered_source`), under "l2".

    Made and answered once, below `folder`; memory holds a block of the rows at a time.
    """
    name = f"synthetic-{count}-{dim}-euclidean"
    home = folder / name
    answers = home / "answers.npz"
    if not answers.exists():
        clusters = min(_MOST_CLUSTERS, max(1, count // _ROWS_A_CLUSTER))
        draw = clustered_source(dim, clusters, min(_SPREAD, dim))
        write_rows(home / "queries.npy", (queries, dim), [draw(queries)])
        sizes = (min(_BLOCK_ROWS, count - start) for start in range(0, count, _BLOCK_ROWS))
        rows = write_rows(home / "rows.npy", (count, dim), map(draw, sizes))
        neighbors, distances = nearest(rows, np.load(home / "queries.npy"), k, progress)
        part = home / "answers.part.npz"
        np.savez(part, neighbors=neighbors, distances=distances)
        os.replace(part, answers)
    with np.load(answers) as found:
        neighbors, distances = found["neighbors"], found["distances"]
    train = np.load(home / "rows.npy", mmap_mode="r")
    test = np.load(home / "queries.npy")
    return DiskData(
        Dataset(name, train, test, neighbors, distances, "l2"), Rows(home / "rows.npy"), home / "queries.npy"
    )


def nearest(rows: Rows, queries: Array, k: int, progress: bool = False) -> tuple[Array, Array]:
    """The k rows (at most all) nearest to each query by Euclidean distance, and those distances.

    One pass over the rows: products in float64 find some more than k candidates, whose distances are then
    computed again row by row.
    """
    wide = queries.astype(np.float64)
    keep = min(k + _SPARE, rows.count)
    ids, best = np.full((len(queries), keep), -1), np.full((len(queries), keep), np.inf)
    start = 0
    with reporter(progress, rows.count, "exact neighbours") as report:
        for large in rows.blocks():
            for block in np.array_split(large, -(-len(large) // _BLOCK_ROWS)):
                x = block.astype(np.float64)
                # Without the query's own square, which moves no order.
                own = np.einsum("ij,ij->i", x, x) - 2 * (wide @ x.T)
                nearer = own.min(axis=1) < best.max(axis=1)
                ids[nearer], best[nearer] = _merged(ids[nearer], best[nearer], own[nearer], start)
                start += len(block)
                report(start)
    mapped = np.load(rows.path, mmap_mode="r")
    k = min(k, rows.count)
    neighbors, distances = np.empty((len(queries), k), np.int32), np.empty((len(queries), k), np.float32)
    for row, (found, query) in enumerate(zip(ids, queries, strict=True)):
        exact = pair_distances(mapped[found], query, "l2")
        order = np.lexsort((found, exact))[:k]
        neighbors[row], distances[row] = found[order], np.sqrt(exact[order])
    return neighbors, distances


def _merged(ids: Array, best: Array, own: Array, start: int) -> tuple[Array, Array]:
    """As many as there are in `best`, of those and of the rows from `start`, whose distances are `own`."""
    keep = best.shape[1]
    shown = np.broadcast_to(np.arange(start, start + own.shape[1]), own.shape)
    ids, best = np.concatenate([ids, shown], axis=1), np.concatenate([best, own], axis=1)
    order = np.argpartition(best, keep - 1, axis=1)[:, :keep]
    return np.take_along_axis(ids, order, axis=1), np.take_along_axis(best, order, axis=1)
