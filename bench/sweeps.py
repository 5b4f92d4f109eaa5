"""Which parameters are built and searched with: "quick", "default" and "full" for every kind of index."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Params: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Sweep:
    """Parameters to build with, and parameters to search every built index with."""

    build: Sequence[Params]
    search: Sequence[Params]


Sweeps: TypeAlias = Mapping[str, Sweep]


def grid(**choices: Sequence[Any]) -> list[Params]:
    """Every combination of the choices, the last one varying fastest."""
    return [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]


_FEW = [16, 32, 64, 128, 256]
_EFFORTS = [10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512]
_PROBES = [1, 2, 4, 8, 16, 32, 64, 128]
_LISTS = [2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128]
_RANGES = [0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3]

EXACT: Sweeps = dict.fromkeys(("quick", "default", "full"), Sweep([{}], [{}]))

#: Every HNSW is built alike and searched at the same efforts.
HNSW: Sweeps = {
    "quick": Sweep(grid(M=[16], ef_construction=[200]), grid(ef=_FEW)),
    "default": Sweep(grid(M=[16], ef_construction=[200]), grid(ef=_EFFORTS)),
    "full": Sweep(grid(M=[8, 16, 32, 48], ef_construction=[200, 500]), grid(ef=[*_EFFORTS, 800])),
}
VAMANA: Sweeps = {
    "quick": Sweep(grid(degree=[32], build_window=[200]), grid(window=_FEW)),
    "default": Sweep(grid(degree=[32], build_window=[200]), grid(window=_EFFORTS)),
    "full": Sweep(grid(degree=[16, 32, 64], build_window=[200, 500]), grid(window=[*_EFFORTS, 800])),
}
#: ``lists_per_root``: lists or leaves, by the square root of the number of vectors.
IVFPQ: Sweeps = {
    "quick": Sweep(grid(lists_per_root=[4]), grid(k_factor_rf=[10], nprobe=[1, 4, 16, 64])),
    "default": Sweep(grid(lists_per_root=[4]), grid(k_factor_rf=[4, 16], nprobe=_PROBES)),
    "full": Sweep(grid(lists_per_root=[2, 4, 8]), grid(k_factor_rf=[2, 4, 8, 16, 32], nprobe=_PROBES)),
}
LISTS: Sweeps = {
    "quick": Sweep(grid(list_size=[128]), grid(nprobe=[4, 16, 64])),
    "default": Sweep(grid(list_size=[128]), grid(nprobe=_LISTS)),
    "full": Sweep(grid(list_size=[64, 128, 256], replicas=[1, 2, 3]), grid(nprobe=_LISTS)),
}
SCANN: Sweeps = {
    "quick": Sweep(grid(lists_per_root=[2]), grid(reorder=[100], leaves=[2, 8, 32, 128])),
    "default": Sweep(grid(lists_per_root=[2]), grid(reorder=[50, 200], leaves=_PROBES)),
    "full": Sweep(grid(lists_per_root=[1, 2, 4]), grid(reorder=[30, 100, 300], leaves=_PROBES)),
}
ANNG: Sweeps = {
    "quick": Sweep(grid(edges=[20]), grid(epsilon=_RANGES[::2])),
    "default": Sweep(grid(edges=[20]), grid(epsilon=_RANGES)),
    "full": Sweep(grid(edges=[10, 20, 40]), grid(epsilon=_RANGES)),
}
