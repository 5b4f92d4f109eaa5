"""The libraries whose indexes on disk the harness can measure; each is imported only where it is measured."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping

from ...peers import Entry, select_from
from ...sweeps import Params, Sweep, Sweeps, grid

_FEW, _FEW_LISTS = [16, 32, 64, 128], [4, 16, 64, 128]
_EFFORTS = [10, 16, 24, 32, 48, 64, 96, 128, 192, 256]
_LISTS = [1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256]

POSTING_LISTS: Sweeps = {
    "quick": Sweep([{}], grid(nprobe=_FEW_LISTS)),
    "default": Sweep([{}], grid(nprobe=_LISTS)),
    "full": Sweep(grid(list_size=[64, 128, 256], replicas=[2, 4]), grid(nprobe=_LISTS)),
}
_VAMANA = grid(degree=[64], complexity=[100])
DISKANN: Sweeps = {
    "quick": Sweep(_VAMANA, grid(beam_width=[4], complexity=_FEW)),
    "default": Sweep(_VAMANA, grid(beam_width=[4], complexity=_EFFORTS)),
    "full": Sweep(_VAMANA, grid(beam_width=[2, 4, 8], complexity=_EFFORTS)),
}
ZVEC: Sweeps = {
    "quick": Sweep(_VAMANA, grid(list_size=_FEW)),
    "default": Sweep(_VAMANA, grid(list_size=_EFFORTS)),
    "full": Sweep(_VAMANA, grid(list_size=[*_EFFORTS, 512])),
}


def _ivf(effort: str, build: Params) -> Sweeps:
    builds = [{"lists_per_root": 4, **build}]
    return {
        "quick": Sweep(builds, grid(**{effort: [10], "nprobe": _FEW_LISTS})),
        "default": Sweep(builds, grid(**{effort: [4, 16], "nprobe": _LISTS})),
        "full": Sweep(builds, grid(**{effort: [2, 4, 8, 16, 32], "nprobe": _LISTS})),
    }


def _entry(module: str, cls: str, requires: str, sweeps: Sweeps) -> Entry:
    return Entry(f"{__package__}.{module}", cls, requires, sweeps)


DISK: Mapping[str, Entry] = {
    "annlib": _entry("annlib", "DiskSPANN", "annlib", POSTING_LISTS),
    "diskannpy": _entry("diskann", "DiskANN", "diskannpy", DISKANN),
    "zvec": _entry("zvec", "Zvec", "zvec", ZVEC),
    "faiss": _entry("faiss", "FaissOnDisk", "faiss", _ivf("k_factor", {"dims_per_part": 4})),
    "lancedb": _entry("lancedb", "LanceDB", "lancedb", _ivf("refine_factor", {"dims_per_part": 8})),
}


def select(
    names: Iterable[str], pythons: Mapping[str, str], entries: Mapping[str, Entry] = DISK
) -> tuple[list[str], list[str]]:
    """The installed and the missing ones of `names`, by the interpreters in `pythons` for those that have one.

    Raises ValueError for a name that no peer has, and OSError for an interpreter that cannot be run.
    """
    for name, python in pythons.items():
        if name not in entries:
            raise ValueError(f"--python {name}={python}: unknown peer; there are {', '.join(entries)}")
    here, missing = select_from(entries, names)
    elsewhere = {name: _has(pythons[name], entries[name].requires) for name in pythons}
    there = [name for name in dict.fromkeys(names) if elsewhere.get(name, name in here)]
    return there, [name for name in [*here, *missing] if name not in there]


def _has(python: str, module: str) -> bool:
    code = "import sys; from importlib import util; sys.exit(util.find_spec(sys.argv[1]) is None)"
    return subprocess.run([python, "-I", "-c", code, module], check=False).returncode == 0
