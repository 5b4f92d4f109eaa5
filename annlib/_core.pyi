"""The compiled core: names, parameters and types of ``_core``, kept by hand (tests/test_stubs.py compares them).

Arrays that go in must be in C order; those that come out own their memory. Vectors are (n, dim), or (dim,) for one, of
float32, float16, int8 or uint8; ids are int64 and non-negative. ``threads`` 0 is the default number of threads. All
calls release the GIL while they work and may be made from any thread. Other errors than the two below are Python's.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypedDict

import numpy as np
from numpy.typing import NDArray

class CorruptIndexError(RuntimeError):
    """The bytes are not a well-formed annlib index."""

class VersionError(RuntimeError):
    """The file has a newer format than this version of annlib reads."""

#: Totals of a call: distance computations, hops, rerank computations, reads, bytes read, cache hits.
_Cost: TypeAlias = tuple[int, int, int, int, int, int]

#: A column: type, present, numbers, lists, texts, text (cpp/bind/attributes.h).
_Rows: TypeAlias = tuple[int, NDArray[np.uint8], NDArray[Any], NDArray[np.int64], NDArray[np.int64], bytes]

class _Counts(TypedDict):
    live: int
    dead: int
    twins: int
    levels: int
    links: int
    graph_bytes: int
    filter_list_bytes: int
    codec_error: float

class Index:
    """What all indexes do alike. Thread-safe."""

    def add(
        self,
        vectors: NDArray[Any],
        ids: NDArray[np.int64],
        update: bool,
        threads: int,
        progress: Callable[[int, int], object] | None,
        attributes: Mapping[str, _Rows],
    ) -> None: ...
    def update(
        self,
        vectors: NDArray[Any],
        ids: NDArray[np.int64],
        threads: int,
        attributes: Mapping[str, _Rows],
    ) -> None: ...
    def set_attributes(self, ids: NDArray[np.int64] | None, attributes: Mapping[str, _Rows]) -> None:
        """Of all items, by order of ids(), where there are no ids: columns are replaced then."""

    def drop_attributes(self, names: list[str]) -> None: ...
    def attributes(self, ids: NDArray[np.int64]) -> dict[str, Any]: ...
    def attribute_types(self) -> dict[str, int]: ...
    def attribute_stats(self) -> dict[str, dict[str, Any]]: ...
    def count(
        self, mask: NDArray[np.bool_] | None, ids: NDArray[np.int64] | None, expression: bytes | None
    ) -> int: ...
    def remove(self, ids: NDArray[np.int64], threads: int) -> None: ...
    def compact(self, threads: int, progress: Callable[[int, int], object] | None) -> None: ...
    def search(
        self,
        queries: NDArray[Any],
        k: int,
        ef: int,
        ef_filtered: int,
        mask: NDArray[np.bool_] | None,
        ids: NDArray[np.int64] | None,
        expression: bytes | None,
        threads: int,
        plan: str,
        explain: bool,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], Any, _Cost, list[dict[str, Any]] | None]:
        """Ids (n, k), distances (n, k), counts (n,) of int64; for one query of shape (dim,) (k,), (k,) and an int.

        The effort is `ef` where all passes, `ef_filtered` where a quarter does or less, and between them in between;
        in the plain layout always `ef`.
        `plan` is "auto", "exact", "scan", "walk", "subgraph", "lists" or "two-hop". With `explain` what became of each
        query comes last.
        """

    def search_each(
        self,
        queries: NDArray[Any],
        k: int,
        ef: int,
        ef_filtered: int,
        filters: Sequence[tuple[NDArray[np.bool_] | None, NDArray[np.int64] | None, bytes | None]],
        filter_of: NDArray[np.uint32],
        threads: int,
        plan: str,
        explain: bool,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], Any, _Cost, list[dict[str, Any]] | None]:
        """search() under filters of which `filter_of` (n,) names each query's own; 2**32 - 1 is none."""

    def search_radius(
        self,
        queries: NDArray[Any],
        radius: float,
        ef: int,
        mask: NDArray[np.bool_] | None,
        ids: NDArray[np.int64] | None,
        expression: bytes | None,
        threads: int,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], _Cost]:
        """Lims (n + 1,), ids and distances."""

    def get(self, ids: NDArray[np.int64]) -> NDArray[Any]: ...
    def contains(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]: ...
    def ids(self) -> NDArray[np.int64]: ...
    def write(self, path: bytes | str, extra: Mapping[str, NDArray[Any]]) -> None: ...
    def dump(self, extra: Mapping[str, NDArray[Any]]) -> bytes: ...
    def visit_sections(self, visit: Callable[[str, list[int], memoryview], object]) -> None: ...
    def __len__(self) -> int: ...
    @property
    def memory_bytes(self) -> int: ...
    @property
    def vector_bytes(self) -> int: ...
    @property
    def code_bytes(self) -> int: ...
    @property
    def keeps_vectors(self) -> bool: ...
    @property
    def dim(self) -> int: ...
    @property
    def dtype(self) -> str: ...
    @property
    def metric(self) -> str: ...

