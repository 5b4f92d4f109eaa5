"""Indexes as files and as bytes."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from .calibrated import Calibrated
from .calibration import Calibration
from .flat import FlatIndex
from .hnsw import HNSWIndex
from .ids import END, StringIds
from .index import Index
from .spann import SPANNIndex


def save(index: Index, path: str | os.PathLike[str]) -> None:
    """Write an index to one file, atomically; OSError leaves the old file whole."""
    with index._write_lock:
        index._core.write(os.fsencode(path), extra_sections(index))


def to_bytes(index: Index) -> bytes:
    """The bytes that `save` would write."""
    with index._write_lock:
        return index._core.dump(extra_sections(index))


def load(path: str | os.PathLike[str], mmap: bool = False, verify: bool = True) -> Index:
    """Read an index of any type from a file, or open that of a directory (as `SPANNIndex.open`).

    Parameters
    ----------
    path : path
    mmap : bool
        Serve searches from the page cache, which all processes share, instead of from memory of one's own. Changes to
        such an index stay in memory. The file must not be changed in place meanwhile (`save` never does).
    verify : bool
        Check all checksums (reads the whole file). The structure is checked in any case.

    Raises
    ------
    CorruptIndexError
        The bytes are not a well-formed index.
    VersionError
        The file was written by a newer version of annlib.
    OSError
    """
    if os.path.isdir(path):
        return SPANNIndex.open(path)
    return _from_container(_core.Container.open(os.fsencode(path), mmap, verify))


def from_bytes(data: bytes) -> Index:
    """The index of `to_bytes`; errors as in `load`."""
    return _from_container(_core.Container.from_bytes(data))


def verify(path: str | os.PathLike[str]) -> list[str]:
    """What is wrong with an index file or directory, one line for each thing; empty if it is sound.

    OSError if it cannot be read.
    """
    if os.path.isdir(path):
        return _verify_directory(path)
    problems = _core.verify_container(os.fsencode(path))
    if problems:
        return list(problems)
    try:
        load(path)
    except (_core.CorruptIndexError, _core.VersionError) as error:
        return [str(error)]
    return []


def _verify_directory(path: str | os.PathLike[str]) -> list[str]:
    manifest = os.path.join(path, "index.ann")
    problems = _core.verify_container(os.fsencode(manifest))
    if problems:
        return [f"{manifest}: {problem}" for problem in problems]
    try:
        with SPANNIndex.open(path, cache=0, read_only=True) as index:
            return list(index._core.damage())
    except (_core.CorruptIndexError, _core.VersionError) as error:
        return [str(error)]


def info(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What an index file holds: kind, format version, sizes, sections, and the index's parameters. Errors as `load`."""
    directory = os.path.isdir(path)
    file = _core.Container.open(
        os.fsencode(os.path.join(path, "index.ann") if directory else path), False, True
    )
    sections = [
        {"name": s.name, "dtype": s.dtype, "shape": list(s.shape), "offset": s.offset, "length": s.length}
        for s in file.sections
    ]
    if directory:
        with SPANNIndex.open(path, cache=0, read_only=True) as index:
            stats = index.stats()
    else:
        stats = load(path, mmap=True, verify=False).stats()
    return {
        "kind": file.kind,
        "format_version": file.version,
        "file_bytes": file.file_bytes,
        **stats,
        "sections": sections,
    }


def extra_sections(index: Index) -> dict[str, NDArray[Any]]:
    """What the Python layer adds to the core's sections."""
    meta: dict[str, Any] = {"next_id": index._next_id, "dtype_given": index._dtype_given}
    if isinstance(index, Calibrated):
        meta["target"] = index._target
        meta["calibrations"] = [index._calibrations[k].as_dict() for k in sorted(index._calibrations)]
    sections = {"meta.json": np.frombuffer(json.dumps(meta, sort_keys=True).encode(), np.uint8)}
    if index._strings is not None:
        sections |= index._strings.sections(index._core.ids())
    return sections


def _from_container(file: _core.Container) -> Index:
    index: Index
    if file.kind == HNSWIndex.kind:
        core = _core.HnswIndex.open(file)
        index = HNSWIndex(
            core.dim,
            core.metric,
            core.M,
            core.ef_construction,
            core.codec_asked,
            core.dtype,
            core.seed,
            layout=core.layout_asked,
            keep_vectors=core.keeps_vectors,
        )
        index._core = core
    elif file.kind == FlatIndex.kind:
        flat = _core.FlatIndex.open(file)
        index = FlatIndex(
            flat.dim, flat.metric, flat.dtype, flat.codec_asked, keep_vectors=flat.keeps_vectors
        )
        index._core = flat
    elif file.kind == SPANNIndex.kind:
        spann = _core.SpannIndex.open(file)
        index = SPANNIndex(
            spann.dim, spann.metric, spann.list_size, spann.replicas, dtype=spann.dtype, seed=spann.seed
        )
        index._core = spann
    else:
        raise _core.CorruptIndexError(f"an index of unknown kind {file.kind!r}")
    try:
        _restore_extra(index, file)
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        OverflowError,
        RecursionError,
        UnicodeError,
    ) as error:
        raise _core.CorruptIndexError(
            f"the file's description of the index makes no sense: {error}"
        ) from None
    return index


def _restore_extra(index: Index, file: _core.Container) -> None:
    restore_meta(index, file)
    if "ids.keys" in file:
        strings = StringIds.restore(file.read("ids.keys"), file.read("ids.offsets"), file.read("ids.text"))
        if sorted(strings._strings) != sorted(index._core.ids().tolist()):
            raise ValueError("string ids and vectors differ")
        index._strings = strings


def restore_meta(index: Index, file: _core.Container) -> None:
    """What `extra_sections` wrote, but for string ids; ValueError and the like where it makes no sense."""
    meta = json.loads(file.read("meta.json").tobytes())
    index._next_id = int(meta["next_id"])
    index._dtype_given = bool(meta["dtype_given"])
    if not 0 <= index._next_id <= END:
        raise ValueError("next_id is out of range")
    if isinstance(index, Calibrated):
        target = meta["target"]
        if target is not None and not 0 < float(target) <= 1:
            raise ValueError("target is out of range")
        index._target = None if target is None else float(target)
        for values in meta["calibrations"]:
            calibration = Calibration.from_dict(values)
            index._calibrations[calibration.k] = calibration
