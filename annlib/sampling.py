"""Random samples of vectors, the same whatever the order in which they come."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._vector_files import Array
from .arrays import as_count, as_seed
from .ids import IntArray, as_integers
from .sources import SourceLike, open_source

_BLOCK_BYTES = 8 << 20
#: Apart from those that the core draws an item's level and rank from.
_SAMPLE_STREAM = 0x53414D504C45


class Sample(NamedTuple):
    """Vectors drawn from a source, shape (m, dim), and their ids (or row numbers), shape (m,)."""

    vectors: Array
    ids: IntArray


def random_sample(source: SourceLike, n: int, seed: int = 0, ids: Any = None) -> Sample:
    """`n` vectors of a source at random, or all there are if fewer.

    Which ones, and in which order, is a function of `seed` and the set of (id, vector) alone: those whose ids have the
    smallest hashes. Neither the size of blocks nor the order in which vectors come changes it.

    Parameters
    ----------
    source : as for :func:`open_source`
        Is read once, in blocks. Memory holds 3 `n` vectors at most besides.
    n : int
    seed : int, from 0 to 2**64 - 1
    ids : array_like of non-negative int, shape (count,), optional
        Default: the row numbers.

    Raises
    ------
    ValueError
        Another number of ids than of vectors; and all that `open_source` and `Source.blocks` raise.
    """
    opened, n, seed = open_source(source), as_count(n, "n"), as_seed(seed)
    keys = None if ids is None else as_integers(ids)
    if keys is not None and opened.count is not None and len(keys) != opened.count:
        raise ValueError(f"got {opened.count} vectors and {len(keys)} ids")
    held = [_Drawn(np.empty(0, np.uint64), np.empty(0, np.int64), np.empty((0, opened.dim), opened.dtype))]
    limit, done = np.uint64(2**64 - 1), 0
    for block in opened.blocks(opened.rows_of(_BLOCK_BYTES)):
        stop = done + len(block)
        block_ids = np.arange(done, stop) if keys is None else keys[done:stop]
        if len(block_ids) < len(block):
            raise ValueError(f"got {stop} vectors or more and {done + len(block_ids)} ids")
        done = stop
        hashes = random64(seed, _SAMPLE_STREAM, block_ids)
        near = np.flatnonzero(hashes <= limit)
        held.append(_Drawn(hashes[near], block_ids[near], block[near]))
        if sum(len(part.ids) for part in held) > 2 * n:
            held = [_smallest(held, n)]
            limit = held[0].hashes[-1]
    if keys is not None and len(keys) != done:
        raise ValueError(f"got {done} vectors and {len(keys)} ids")
    sample = _smallest(held, n)
    return Sample(sample.vectors, sample.ids)


class _Drawn(NamedTuple):
    hashes: NDArray[np.uint64]
    ids: IntArray
    vectors: Array


def _smallest(parts: list[_Drawn], n: int) -> _Drawn:
    """Of the n smallest hashes, ascending."""
    hashes, ids, vectors = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.lexsort((ids, hashes))[:n]
    return _Drawn(hashes[order], ids[order], vectors[order])


def random64(seed: int, stream: int, counters: IntArray) -> NDArray[np.uint64]:
    """The core's counter-based random numbers (cpp/core/random.h), of many counters at once."""
    golden, bits = 0x9E3779B97F4A7C15, 2**64 - 1
    start = np.uint64((seed + golden) & bits)
    key = _mix64(_mix64(np.array([start])) ^ np.uint64(stream))
    return _mix64(key + counters.astype(np.uint64) * np.uint64(golden))


def _mix64(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))