class FlatIndex(Index):
    def __init__(self, dim: int, dtype: str, metric: str, codec: str, keep_vectors: bool) -> None: ...
    @staticmethod
    def open(file: Container) -> FlatIndex: ...
    @property
    def codec_asked(self) -> str: ...
    @property
    def codec(self) -> str: ...
    @property
    def codec_reason(self) -> str: ...

class HnswIndex(Index):
    def __init__(
        self,
        dim: int,
        dtype: str,
        metric: str,
        M: int,
        ef_construction: int,
        codec: str,
        seed: int,
        layout: str,
        keep_vectors: bool,
    ) -> None: ...
    @staticmethod
    def open(file: Container) -> HnswIndex: ...
    @property
    def M(self) -> int: ...
    @property
    def ef_construction(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def layout_asked(self) -> str: ...
    @property
    def layout(self) -> str: ...
    @property
    def layout_reason(self) -> str: ...
    @property
    def codec_asked(self) -> str: ...
    @property
    def codec(self) -> str: ...
    @property
    def codec_reason(self) -> str: ...
    @property
    def stored_dtype(self) -> str: ...
    def unreachable(self) -> int: ...
    def bottom_ids(self) -> NDArray[np.int64]:
        """The items whose nodes are on the bottom layer alone, without the entry point."""

    def search_left_out(
        self,
        left_out: NDArray[np.int64],
        k: int,
        ef: int,
        mask: NDArray[np.bool_] | None,
        ids: NDArray[np.int64] | None,
        expression: bytes | None,
        threads: int,
        plan: str,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], Any, _Cost, None]:
        """As `search` with the vectors of some of `bottom_ids`, as though neither they nor their equals were there."""

    def repair(
        self,
        queries: NDArray[Any],
        k: int,
        threads: int,
        progress: Callable[[int, int], object] | None,
    ) -> tuple[int, int, int, int]:
        """Distinct neighbourhoods, how many were broken, links made, lists that got them."""

    def counts(self) -> _Counts: ...
    def create_filter_index(
        self, name: str, kind: str, min_items: int, memory_budget: int | None, threads: int
    ) -> None: ...
    def drop_filter_index(self, name: str) -> None: ...
    def filter_indexes(self) -> dict[str, dict[str, Any]]: ...

class _SpannCounts(TypedDict):
    lists: int
    postings: int
    shortest_list: int
    median_list: float
    longest_list: int
    list_bytes: int
    centroid_bytes: int

class SpannIndex(Index):
    def __init__(
        self, dim: int, dtype: str, metric: str, list_size: int, replicas: int, seed: int
    ) -> None: ...
    @staticmethod
    def open(file: Container) -> SpannIndex: ...
    @property
    def list_size(self) -> int: ...
    @property
    def replicas(self) -> int: ...
    @property
    def seed(self) -> int: ...
    def bottom_ids(self) -> NDArray[np.int64]:
        """All ids."""

    def search_left_out(
        self,
        left_out: NDArray[np.int64],
        k: int,
        ef: int,
        mask: NDArray[np.bool_] | None,
        ids: NDArray[np.int64] | None,
        expression: bytes | None,
        threads: int,
        plan: str,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], Any, _Cost, None]:
        """As `search` with the vectors of some of `bottom_ids`, as though neither they nor their equals were there."""

    def counts(self) -> _SpannCounts: ...

