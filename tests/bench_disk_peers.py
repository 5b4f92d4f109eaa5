"""Adapters for the tests of the benchmark of indexes on disk; imported in its worker processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from annlib_bench.disk.peers.base import DiskPeer
from annlib_bench.peers.base import Array


class Exact(DiskPeer):
    """Exact search in a copy of the rows: the first `keep` answers, `keep` reads, and a file of `memory` bytes."""

    def build(self, progress: Callable[[int, int], None]) -> None:
        np.save(self.folder / "rows.npy", np.concatenate(list(self.rows.blocks())))
        (self.folder / "memory").write_bytes(bytes(self.memory))
        progress(1, 2)

    def open(self, threads: int) -> None:
        self._read = 0
        self._copy = np.load(self.folder / "rows.npy")

    def set_search(self, **params: Any) -> None:
        self._keep = params["keep"]

    def search_one(self, query: Array, k: int) -> Array:
        self._read += self._keep
        distances = ((self._copy - query) ** 2).sum(axis=1)
        return np.argsort(distances, kind="stable")[:k][: self._keep]

    def reads(self) -> int | None:
        return self._read


class ByMemory(Exact):
    """One index for each share of memory."""

    built_by_memory = True


class Holding(Exact):
    """Holds 64 MiB while it is open."""

    def open(self, threads: int) -> None:
        super().open(threads)
        self._held = np.ones(8 << 20)


class Failing(Exact):
    """Raises at its second setting."""

    def set_search(self, **params: Any) -> None:
        super().set_search(**params)
        if self._keep == 10:
            raise ValueError("too many")
