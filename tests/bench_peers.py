"""Adapters that misbehave, for the tests of the harness; imported in its worker processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from annlib_bench.peers.base import Array, Peer


class Exact(Peer):
    """Exact search in numpy that does everything right: the first `keep` answers, the rest missing."""

    def build(self, train: Array, progress: Callable[[int, int], None]) -> None:
        # Onto the descriptor that the protocol must not use.
        os.write(1, b'noise on standard output {"result": 1}\n')
        self.train = train
        self.dtype = str(train.dtype)
        progress(1, 2)

    def set_search(self, **params: Any) -> None:
        self.keep = params["keep"]

    def search_one(self, query: Array, k: int) -> Array:
        distances = ((self.train.astype(np.float32) - query) ** 2).sum(axis=1)
        return np.argsort(distances, kind="stable")[:k][: self.keep]

    def index_bytes(self) -> int:
        return 4 * self.train.size if self.dtype == "float32" else self.train.nbytes

    def distance_computations(self, queries: Array, k: int) -> float | None:
        return float(len(self.train))


class ExactNative(Exact):
    """The same, and it takes bytes."""

    dtypes = ("float32", "uint8")


class Allocating(Exact):
    """Needs 64 MiB for a moment of its build."""

    def build(self, train: Array, progress: Callable[[int, int], None]) -> None:
        np.ones(8 << 20)
        super().build(train, progress)


class Hanging(Exact):
    """Never ends building."""

    def build(self, train: Array, progress: Callable[[int, int], None]) -> None:
        time.sleep(3600)


class Dying(Exact):
    """Takes its process with it at the first search, like a library that crashes."""

    def search(self, queries: Array, k: int) -> Array:
        os.write(2, b"last words\n")
        os.kill(os.getpid(), 11)
        return queries

    search_one = search


class Failing(Exact):
    """Raises."""

    def build(self, train: Array, progress: Callable[[int, int], None]) -> None:
        raise ValueError("dimension not supported")