class DiskBuilder:
    """A directory being filled. For one thread."""

    def __init__(
        self,
        directory: bytes,
        dim: int,
        dtype: str,
        metric: str,
        list_size: int,
        replicas: int,
        codec: str,
        seed: int,
        memory_budget: int,
    ) -> None: ...
    def add(self, vectors: NDArray[Any], ids: NDArray[np.int64]) -> None: ...
    def finish(
        self,
        attributes: Mapping[str, _Rows],
        extra: Callable[[], dict[str, NDArray[Any]]],
        threads: int,
        progress: Callable[[str, int, int], object] | None,
    ) -> None: ...
    def room(self, count: int) -> int:
        """Bytes that the budget leaves beside the least that so many vectors take."""

    def __len__(self) -> int: ...

class _DiskCounts(TypedDict):
    lists: int
    postings: int
    shortest_list: int
    median_list: float
    longest_list: int
    fresh: int
    stale: int
    centroid_bytes: int
    item_bytes: int
    mapped_bytes: int
    fresh_bytes: int
    resident_bytes: int
    cache_bytes: int
    cache_capacity: int
    cache_hits: int
    cache_misses: int
    list_file_bytes: int
    vector_file_bytes: int
    log_bytes: int
    reads: int
    bytes_read: int
    engine: str
    direct: bool
    stored_dtype: str

class DiskIndex(Index):
    @staticmethod
    def open(
        directory: bytes, cache_bytes: int, engine: str, direct: bool, read_only: bool, fresh_bytes: int
    ) -> tuple[DiskIndex, list[Container]]:
        """The index, and of the changes in its log those that added something."""

    @property
    def manifest(self) -> Container: ...
    @property
    def directory(self) -> bytes: ...
    @property
    def list_size(self) -> int: ...
    @property
    def replicas(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def codec(self) -> str: ...
    @property
    def memory_budget(self) -> int: ...
    @property
    def read_only(self) -> bool: ...
    @property
    def closed(self) -> bool: ...
    def set_extra(self, extra: Callable[[], dict[str, NDArray[Any]]]) -> None:
        """What gives the arrays to be written beside the index."""

    def note(self, arrays: dict[str, NDArray[Any]]) -> None:
        """They go into the log with the next change."""

    def merge(self, threads: int) -> None: ...
    def wait_for_work(self, seconds: float) -> bool: ...
    def close(self) -> None: ...
    def damage(self) -> list[str]: ...
    def bottom_ids(self) -> NDArray[np.int64]:
        """All ids."""

    def search_left_out(
        self,
        left_out: NDArray[np.int64],
        k: int,
        ef: int,
        mask: NDArray[np.bool_] | None,
        ids: NDArray[np.int64] | None,
        expression: bytes | None,
        threads: int,
        plan: str,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], Any, _Cost, None]:
        """As `search` with the vectors of some of `bottom_ids`, as though neither they nor their equals were there."""

    def counts(self) -> _DiskCounts: ...

class Section:
    """One row of a file's section table."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> list[int]: ...
    @property
    def offset(self) -> int: ...
    @property
    def length(self) -> int: ...
    @property
    def dtype(self) -> str: ...

class Container:
    """An index file opened for reading."""

    @staticmethod
    def open(path: bytes | str, mmap: bool, verify: bool) -> Container: ...
    @staticmethod
    def from_bytes(data: bytes | bytearray | memoryview) -> Container: ...
    @property
    def kind(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def file_bytes(self) -> int: ...
    @property
    def sections(self) -> list[Section]: ...
    def __contains__(self, arg0: str) -> bool: ...
    def read(self, name: str) -> NDArray[Any]:
        """A copy of a section as an array."""

def codec_names() -> list[str]: ...
def code_distances(
    codec: str, metric: str, vectors: NDArray[Any], queries: NDArray[Any]
) -> tuple[NDArray[np.float32], int]:
    """Distances (q, n) by codes alone, learnt from the vectors, and the bytes of a code: to measure a codec."""

def set_num_threads(n: int) -> None: ...
def num_threads() -> int: ...
def simd_in_use() -> str: ...
def simd_available() -> list[str]: ...
def verify_container(path: bytes | str) -> list[str]:
    """One line for each thing that is wrong with a file."""
