"""What the harness asks of an index on disk: build in one process, be opened and searched in others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

from ...peers.base import Array
from ...process import padded
from ...sweeps import Params
from ..rows import Rows


class DiskPeer(ABC):
    """One index of one library in a folder of its own.

    Parameters
    ----------
    metric : {"l2", "cosine", "ip"}
        Rows and queries are unit vectors for "cosine".
    rows : Rows
        What is indexed.
    folder : path
        There when :meth:`build` is called, and moved between building and opening.
    memory : int
        Bytes that the library may hold while it searches, in all.
    build_memory : int
        Bytes that it may hold while it builds, for libraries that can keep to that.
    threads : int
        For the build.
    params
        Build parameters: a build of the sweep, and what the registry fixes.
    """

    #: Whether what is built depends on `memory`.
    built_by_memory: ClassVar[bool] = False

    def __init__(
        self,
        metric: str,
        rows: Rows,
        folder: Path,
        memory: int,
        build_memory: int,
        threads: int,
        params: Params,
    ) -> None:
        self.metric, self.rows, self.folder = metric, rows, folder
        self.memory, self.build_memory, self.threads, self.params = memory, build_memory, threads, params

    @abstractmethod
    def build(self, progress: Callable[[int, int], None]) -> None:
        """Index the rows, numbered from 0; call ``progress(done, total)`` where possible."""

    @abstractmethod
    def open(self, threads: int) -> None:
        """Be ready for searches by so many threads, within the memory that may be held. Once a process."""

    @abstractmethod
    def set_search(self, **params: Any) -> None:
        """Take one of the sweep's search settings for the searches that follow."""

    @abstractmethod
    def search_one(self, query: Array, k: int) -> Array:
        """Row numbers (at most k,) for one query (d,), on one thread."""

    def search(self, queries: Array, k: int, threads: int) -> Array:
        """Row numbers (b, k) for queries (b, d), -1 where there are fewer; on so many threads.

        Callers of :meth:`search_one`, unless the library takes batches.
        """
        with ThreadPoolExecutor(threads) as pool:
            return padded(list(pool.map(lambda query: self.search_one(query, k), queries)), k)

    def reads(self) -> int | None:
        """Blocks that searches have read from disk since :meth:`open`; None where the library does not count."""
        return None
