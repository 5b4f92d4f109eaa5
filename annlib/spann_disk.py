"""Posting lists in files: an index larger than memory."""

from __future__ import annotations

import json
import logging
import os
import threading
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from . import ids as id_forms
from ._core import Container
from ._core import DiskBuilder as CoreBuilder
from ._core import DiskIndex as CoreDisk
from ._progress import Progress, reporter
from .arrays import as_bytes, as_count, as_seed, as_threads, as_vectors, dtype_name, metric_name
from .attributes import Attributes, to_core
from .ids import IntArray, StringIds
from .sources import Source, SourceLike, open_source
from .spann import SPANNIndex

_log = logging.getLogger(__name__)

_BLOCK_BYTES = 32 << 20
#: Dimensions from which vectors are so long that centroids of small lists, and more replicas, are little beside them.
_MANY_DIMS = 256
#: A merge that failed (a full disk, say) is tried again after so many seconds.
_RETRY = 10.0
#: What a build does behind reading the source, as the core names it.
_PHASES = ("sampling", "clustering", "choosing lists", "sorting", "writing vectors", "writing lists")


class DiskSPANNIndex(SPANNIndex):
    """A `SPANNIndex` in a directory, which `SPANNIndex.build` makes and `SPANNIndex.open` opens.

    In memory are the centroids, for each item its id, and the attributes; lists and vectors are read as searches need
    them, past the page cache where the file system allows, through a cache of its own. What changes and filters need
    of each item besides (where it stands, the order of arrival, a hash by id) is mapped from the directory: the system
    keeps of it what is in use.

    A change is in the directory's log, and on the disk, when the call that makes it returns. What has come since is
    written into the lists in the background. One process at a time may write; any number may read (``read_only``),
    each the state that it opened.

    Thread safety and errors as in `Index`; OSError, naming the file, for what cannot be read or written, and for any
    use after `close`.
    """

    _core: CoreDisk  # type: ignore[assignment]

    def __init__(self, path: str, core: CoreDisk, added: list[Container], options: dict[str, Any]) -> None:
        self._path = path
        self._opened = core
        self._options = options
        super().__init__(core.dim, core.metric, core.list_size, core.replicas, core.dtype, core.seed)
        self._merger: threading.Thread | None = None
        self._restore(core.manifest, added)
        if not core.read_only:
            weak = weakref.ref(self)
            core.set_extra(lambda: _extra_of(weak))
        self._finalizer = weakref.finalize(self, core.close)

    def _make_core(self, dtype: str) -> CoreDisk:  # type: ignore[override]
        return self._opened

    def _restore(self, manifest: Container, added: list[Container]) -> None:
        from .persistence import restore_meta

        if "ids.keys" in manifest:
            self._strings = _strings_of(manifest)
        restore_meta(self, manifest)
        for record in added:
            if "ids.keys" in record:
                if self._strings is None:
                    self._strings = StringIds()
                self._strings.take(_strings_of(record))
            else:
                self._next_id = max(self._next_id, int(record.read("ids").max(initial=-1)) + 1)

    # -- writing -------------------------------------------------------------------------------------------------

    def _take_ids(self, ids: Any, count: int) -> tuple[IntArray, NDArray[Any], StringIds | None]:
        keys, shown, strings = super()._take_ids(ids, count)
        self._core.note({} if strings is None else strings.sections(keys))
        self._begin_merging()
        return keys, shown, strings

    def _begin_merging(self) -> None:
        """The thread that writes what has come into the lists, from the first addition on."""
        if self._merger is None and not self._core.read_only:
            self._merger = threading.Thread(
                target=_merge_when_due, args=(self._core,), name=f"annlib merge {self._path}", daemon=True
            )
            self._merger.start()

    def flush(self, threads: int | None = None) -> None:
        """Write everything that has come since into the lists, and begin a new log. Searches go on meanwhile.

        Nothing depends on it: what a call has changed is durable when it returns.
        """
        self._core.merge(as_threads(threads))

    def close(self) -> None:
        """Let go of the directory. Idempotent; all other calls are OSError from then on."""
        self._finalizer()
        if self._merger is not None and self._merger is not threading.current_thread():
            self._merger.join()

    def __enter__(self) -> DiskSPANNIndex:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- looking -------------------------------------------------------------------------------------------------

    @property
    def path(self) -> str:
        """The directory."""
        return self._path

    def stats(self) -> dict[str, Any]:
        """What the index holds, the memory and the room on disk that it takes in bytes, and what was read so far.

        ``memory_bytes`` is without ``mapped_bytes``, parts of a file whose pages the system can have back; those that
        changes have written to are memory, too, until the next merge.
        """
        stats = super().stats()
        stats.pop("code_bytes")
        stats.pop("vector_bytes")
        return stats | {
            "path": self._path,
            "codec": self._core.codec,
            "memory_budget": self._core.memory_budget,
            "read_only": self._core.read_only,
            "disk_bytes": sum(entry.stat().st_size for entry in os.scandir(self._path) if entry.is_file()),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """ValueError: the directory is the index, and can be copied when it is closed."""
        raise ValueError(f"this index lives in {self._path!r}: close it and copy the directory")

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self._path, self._options)

    def __repr__(self) -> str:
        if self._core.closed:
            return f"{type(self).__name__}({self._path!r}, closed)"
        stored = self._core.counts()["stored_dtype"]
        narrow = f", vectors stored as {stored!r}" if stored != self._core.dtype else ""
        return f"{super().__repr__()[:-1]}{narrow}, codec={self._core.codec!r}, path={self._path!r})"


