"""What the harness asks of a library: build, search at an operating point, and account for itself."""

from __future__ import annotations

import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..sweeps import Params

Array = NDArray[Any]


class Peer(ABC):
    """One index of one library. Every object lives in a process of its own and is used by one thread.

    Parameters
    ----------
    metric : {"l2", "cosine", "ip"}
    dim : int
    threads : int
        For the build; searches use one.
    params
        Build parameters: a build of the sweep, and what the registry fixes.
    """

    metrics: ClassVar[tuple[str, ...]] = ("l2", "cosine", "ip")
    #: True for a library without a cosine metric: it is given unit vectors, made outside its time.
    unit_for_cosine: ClassVar[bool] = False
    #: Types taken as they are; the others come as float32.
    dtypes: ClassVar[tuple[str, ...]] = ("float32",)

    def __init__(self, metric: str, dim: int, threads: int, params: Params) -> None:
        if metric not in self.metrics:
            raise ValueError(f"{type(self).__name__} has no metric {metric!r}, only {self.metrics}")
        self.metric, self.dim, self.threads, self.params = metric, dim, threads, params

    @abstractmethod
    def build(self, train: Array, progress: Callable[[int, int], None]) -> None:
        """Index `train` (n, d), rows numbered from 0; call ``progress(done, total)`` where possible."""

    def set_search(self, **params: Any) -> None:  # noqa: B027 (exact search has no parameters)
        """Take one of the sweep's search settings for the searches that follow."""

    # A library that takes batches brings `search`, one that takes single queries `search_one`, or both.

    def search(self, queries: Array, k: int) -> Array:
        """Row numbers (b, k) of the neighbours of queries (b, d), on one thread; -1 where there are fewer."""
        found = np.full((len(queries), k), -1, dtype=np.int64)
        for row, query in zip(found, queries, strict=True):
            ids = self.search_one(query, k)
            row[: len(ids)] = ids
        return found

    def search_one(self, query: Array, k: int) -> Array:
        """Row numbers (at most k,) for one query (d,)."""
        return np.asarray(self.search(query[None], k)[0])

    @abstractmethod
    def index_bytes(self) -> int:
        """Memory of the index, as the library accounts for it or as it is serialised."""

    def distance_computations(self, queries: Array, k: int) -> float | None:
        """Distances per query at the current setting; None where the library does not count them."""
        return None


def unit(vectors: Array) -> Array:
    """Rows scaled to length 1, float32; zero rows stay."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.ascontiguousarray(vectors / np.where(norms > 0, norms, 1), dtype=np.float32)


def saved_bytes(save: Callable[[str], object]) -> int:
    """Size of what ``save(path)`` writes: a file or a folder."""
    with tempfile.TemporaryDirectory() as folder:
        save(os.path.join(folder, "index"))
        return files_bytes(folder)


def files_bytes(folder: str) -> int:
    """Size of all files under a folder."""
    files = (os.path.join(where, name) for where, _, names in os.walk(folder) for name in names)
    return sum(map(os.path.getsize, files))
