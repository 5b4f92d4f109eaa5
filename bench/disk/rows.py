"""Vectors in a .npy file that are read in blocks: a mapping would count as memory of the process that reads."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ..peers.base import Array

_BLOCK_BYTES = 16 << 20


class Rows:
    """Rows of float32, shape (count, dim), in the .npy file `path`."""

    def __init__(self, path: Path) -> None:
        mapped = np.load(path, mmap_mode="r")
        self.path, self._start = path, mapped.offset
        self.count, self.dim = (int(size) for size in mapped.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the vectors."""
        return 4 * self.count * self.dim

    def blocks(self) -> Iterator[Array]:
        """The rows in order, some 16 MiB at a time."""
        size = max(1, _BLOCK_BYTES // (4 * self.dim))
        with open(self.path, "rb") as file:
            file.seek(self._start)
            for start in range(0, self.count, size):
                count = min(size, self.count - start)
                yield np.fromfile(file, "<f4", count * self.dim).reshape(count, self.dim)

    def sample(self, count: int) -> Array:
        """Different rows, `count` or all, the same at every call, in the file's order."""
        chosen = np.zeros(self.count, bool)
        chosen[np.random.default_rng(0).permutation(self.count)[:count]] = True
        parts, start = [], 0
        for block in self.blocks():
            parts.append(block[chosen[start : start + len(block)]])
            start += len(block)
        return np.concatenate(parts)


def write_rows(path: Path, shape: tuple[int, ...], blocks: Iterable[Array]) -> Rows:
    """Write `blocks`, of that shape (count, dim) together, to a .npy file, which is there once all of it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with open(part, "wb") as file:
        layout = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, layout)
        for block in blocks:
            np.ascontiguousarray(block, "<f4").tofile(file)
    os.replace(part, path)
    return Rows(path)
