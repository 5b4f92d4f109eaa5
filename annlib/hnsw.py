"""The in-memory graph index."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ._core import HnswIndex as CoreHnsw
from ._progress import Progress, reporter
from .arrays import as_count, as_queries, as_seed, as_threads, codec_name
from .attributes import Attributes
from .calibrated import Calibrated, as_recall
from .filter_indexes import FilterIndexed
from .index import core_progress
from .report import Report
from .report import measure as report_on
from .results import Repair
from .sources import SourceLike, open_source

_DEFAULT_EF = 64


class HNSWIndex(FilterIndexed, Calibrated):
    """Hierarchical navigable small world graph (Malkov & Yashunin, arXiv 1603.09320).

    Parameters
    ----------
    dim : int
    metric : {"l2", "ip", "cosine"}, or "euclidean" and "angular"
    M : int
        Links a node keeps on the upper layers; twice as many on the bottom.
    ef_construction : int
        Candidates from which a new node's links are chosen: higher builds slower and searches better.
    codec : str
        How vectors are represented on the walk: "float32" (the stored vectors themselves), "float16", "int8", "int4",
        "rabitq", or "auto". With codes, the nearest by code are ranked again by the stored vectors. Data whose near
        neighbours a codec does not tell apart is walked on as float32, as `stats()` tells.
    dtype : {"float32", "float16", "int8", "uint8"}, optional
        What vectors are given as and `get` gives back; default: as the first ones come. Floats that are all whole
        numbers of 8 bits are kept in bytes (`stats()` has the ``stored_dtype``), which loses nothing.
    layout : {"auto", "plain", "fused"}
        How the graph lies in memory: lists of neighbours, which are scored one by one, or lists fused with one bit a
        dimension of each neighbour, which are scored together (about twice as fast where the index is larger than
        the processor's caches; takes ``2 * M * (8 + dim / 8)`` more bytes a vector). "auto" goes by size.
    seed : int
        The graph is a function of the set of (id, vector), the parameters and the seed.
    bits : int, optional
        Of a dimension's code, 1 to 8, for the codec "rabitq" alone; default: 4. "rabitq:2" is another way to say it.
    keep_vectors : bool
        False keeps their codes alone, once they are in the graph (see `Index`): memory is that of codes and links.
        ValueError for the codec "float32", which has no codes; "auto" is "int8" then.
    """

    kind = "hnsw"
    _core: CoreHnsw

    def __init__(
        self,
        dim: int,
        metric: str = "l2",
        M: int = 16,
        ef_construction: int = 200,
        codec: str = "auto",
        dtype: DTypeLike | None = None,
        seed: int = 0,
        bits: int | None = None,
        layout: str = "auto",
        keep_vectors: bool = True,
    ) -> None:
        self._m = as_count(M, "M")
        self._ef_construction = as_count(ef_construction, "ef_construction")
        self._codec = codec_name(codec, bits)
        self._seed = as_seed(seed)
        if not isinstance(layout, str):
            raise ValueError(f"layout must be a name, got {layout!r}; there are: auto, plain, fused")
        self._layout = layout
        super().__init__(dim, metric, dtype, keep_vectors)

    def _make_core(self, dtype: str) -> CoreHnsw:
        return CoreHnsw(
            self._dim,
            dtype,
            self._metric,
            self._m,
            self._ef_construction,
            self._codec,
            self._seed,
            self._layout,
            self._keep_vectors,
        )

    @classmethod
    def build(
        cls,
        vectors: SourceLike,
        ids: Any = None,
        attributes: Attributes | None = None,
        *,
        metric: str = "l2",
        M: int = 16,
        ef_construction: int = 200,
        codec: str = "auto",
        dtype: DTypeLike | None = None,
        seed: int = 0,
        bits: int | None = None,
        layout: str = "auto",
        keep_vectors: bool = True,
        target: float | None = None,
        sample_queries: ArrayLike | None = None,
        progress: Progress = False,
        threads: int | None = None,
    ) -> HNSWIndex:
        """An index over `vectors`, shape (n, dim), in one call.

        They may be an array, the path of a file, a pyarrow Table or an iterator of blocks (`sources.open_source`).
        `target` is a recall@10 that searches are to reach by default: the index is calibrated for it (see
        `calibrate`). `sample_queries`, shape (q, dim), are like those to come, where these lie elsewhere than the
        vectors: the graph is mended for them (see `repair`). The other parameters are those of the class and of
        `add`; neither the order of the vectors or the queries nor `threads` changes the result.
        """
        block = open_source(vectors).read()
        samples = None if sample_queries is None else _as_samples(sample_queries, block.shape[1])
        index = cls(
            block.shape[1], metric, M, ef_construction, codec, dtype, seed, bits, layout, keep_vectors
        )
        index.add(block, ids, attributes, progress=progress, threads=threads)
        if samples is not None and len(index):
            index.repair(samples, progress=progress, threads=threads)
        index._drop_vectors(threads)
        if target is not None:
            index._target = as_recall(target, "target")
            if len(index):
                index.calibrate(threads=threads)
        return index

    def repair(
        self, queries: ArrayLike, k: int = 64, *, progress: Progress = False, threads: int | None = None
    ) -> Repair:
        """Mend the graph for queries that lie elsewhere than the vectors, as texts do among images.

        Around each query the k nearest items, and the nearest 8, 16 and so on of them, are linked so that they lead to
        each other (after Hua et al., "Dynamically detect and fix hardness", arXiv 2510.22316: NGFix). Thousands of
        queries help where `report` says that they are far from the data, and hardly elsewhere (docs/tuning.md).

        The links are links as any other and take no more memory: they take the places of those that are worth least,
        and later additions may take theirs. `compact`, and an `add` that doubles the index, build a graph without
        them: the queries are not kept. Calibrations stay as they were measured.

        Parameters
        ----------
        queries : array_like, shape (n, dim) or (dim,)
            Like those to come. Each costs a comparison with every vector.
        k : int
            From 2 to 64; about as many as searches look for, or more.
        progress : bool or callable(done, total)
            True shows a bar (tqdm). Each query counts twice: found, mended.
        threads : int, optional
            Neither it nor the order of the queries changes the result.

        Returns
        -------
        Repair
            What was done.

        Raises
        ------
        ValueError
            Wrong shape, dim or dtype; NaN or infinity; no queries; k out of range; an empty index.
        """
        block = _as_samples(queries, self._dim)
        k = as_count(k, "k")
        if len(self) == 0:
            raise ValueError("an empty index cannot be repaired")
        core_threads = as_threads(threads)
        with self._write_lock, reporter(progress, 2 * len(block), "HNSWIndex.repair") as report:
            return Repair(*self._core.repair(block, k, core_threads, core_progress(progress, report)))

    def report(
        self, queries: ArrayLike, k: int = 10, ef_search: int | None = None, *, threads: int | None = None
    ) -> Report:
        """How far queries are from the data, how hard they are, and how much of theirs a search finds.

        Parameters
        ----------
        queries : array_like, shape (n, dim) or (dim,)
            At most 1,000 are used, and as many stored vectors, each as though it had never been added, for comparison.
            Each of both costs a comparison with every vector.
        k : int
        ef_search : int, optional
            Default: as for `search`.

        Returns
        -------
        Report
            `print` it. `distance_ratio` says in one number how far the queries are from the data.

        Raises
        ------
        ValueError
            Wrong shape, dim or dtype; NaN or infinity; no queries; an index without two different vectors.
        """
        block = np.atleast_2d(as_queries(queries, self._dim))
        k = as_count(k, "k")
        if len(block) == 0:
            raise ValueError("queries must be at least one vector to report on")
        if len(self) == 0:
            raise ValueError("a report needs an index of at least two different vectors")
        core_threads = as_threads(threads)
        with self._write_lock:  # all of it is measured on one state of the index
            return report_on(self._core, block, k, self._effort(ef_search, None, block, k)[0], core_threads)

    def _least_effort(self, k: int) -> int:
        return k

    def _default_effort(self, k: int) -> int:
        return max(_DEFAULT_EF, 2 * k)

    def unreachable(self) -> int:
        """How many items no walk from the entry point can find: 0 but shortly after many small changes."""
        return self._core.unreachable()

    def stats(self) -> dict[str, Any]:
        """What the index holds and why, and the memory that it takes in bytes."""
        counts = self._core.counts()
        indexes = self.filter_indexes()
        return (
            super().stats()
            | ({"filter_indexes": indexes} if indexes else {})
            | {
                "M": self._m,
                "ef_construction": self._ef_construction,
                "seed": self._seed,
                "stored_dtype": self._core.stored_dtype,
                "layout": self._core.layout,
                "layout_asked": self._layout,
                "layout_reason": self._core.layout_reason,
                "codec": self._core.codec,
                "codec_asked": self._codec,
                "codec_reason": self._core.codec_reason,
                "codec_error": counts["codec_error"],
                "filter_list_bytes": counts["filter_list_bytes"],
                "deleted_in_graph": counts["dead"],
                "duplicates": counts["twins"],
                "levels": counts["levels"],
                "mean_degree": counts["links"] / max(1, len(self)),
                "graph_bytes": counts["graph_bytes"],
                "calibrated_k": sorted(self._calibrations),
            }
        )

    def __repr__(self) -> str:
        layout = ", layout='fused'" if self._core.layout == "fused" else ""
        kept = "" if self._keep_vectors else ", codes only"
        asked = f" ({self._codec})" if self._codec != self._core.codec else ""
        stored = (
            f" stored as {self._core.stored_dtype!r}" if self._core.stored_dtype != self._core.dtype else ""
        )
        return (
            f"HNSWIndex(dim={self._dim}, metric={self._metric!r}, dtype={self._core.dtype!r}{stored}, "
            f"size={len(self)}, M={self._m}, ef_construction={self._ef_construction}, "
            f"codec={self._core.codec!r}{asked}{kept}{layout}, seed={self._seed})"
        )


def _as_samples(queries: ArrayLike, dim: int) -> NDArray[Any]:
    block = np.atleast_2d(as_queries(queries, dim))
    if len(block) == 0:
        raise ValueError("queries must be at least one vector to repair for")
    return block
