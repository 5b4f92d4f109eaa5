"""One index on disk at one setting, with one share of memory and so many threads: what the harness records."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annlib.datasets import Dataset

from ..metrics import Array
from ..results import OWN_ATTRIBUTE, Record, read_all

_OF_A_ROUND = ("memory_bytes", "reads", "read_bytes", "device_reads")


@dataclass
class DiskRecord(Record):
    """A :class:`..results.Record` of an index on disk.

    ``memory_share`` is of the bytes of the rows as float32, ``memory_limit`` those bytes, ``memory_bytes`` by how
    much the searching process grew; ``index_bytes`` is the files'. ``reads`` (the library's own count),
    ``read_bytes`` (of the process, from the device) and ``device_reads`` (of the device, for whomever) are per
    query, None where they are not known. They are, as the times, of the fastest round. ``asked`` is of how many
    queries.
    """

    memory_share: float = 0.0
    memory_limit: int = 0
    threads: int = 1
    asked: int = 0
    memory_bytes: int = 0
    reads: float | None = None
    read_bytes: float | None = None
    device_reads: float | None = None

    def visited(self, dataset: Dataset, limits: Array, arrays: Any, figures: dict[str, Any]) -> None:
        """Take one round: its neighbours and times in `arrays`, the rest in `figures`."""
        if self.run_count == 0:
            self.asked = len(arrays["times"])
            self.answer(dataset, arrays["neighbors"], limits[: self.asked])
        before = self.qps
        self.time(arrays["times"], figures["cores"])
        if self.qps > before:
            for name in _OF_A_ROUND:
                setattr(self, name, figures[name])


def read(root: Path) -> list[DiskRecord]:
    """The records of indexes on disk under `root`; other files are named in a warning, OSError for no folder."""

    def read_record(file: Any) -> DiskRecord:
        summary = json.loads(file.attrs[OWN_ATTRIBUTE])
        if not summary.get("memory_limit"):
            raise ValueError("not of an index on disk")
        return DiskRecord(**summary)

    return read_all(root, read_record)
