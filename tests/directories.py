"""Indexes in directories, for the tests of posting lists on disk."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

import annlib
from annlib import SPANNIndex
from annlib.spann_disk import DiskSPANNIndex

#: Vectors, and their dimensions.
N, DIM = 4000, 24
ALL = 10**6  # lists: more than there are


def made(path: Path, train: np.ndarray, cache: str = "4MiB", **options: Any) -> DiskSPANNIndex:
    options.setdefault("list_size", 32)
    SPANNIndex.build(path, train, **options).close()  # type: ignore[attr-defined]
    return SPANNIndex.open(path, cache=cache)


def crashed(index: DiskSPANNIndex, to: Path) -> DiskSPANNIndex:
    """The index as another process would find it if this one died now."""
    shutil.copytree(index.path, to, dirs_exist_ok=True)
    return SPANNIndex.open(to, cache=0)


def assert_same(one: annlib.Index, two: annlib.Index) -> None:
    assert sorted(one.ids.tolist()) == sorted(two.ids.tolist())
    if len(one):
        ids = one.ids
        np.testing.assert_array_equal(one.get(ids), two.get(ids))
        assert {k: v.tolist() for k, v in one.attributes(ids).items()} == {
            k: v.tolist() for k, v in two.attributes(ids).items()
        }
