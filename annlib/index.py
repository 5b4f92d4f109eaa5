"""What all in-memory indexes do alike."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from hashlib import blake2b
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from . import filters
from . import ids as id_forms
from ._core import Index as CoreIndex
from ._progress import Progress, reporter
from .arrays import (
    as_count,
    as_numbers,
    as_queries,
    as_threads,
    as_vectors,
    dtype_name,
    metric_name,
    require_room,
)
from .attributed import Attributed
from .attributes import Attributes, to_core
from .filters import EVERYTHING, CoreFilter, Filter
from .ids import IntArray, StringIds
from .iteration import Iterated
from .results import RadiusResult, SearchResult


class Index(Attributed, Iterated, ABC):
    """Vectors under ids, and the nearest of them to a query.

    Thread-safe: searches run beside each other and beside writes from other threads; writes wait for one another.
    A call that raises has changed nothing. Under the metrics "l2" (squared), "ip" (negated) and "cosine" (1 - cos)
    smaller distances are nearer; a zero vector has cosine distance 1 to everything. Distances that float32 cannot hold
    are infinite (under "ip" with their sign), never NaN.

    With ``keep_vectors=False`` codes alone are kept. Results and distances are then what the codes make of them (never
    below 0 but under "ip"), vectors with equal codes count as equal, and `get` is a ValueError. Vectors that are added
    stay until there are 1,024 of them, for a codec learns too little from fewer; `build` and `compact` drop them in any
    case. What comes later is coded by what the codec knows, which it learns anew, from the codes, only where too much
    of what comes lies outside of it.
    """

    kind: ClassVar[str]
    _core: CoreIndex

    def __init__(self, dim: int, metric: str, dtype: DTypeLike | None, keep_vectors: bool) -> None:
        if not isinstance(keep_vectors, (bool, np.bool_)):
            raise ValueError(f"keep_vectors must be True or False, got {keep_vectors!r}")
        self._keep_vectors = bool(keep_vectors)
        self._dim = as_count(dim, "dim", 1 << 20)
        self._metric = metric_name(metric)
        self._dtype_given = dtype is not None
        self._core = self._make_core(dtype_name(dtype) if dtype is not None else "float32")
        self._strings: StringIds | None = None
        self._next_id = 0
        self._write_lock = threading.RLock()

    @abstractmethod
    def _make_core(self, dtype: str) -> CoreIndex:
        """An empty core of this index's parameters."""

    def _effort(
        self, ef_search: int | None, recall: float | None, queries: NDArray[Any], k: int
    ) -> tuple[int, int]:
        """The core's ef for a search call, and that under a filter which lets a quarter through or less."""
        return 1, 1

    # -- writing -------------------------------------------------------------------------------------------------

    def add(
        self,
        vectors: ArrayLike,
        ids: Any = None,
        attributes: Attributes | None = None,
        progress: Progress = False,
        threads: int | None = None,
        on_conflict: Literal["raise", "update"] = "raise",
    ) -> NDArray[Any]:
        """Add vectors, at any time and without a limit set beforehand.

        Parameters
        ----------
        vectors : array_like, shape (n, dim) or (dim,)
            float32, float16, int8 or uint8 are kept as they are, if they come first or are the index's dtype;
            float64 and other numbers become float32 (or the index's dtype). Any strides.
        ids : array_like of non-negative int or of str, shape (n,), optional
            The kind is chosen by the first add. Without ids, integers are counted on from the largest so far.
        attributes : dict of columns, pandas or polars DataFrame, pyarrow Table or path of a Parquet file, optional
            One value a vector in each column: bool, int, float, str, date, datetime, or a list of str or of int. None,
            NaN and NaT are null, as are columns that others have and this call does not; an item that is replaced keeps
            those. New columns may come with any call.
        progress : bool or callable(done, total)
            True shows a bar (tqdm).
        threads : int, optional
            Default: ``set_num_threads``, else all cores. The result does not depend on it.
        on_conflict : {"raise", "update"}
            What to do with ids that are there already.

        Returns
        -------
        ndarray, shape (n,)
            The ids of what was added.

        Raises
        ------
        ValueError
            Wrong shape, dim or dtype; NaN or infinity (naming the first row); an id twice in the call; attributes of
            another length or another type than their column's.
        KeyError
            An id is there already.
        """
        if on_conflict not in ("raise", "update"):
            raise ValueError(f"on_conflict must be 'raise' or 'update', got {on_conflict!r}")
        core_threads = as_threads(threads)
        with self._write_lock:
            fixed = self._dtype_given or len(self._core) > 0
            block = self._as_block(vectors, self._core.dtype if fixed else None)
            keys, shown, strings = self._take_ids(ids, len(block))
            if strings is not None and on_conflict == "raise":
                self._require_new(shown, keys)
            columns = to_core(attributes, len(block), self._core.attribute_types())
            core = self._core if self._core.dtype == block.dtype.name else self._make_core(block.dtype.name)
            before = self._strings
            if len(keys):
                self._strings = strings  # before any search can find the first of them
            try:
                with reporter(progress, len(block), f"{type(self).__name__}.add") as report:
                    listener = core_progress(progress, report)
                    core.add(block, keys, on_conflict == "update", core_threads, listener, columns)
            except BaseException:
                self._strings = before
                raise
            self._core = core
            if strings is None and len(keys):
                self._next_id = max(self._next_id, int(keys.max()) + 1)
        return shown

    def _as_block(self, vectors: ArrayLike, dtype: str | None) -> NDArray[Any]:
        array = as_numbers(vectors, "vectors")
        block = as_vectors(array[None] if array.shape == (self._dim,) else array, "vectors", dtype)
        if block.shape[1] != self._dim:
            raise ValueError(f"vectors have dim {block.shape[1]}, the index has dim {self._dim}")
        return block

    def _take_ids(self, ids: Any, count: int) -> tuple[IntArray, NDArray[Any], StringIds | None]:
        """Keys for the core, ids for the caller, and the strings with those of `ids` among them."""
        empty = len(self._core) == 0
        if ids is None:
            if self._strings is not None and not empty:
                raise ValueError("this index has string ids: give ids")
            if self._next_id + count > id_forms.END:
                raise ValueError(f"there is no room for {count} ids after {self._next_id - 1}: give ids")
            keys = np.arange(self._next_id, self._next_id + count, dtype=np.uint64).astype(np.int64)
            return keys, keys, None
        listed, _ = id_forms.as_list(ids)
        if len(listed) != count:
            raise ValueError(f"got {count} vectors and {len(listed)} ids")
        if not id_forms.are_strings(listed):
            if self._strings is not None and not empty and count:
                raise ValueError("this index has string ids, got integers")
            keys = id_forms.as_integers(listed)
            return keys, keys.copy(), None
        if self._strings is None and not empty:
            raise ValueError("this index has integer ids, got strings")
        table = self._strings if self._strings is not None and not empty else StringIds()
        keys = table.add(str(string) for string in listed)
        id_forms.require_distinct(listed, keys)
        return keys, np.array([str(s) for s in listed], dtype=object), table

    def _require_new(self, strings: NDArray[Any], keys: IntArray) -> None:
        known = self._core.contains(keys)
        if known.any():
            raise KeyError(
                f"id {strings[int(np.argmax(known))]!r} is in the index already; update() replaces it, and so does "
                "add(..., on_conflict='update')"
            )

    def _keys(self, listed: NDArray[Any] | list[Any]) -> IntArray:
        """Keys of ids that may be known or not."""
        if self._strings is None:
            if len(listed) and id_forms.are_strings(listed):
                raise KeyError(f"this index has integer ids, got {listed[0]!r}")
            return id_forms.as_integers(listed)
        if len(listed) and not id_forms.are_strings(listed):
            raise KeyError(f"this index has string ids, got {listed[0]!r}")
        return self._strings.find(str(string) for string in listed)

    def _known_keys(self, ids: Any, distinct: bool = True) -> tuple[IntArray, bool]:
        """Keys of ids that are there, and whether one alone came; errors name ids in the user's words."""
        listed, single = id_forms.as_list(ids)
        keys = self._keys(listed)
        if self._strings is not None:
            known = self._core.contains(keys)
            if not known.all():
                raise KeyError(f"id {str(listed[int(np.argmin(known))])!r} is not in the index")
            if distinct:
                id_forms.require_distinct(listed, keys)
        return keys, single

    def _reader(self) -> Callable[[IntArray], NDArray[Any]]:
        """What makes the user's ids of keys that the core finds from now on, whatever is deleted meanwhile."""
        return _as_they_are if self._strings is None else self._strings.reader()

    def update(
        self,
        ids: Any,
        vectors: ArrayLike,
        attributes: Attributes | None = None,
        threads: int | None = None,
    ) -> None:
        """Replace the vectors of ids that are all there already (KeyError); shapes and errors as in `add`.

        Attributes that are not given stay as they are.
        """
        with self._write_lock:
            keys, _ = self._known_keys(ids)
            block = self._as_block(vectors, self._core.dtype)
            if len(keys) != len(block):
                raise ValueError(f"got {len(block)} vectors and {len(keys)} ids")
            columns = to_core(attributes, len(keys), self._core.attribute_types())
            self._core.update(block, keys, as_threads(threads), columns)

    def delete(self, ids: Any, threads: int | None = None) -> None:
        """Delete one id or several. KeyError, with nothing deleted, unless all are there."""
        with self._write_lock:
            keys, _ = self._known_keys(ids)
            self._core.remove(keys, as_threads(threads))
            # Seldom enough that it costs little.
            if self._strings is not None and len(self._strings) > 2 * len(self._core) + 1024:
                self._strings.keep_only(self._core.ids().tolist())

    def compact(self, progress: Progress = False, threads: int | None = None) -> None:
        """Rebuild from the live items alone.

        Afterwards the index, and its `digest`, depend on nothing but the set of (id, vector), the parameters and the
        seed: not on the order of arrival, earlier deletions or repairs, or threads. With ``keep_vectors=False`` it is
        rebuilt from the codes, which stay as they are: it depends on them then, and on what their codec learnt from.
        """
        with self._write_lock, reporter(progress, len(self), f"{type(self).__name__}.compact") as report:
            self._core.compact(as_threads(threads), core_progress(progress, report))
            if self._strings is not None:
                self._strings.keep_only(self._core.ids().tolist())

    def _drop_vectors(self, threads: int | None) -> None:
        """The last step of a build: `add` still keeps vectors that are few, in case that more come."""
        if not self._keep_vectors and self._core.vector_bytes:
            self.compact(threads=threads)

    # -- searching -----------------------------------------------------------------------------------------------

    def search(
        self,
        queries: ArrayLike,
        k: int = 10,
        *,
        ef_search: int | None = None,
        recall: float | None = None,
        filter: Filter | None = None,
        threads: int | None = None,
        plan: str = "auto",
        explain: bool = False,
    ) -> SearchResult:
        """The k nearest neighbours of each query, nearest first.

        Parameters
        ----------
        queries : array_like, shape (n, dim) or (dim,)
            One vector gives a result without the first axis.
        k : int
            More than there are items is no error: the rest is padded.
        ef_search : int, optional
            Effort of a graph index: candidates kept on the walk, at least k. Default 64 and at least 2k, or what the
            index was built to reach (`HNSWIndex.build(target=...)`).
        recall : float, optional
            A recall@k to reach instead of an effort, as measured by `HNSWIndex.calibrate`.
        filter : filter, or a list with one a query (or None)
            Which items may be results: an expression (``F.year >= 2015``), a dict, a SQL-like string, a pyarrow
            expression, a compiled filter, an array of bool (one for each of `index.ids`), or an array of ids; see
            docs/filters.md. There are always min(k, matches) results.
        threads : int, optional
            For a batch; default ``set_num_threads``, else all cores.
        plan : {"auto", "exact", "scan", "walk", "two-hop", "subgraph", "lists"}
            How to answer, for tests and research: all that passes by the stored vectors, or by codes first, or a walk
            through the graph, or one from what passes to what passes alone, by way of one node at most between two, or
            through the graphs of a filter index, or the posting lists that a graph index with attributes has. "auto"
            takes what costs least; see docs/filters.md.
        explain : bool
            The result's `plan` then tells how each query was answered.

        Raises
        ------
        ValueError
            Wrong shape, dim or dtype; NaN or infinity; k < 1; a mask of the wrong length; an unknown plan, or one
            that there is not for the filter; a filter
            that cannot be read, or that asks for attributes that there are not, naming those that there are.
        """
        block = as_queries(queries, self._dim)
        k = as_count(k, "k")
        require_room(1 if block.ndim == 1 else len(block), k)
        if ef_search is not None and recall is not None:
            raise ValueError("give ef_search or recall, not both")
        ef = self._effort(ef_search, recall, block, k)
        core_threads = 0 if threads is None else as_threads(threads)
        if filter is None:
            return self._search(block, k, ef, EVERYTHING, core_threads, plan, explain)
        if filters.is_one_per_query(filter):
            return self._search_each(block, k, ef, filter, core_threads, plan, explain)
        return self._search(block, k, ef, self._lower(filter), core_threads, plan, explain)

    def _search(
        self,
        block: NDArray[Any],
        k: int,
        ef: tuple[int, int],
        chosen: CoreFilter,
        threads: int,
        plan: str,
        explain: bool,
    ) -> SearchResult:
        read = self._reader()
        keys, distances, counts, cost, plans = self._core.search(
            block, k, *ef, chosen.mask, chosen.ids, chosen.expression, threads, plan, explain
        )
        return SearchResult(read(keys), distances, counts, cost, _of_one(plans, block))

    def _search_each(
        self,
        block: NDArray[Any],
        k: int,
        ef: tuple[int, int],
        each: Any,
        threads: int,
        plan: str,
        explain: bool,
    ) -> SearchResult:
        queries = 1 if block.ndim == 1 else len(block)
        if len(each) != queries:
            raise ValueError(f"got {queries} queries and {len(each)} filters")
        different, filter_of = self._lower_each(each)
        read = self._reader()
        keys, distances, counts, cost, plans = self._core.search_each(
            block, k, *ef, different, filter_of, threads, plan, explain
        )
        return SearchResult(read(keys), distances, counts, cost, _of_one(plans, block))

    def search_radius(
        self,
        queries: ArrayLike,
        radius: float,
        *,
        ef_search: int | None = None,
        filter: Filter | None = None,
        threads: int | None = None,
    ) -> RadiusResult:
        """The items within `radius`, in the metric's own unit (squared for "l2"), of each query: by a FlatIndex all of
        them, by others what the effort finds.

        Returns a RadiusResult, which unpacks in ``lims, ids, distances``. Errors as in `search`.
        """
        block = np.atleast_2d(as_queries(queries, self._dim))
        if not isinstance(radius, (int, float, np.number)) or np.isnan(radius):
            raise ValueError(f"radius must be a number, got {radius!r}")
        ef, _ = self._effort(ef_search, None, block, 1)
        chosen = self._lower(filter)
        read = self._reader()
        lims, keys, distances, cost = self._core.search_radius(
            block,
            float(radius),
            ef,
            chosen.mask,
            chosen.ids,
            chosen.expression,
            as_threads(threads),
        )
        return RadiusResult(lims, read(keys), distances, cost)

    # -- looking -------------------------------------------------------------------------------------------------

    def get(self, ids: Any) -> NDArray[Any]:
        """The vectors of ids as they were given, of the index's dtype: shape (n, dim), or (dim,) for one id.

        KeyError for an unknown id; ValueError if the vectors are not kept (``keep_vectors=False``).
        """
        keys, single = self._known_keys(ids, distinct=False)
        vectors = self._core.get(keys)
        return vectors[0] if single else vectors

    @property
    def ids(self) -> NDArray[Any]:
        """The ids by order of arrival, shape (len(index),); row i of a mask filter is for ``index.ids[i]``."""
        read = self._reader()
        return read(self._core.ids())

    def __contains__(self, ids: object) -> bool:
        try:
            keys = self._keys(id_forms.as_list(ids)[0])
        except (KeyError, ValueError):
            return False
        return bool(self._core.contains(keys).all())

    def __len__(self) -> int:
        return len(self._core)

    @property
    def dim(self) -> int:
        """Elements of a vector."""
        return self._dim

    @property
    def metric(self) -> str:
        """One of "l2", "ip", "cosine"."""
        return self._metric

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type of the vectors as they come and are stored (float32 until the first add has chosen)."""
        return np.dtype(self._core.dtype)

    def stats(self) -> dict[str, Any]:
        """What the index holds, and the memory that it takes in bytes."""
        return {
            "type": type(self).__name__,
            "size": len(self),
            "dim": self._dim,
            "metric": self._metric,
            "dtype": self._core.dtype,
            "keep_vectors": self._keep_vectors,
            "memory_bytes": self._core.memory_bytes,
            "vector_bytes": self._core.vector_bytes,
            "code_bytes": self._core.code_bytes,
        } | self._attribute_stats()

    def digest(self) -> str:
        """A hash (BLAKE2b, 32 hex digits) of all that searches depend on; the order of arrival is not part of it."""
        hasher = blake2b(digest_size=16)
        hasher.update(f"{self.kind}{'str' if self._strings is not None else 'int'}".encode())

        def take(name: str, shape: list[int], data: memoryview) -> None:
            if name != "table.arrival":
                hasher.update(f"{name}{shape}".encode())
                hasher.update(data)

        self._core.visit_sections(take)
        return hasher.hexdigest()

    # -- persistence ---------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index to one file (see docs/file-format.md), which `annlib.load` reads.

        Atomic and durable: after any failure (OSError) the file that was there before is whole.
        """
        from . import persistence

        persistence.save(self, path)

    def __reduce__(self) -> tuple[Any, ...]:
        from . import persistence

        return persistence.from_bytes, (persistence.to_bytes(self),)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(dim={self._dim}, metric={self._metric!r}, dtype={self._core.dtype!r}, "
            f"size={len(self)})"
        )


def _as_they_are(keys: IntArray) -> NDArray[Any]:
    return keys


def _of_one(plans: list[Any] | None, block: NDArray[Any]) -> Any:
    return plans[0] if plans is not None and block.ndim == 1 else plans


def core_progress(progress: Progress, report: Callable[[int], None]) -> Callable[[int, int], None] | None:
    """The core's callback, which counts steps of its own total; None where nobody listens."""
    if progress is False:
        return None
    return lambda done, total: report(done)
