"""Posting lists around centroids."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike, DTypeLike

from ._core import SpannIndex as CoreSpann
from ._progress import Progress
from .arrays import as_bytes, as_count, as_seed
from .attributes import Attributes
from .calibrated import Calibrated, as_recall
from .filters import Filter
from .results import RadiusResult, SearchResult
from .sources import SourceLike, open_source

if TYPE_CHECKING:
    from .spann_disk import DiskSPANNIndex

_DEFAULT_NPROBE = 16
_CACHE = "256MiB"


class SPANNIndex(Calibrated):
    """Posting lists around centroids (Chen et al., SPANN, NeurIPS 2021, arXiv 2111.08566), in memory.

    The vectors are clustered, and each stands in the lists of `replicas` centroids near it. A query is compared with
    all centroids, then with the codes in the lists of the nearest (one bit a dimension, relative to the centroid; Gao
    & Long, RaBitQ, SIGMOD 2024, arXiv 2405.12497), and then with the stored vectors of what seems near by them:
    distances are exact. There is no graph over the vectors, so it builds many times as fast as `HNSWIndex`.

    Thread safety and errors as in `Index`.

    Parameters
    ----------
    dim : int
    metric : {"l2", "ip", "cosine"}, or "euclidean" and "angular"
    list_size : int
        Vectors of a list, about, before replicas.
    replicas : int
        Lists that a vector stands in, 1 to 8: the nearest, and then those that are near on another side (Sun et al.,
        SOAR, NeurIPS 2023, arXiv 2404.00774).
    dtype : {"float32", "float16", "int8", "uint8"}, optional
        Of vectors; default: as the first ones come. In a directory those that are all whole numbers of 8 bits are kept
        in bytes (`stats()` has the ``stored_dtype``), which loses nothing.
    seed : int
        The lists are a function of the set of (id, vector), the parameters and the seed.
    """

    kind = "spann"
    _core: CoreSpann

    def __init__(
        self,
        dim: int,
        metric: str = "l2",
        list_size: int = 128,
        replicas: int = 2,
        dtype: DTypeLike | None = None,
        seed: int = 0,
    ) -> None:
        self._list_size = as_count(list_size, "list_size")
        self._replicas = as_count(replicas, "replicas")
        self._seed = as_seed(seed)
        super().__init__(dim, metric, dtype, True)

    def _make_core(self, dtype: str) -> CoreSpann:
        return CoreSpann(self._dim, dtype, self._metric, self._list_size, self._replicas, self._seed)

    @classmethod
    def build(
        cls,
        path: str | os.PathLike[str] | None,
        source: SourceLike,
        ids: Any = None,
        attributes: Attributes | None = None,
        *,
        metric: str = "l2",
        list_size: int | None = None,
        replicas: int | None = None,
        codec: str = "auto",
        dtype: DTypeLike | None = None,
        seed: int = 0,
        memory_budget: int | str = "2GiB",
        target: float | None = None,
        progress: Progress = False,
        threads: int | None = None,
    ) -> SPANNIndex:
        """An index over the vectors of a source, shape (n, dim), in one call.

        The parameters that are not listed are those of the class and of `add`; neither the order of the vectors nor
        `threads` changes the result.

        Parameters
        ----------
        path : path or None
            The directory to be made, which may be there if it holds no index: lists and vectors are kept in files then,
            and the result is as that of `open`. None: lists in memory, which `save` writes to a file.
        source : array, path of a file, pyarrow Table, or iterator of blocks
            See `sources.open_source`. For a directory it is read once, block by block.
        list_size, replicas : int, optional
            Default: 128 and 2 in memory; in a directory 64 and 4, or 256 and 2 below 256 dimensions: as many lists as
            leave room for a code of every vector in a tenth of the vectors' bytes as float32.
        codec : str
            What a directory's lists hold to say which vectors are to be read: codes of "rabitq:2" to "rabitq:8"
            ("auto": 2 to 4 bits, fewer for more dimensions), "int8", "int4" or "float16"; one bit a dimension as in
            memory ("rabitq:1"); or the vectors themselves ("float32"), as in the paper.
        memory_budget : int or str
            Bytes that the process may come to while it builds a directory, as ``"2GiB"``, besides what `source`, `ids`
            and `attributes` take themselves. About 53 MiB and 40 to 100 bytes a vector are needed. Clusters are found
            among as many vectors as fit. What is returned is open with the default cache of `open`, or with as much as
            the budget leaves.
        target : float, optional
            A recall@10 that searches are to reach by default: the index is calibrated for it (see `calibrate`).

        Raises
        ------
        ValueError
            As for `add`; vectors, ids and attributes that differ in number; a `memory_budget` that is too small for so
            many vectors, with what they need.
        OSError
            The source cannot be read or the directory not be written; it holds an index already. An unfinished build
            leaves no index; the next one there clears it away.
        """
        if path is not None:
            from . import spann_disk

            room = spann_disk.build(
                path,
                source,
                ids,
                attributes,
                metric=metric,
                list_size=list_size,
                replicas=replicas,
                codec=codec,
                dtype=dtype,
                seed=seed,
                memory_budget=memory_budget,
                progress=progress,
                threads=threads,
            )
            disk = cls.open(path, min(room, as_bytes(_CACHE, "cache")))
            if target is not None:
                disk._target = as_recall(target, "target")
                if len(disk):
                    disk.calibrate(threads=threads)
                disk.flush(threads)
            return disk
        if codec != "auto":
            raise ValueError(
                f"codec is for lists on disk; in memory they have one bit a dimension, got {codec!r}"
            )
        block = open_source(source).read()
        lists = (128 if list_size is None else list_size, 2 if replicas is None else replicas)
        index = cls(block.shape[1], metric, *lists, dtype, seed)
        index.add(block, ids, attributes, progress=progress, threads=threads)
        if target is not None:
            index._target = as_recall(target, "target")
            if len(index):
                index.calibrate(threads=threads)
        return index

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        cache: int | str = _CACHE,
        *,
        engine: str = "auto",
        direct: bool = True,
        read_only: bool = False,
        fresh: int | str = "64MiB",
    ) -> DiskSPANNIndex:
        """Open a directory that `build` has made.

        Parameters
        ----------
        path : path
        cache : int or str
            Bytes of lists and vectors that are kept in memory, as ``"256MiB"``. Where the code of every vector has room
            they are loaded at opening, and searches read vectors alone (``resident_bytes`` of `stats`); results are the
            same.
        engine : {"auto", "io_uring", "pread", "mmap"}
            How blocks are read: io_uring where the kernel allows it, else threads that call pread.
        direct : bool
            Read past the page cache, where the file system can.
        read_only : bool
            Any number of processes may read beside one that writes. They see what was there when they opened.
        fresh : int or str
            Bytes of vectors that may have come before they are written into the lists; at four times as much, additions
            wait for that.

        Raises
        ------
        OSError
            There is no index; it is open for writing already; an engine that is not to be had.
        CorruptIndexError, VersionError
            As for `annlib.load`.
        """
        from . import spann_disk

        return spann_disk.open_directory(
            path, cache, engine=engine, direct=direct, read_only=read_only, fresh=fresh
        )

    def search(
        self,
        queries: ArrayLike,
        k: int = 10,
        *,
        nprobe: int | None = None,
        ef_search: int | None = None,
        recall: float | None = None,
        filter: Filter | None = None,
        threads: int | None = None,
        plan: str = "auto",
        explain: bool = False,
    ) -> SearchResult:
        """The k nearest neighbours of each query, nearest first: parameters and errors as in `Index.search`.

        Parameters
        ----------
        nprobe : int, optional
            The effort: about how many lists a typical query reads, fewer where what is found first is near and up to
            four times as many where it is far; under a filter as many as leave no more of the nearest than so many
            leave where everything passes. Default 16, from k = 16 on 8 + k / 2, or what the index was built to reach.
            ``ef_search`` is another name for it.
        """
        if nprobe is not None and (ef_search is not None or recall is not None):
            raise ValueError("give nprobe, ef_search or recall, not several of them")
        return super().search(
            queries,
            k,
            ef_search=ef_search if nprobe is None else as_count(nprobe, "nprobe"),
            recall=recall,
            filter=filter,
            threads=threads,
            plan=plan,
            explain=explain,
        )

    def search_radius(
        self,
        queries: ArrayLike,
        radius: float,
        *,
        nprobe: int | None = None,
        ef_search: int | None = None,
        filter: Filter | None = None,
        threads: int | None = None,
    ) -> RadiusResult:
        """All items found within `radius` of each query: parameters and errors as in `Index.search_radius`.

        Parameters
        ----------
        nprobe : int, optional
            The effort: as much is missed of what lies within the radius as so many lists leave of the nearest, expected
            from how far the lists not read are; with as many as there are lists, nothing is. Default 16.
            ``ef_search`` is another name for it.
        """
        if nprobe is not None and ef_search is not None:
            raise ValueError("give nprobe or ef_search, not both")
        return super().search_radius(
            queries,
            radius,
            ef_search=ef_search if nprobe is None else as_count(nprobe, "nprobe"),
            filter=filter,
            threads=threads,
        )

    def _least_effort(self, k: int) -> int:
        return 1

    def _default_effort(self, k: int) -> int:
        return max(_DEFAULT_NPROBE, _DEFAULT_NPROBE // 2 + k // 2)

    def stats(self) -> dict[str, Any]:
        """What the index holds, and the memory that it takes in bytes."""
        counts = self._core.counts()
        return (
            super().stats()
            | {"list_size": self._list_size, "replicas": self._replicas, "seed": self._seed}
            | counts
            | {
                "postings_a_vector": counts["postings"] / max(1, len(self)),
                "calibrated_k": sorted(self._calibrations),
            }
        )

    def __repr__(self) -> str:
        return (
            f"{super().__repr__()[:-1]}, lists={self._core.counts()['lists']}, list_size={self._list_size}, "
            f"replicas={self._replicas}, seed={self._seed})"
        )