def build(
    path: str | os.PathLike[str],
    source: SourceLike,
    ids: Any,
    attributes: Attributes | None,
    *,
    metric: str,
    list_size: int | None,
    replicas: int | None,
    codec: str,
    dtype: DTypeLike | None,
    seed: int,
    memory_budget: int | str,
    progress: Progress,
    threads: int | None,
) -> int:
    """Make a directory of a source's vectors; see `SPANNIndex.build`. How much of the budget the index leaves."""
    opened = open_source(source)
    element = opened.dtype.name if dtype is None else dtype_name(dtype)
    default_lists = (256, 2) if opened.dim < _MANY_DIMS else (64, 4)
    budget = as_bytes(memory_budget, "memory_budget")
    keys, strings = (None, None) if ids is None else _keys_of(ids)
    if keys is not None and opened.count is not None and len(keys) != opened.count:
        raise ValueError(f"got {opened.count} vectors and {len(keys)} ids")
    if opened.count is not None:
        to_core(attributes, opened.count, {})  # what is wrong with them is known before the work begins
    builder = CoreBuilder(
        os.fsencode(path),
        opened.dim,
        element,
        metric_name(metric),
        as_count(default_lists[0] if list_size is None else list_size, "list_size"),
        as_count(default_lists[1] if replicas is None else replicas, "replicas"),
        codec,
        as_seed(seed),
        budget,
    )
    try:
        if opened.count is not None:
            builder.room(opened.count)
        with _Phases(progress) as phases:
            done = 0
            for block in opened.blocks(_rows_at_once(opened, budget)):
                stop = done + len(block)
                own = np.arange(done, stop) if keys is None else keys[done:stop]
                if len(own) < len(block):
                    raise ValueError(f"got {stop} vectors or more and {done + len(own)} ids")
                builder.add(as_vectors(block, "vectors", element), np.ascontiguousarray(own))
                done = stop
                phases("reading", done, opened.count or done)
            if keys is not None and len(keys) != done:
                raise ValueError(f"got {done} vectors and {len(keys)} ids")
            columns = to_core(attributes, done, {})
            meta: dict[str, Any] = {
                "next_id": done if keys is None else int(keys.max(initial=-1)) + 1 if strings is None else 0,
                "dtype_given": True,
                "target": None,
                "calibrations": [],
            }
            extra = {"meta.json": np.frombuffer(json.dumps(meta, sort_keys=True).encode(), np.uint8)}
            if strings is not None and keys is not None:
                extra |= strings.sections(keys)
            builder.finish(columns, lambda: extra, as_threads(threads), phases if progress else None)
        return builder.room(done)
    finally:
        del builder  # and its lock, whoever keeps an error's traceback


def open_directory(
    path: str | os.PathLike[str],
    cache: int | str,
    *,
    engine: str,
    direct: bool,
    read_only: bool,
    fresh: int | str,
) -> DiskSPANNIndex:
    """See `SPANNIndex.open`."""
    options: dict[str, Any] = {
        "cache": as_bytes(cache, "cache", 0),
        "engine": engine,
        "direct": direct,
        "fresh": as_bytes(fresh, "fresh"),
    }
    core, added = CoreDisk.open(
        os.fsencode(path), options["cache"], engine, bool(direct), bool(read_only), options["fresh"]
    )
    return DiskSPANNIndex(os.fspath(path), core, added, options)


def _reopen(path: str, options: dict[str, Any]) -> DiskSPANNIndex:
    return open_directory(path, read_only=True, **options)


def _rows_at_once(source: Source, budget: int) -> int:
    return source.rows_of(max(1, min(_BLOCK_BYTES, budget // 16)))


def _keys_of(ids: Any) -> tuple[IntArray, StringIds | None]:
    listed, _ = id_forms.as_list(ids)
    if not id_forms.are_strings(listed):
        keys = id_forms.as_integers(listed)
        strings = None
    else:
        strings = StringIds()
        keys = strings.add(str(string) for string in listed)
    id_forms.require_distinct(listed, keys)
    return keys, strings


def _strings_of(file: Container) -> StringIds:
    return StringIds.restore(file.read("ids.keys"), file.read("ids.offsets"), file.read("ids.text"))


def _extra_of(weak: weakref.ref[DiskSPANNIndex]) -> dict[str, NDArray[Any]]:
    from .persistence import extra_sections

    index = weak()
    if index is None:
        raise ReferenceError("the index is being closed")
    return extra_sections(index)


def _merge_when_due(core: CoreDisk) -> None:
    def closed() -> bool:
        return core.closed

    while not closed():
        if not core.wait_for_work(_RETRY):
            continue
        try:
            core.merge(1)  # searches want the other cores
        except OSError:
            if closed():
                return
            _log.exception(
                "%r: what has come cannot be written into the lists; it is in the log", core.directory
            )
            threading.Event().wait(_RETRY)


class _Phases:
    """Progress of a build: a bar a phase, or a callable that is given (done, total) over all of them."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._phase = ""
        self._bar = ExitStack()
        self._report: Callable[[int], None] = lambda done: None

    def __enter__(self) -> _Phases:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def __call__(self, phase: str, done: int, total: int) -> None:
        if callable(self._progress):
            names = ("reading", *_PHASES)
            parts = 1000
            at = names.index(phase) * parts + (done * parts // total if total else parts)
            self._progress(at, len(names) * parts)
        elif self._progress:
            if phase != self._phase:
                self._bar.close()
                self._phase = phase
                self._report = self._bar.enter_context(reporter(True, total, phase))
            self._report(done)
