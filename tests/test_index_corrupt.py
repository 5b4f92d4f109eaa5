"""Damaged files: every flipped bit and every truncation is told as CorruptIndexError, by whatever way the file is read."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from container_bytes import PAGE, VERSION_AT, entries, seal
from reference import vectors

import annlib
from annlib.persistence import from_bytes, to_bytes


def small_index(kind: type[annlib.FlatIndex] | type[annlib.HNSWIndex]) -> annlib.Index:
    """Something in every section: codes, twins, deleted items, strings."""
    train = vectors(60, 33)
    train[50:] = train[3]
    index = kind.build(train, metric="cosine", ids=[f"item {i}" for i in range(60)])
    index.delete([f"item {i}" for i in range(10, 15)])
    return index


@pytest.fixture(scope="module", params=[annlib.FlatIndex, annlib.HNSWIndex], ids=lambda index: index.kind)
def data(request: pytest.FixtureRequest) -> bytes:
    return to_bytes(small_index(request.param))


def refused(data: bytes | bytearray) -> bool:
    try:
        from_bytes(data)  # type: ignore[arg-type]
    except annlib.CorruptIndexError:
        return True
    return False


def test_a_bit_at_every_byte(data: bytes, rng: np.random.Generator) -> None:
    """All eight bits of what has a meaning in the header and the table, one of each byte of the sections, and some in
    the zeros that fill the pages.
    """
    forged = bytearray(data)
    table_end = 4096 + 128 * len(entries(data))
    sites = [
        (at, bit) for at in (*range(72), *range(PAGE - 8, PAGE), *range(PAGE, table_end)) for bit in range(8)
    ]
    held = np.zeros(len(data), bool)
    for entry in entries(data):
        held[entry.offset : entry.offset + entry.length] = True
    held |= rng.random(len(data)) < 0.15
    sites += [(int(at), int(rng.integers(8))) for at in np.flatnonzero(held)]
    missed = []
    for at, bit in sites:
        forged[at] ^= 1 << bit
        if not refused(forged):
            missed.append((at, bit))
        forged[at] ^= 1 << bit
    assert not missed
    from_bytes(bytes(forged))  # and without a flip it is sound


def test_several_bits_bytes_and_pages(data: bytes, rng: np.random.Generator) -> None:
    for _ in range(500):
        forged = bytearray(data)
        at, length = int(rng.integers(len(data))), int(rng.integers(1, 200))
        piece = rng.bytes(length)
        forged[at : at + length] = piece[: len(data) - at]
        assert refused(forged) or forged == data
    pages = len(data) // PAGE
    for a in range(pages):
        for b in rng.integers(0, pages, 3).tolist():
            forged = bytearray(data)
            page_a, page_b = data[a * PAGE : (a + 1) * PAGE], data[b * PAGE : (b + 1) * PAGE]
            forged[a * PAGE : (a + 1) * PAGE], forged[b * PAGE : (b + 1) * PAGE] = page_b, page_a
            assert refused(forged) or forged == data


def test_every_truncation_and_extension(data: bytes, rng: np.random.Generator) -> None:
    lengths = {*range(200), *range(PAGE - 3, PAGE + 300), *range(len(data) - 50, len(data))}
    lengths |= {page * PAGE + off for page in range(len(data) // PAGE) for off in (-1, 0, 1)}
    lengths |= set(rng.integers(0, len(data), 500).tolist())
    for length in lengths - {-1}:
        assert refused(data[:length]), length
    for more in (1, 7, PAGE, 3 * PAGE + 5):
        assert refused(data + bytes(more)) and refused(data + rng.bytes(more))


@pytest.mark.parametrize(
    "junk", [b"", b"\0" * 10_000, b"PK\x03\x04" + b"x" * 9000, b"{}", b"\x89HDF\r\n\x1a\n" + bytes(5000)]
)
def test_what_is_no_index_at_all(junk: bytes, tmp_path: Path) -> None:
    assert refused(junk)
    path = tmp_path / "x.ann"
    path.write_bytes(junk)
    for options in ({}, {"mmap": True}, {"mmap": True, "verify": False}):
        with pytest.raises(annlib.CorruptIndexError, match=r"x\.ann"):
            annlib.load(path, **options)
    assert annlib.verify(path)
    with pytest.raises(annlib.CorruptIndexError):
        annlib.info(path)


def test_all_ways_of_reading(data: bytes, tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "x.ann"
    for entry in entries(data):
        if not entry.length:
            continue
        forged = bytearray(data)
        forged[entry.offset + int(rng.integers(entry.length))] ^= 1 << int(rng.integers(8))
        path.write_bytes(forged)
        for mmap in (False, True):
            with pytest.raises(annlib.CorruptIndexError, match=r"x\.ann|description"):
                annlib.load(path, mmap=mmap)
        assert any(entry.name in problem for problem in annlib.verify(path)), entry.name
    whole = pickle.dumps(from_bytes(data))
    at = whole.index(data[:8])
    for offset in rng.integers(0, len(data), 200).tolist():
        with pytest.raises(annlib.CorruptIndexError):
            pickle.loads(whole[: at + offset] + bytes([whole[at + offset] ^ 4]) + whole[at + offset + 1 :])


def test_newer_versions(data: bytes, tmp_path: Path) -> None:
    for version in (2, 3, 2**31, 2**32 - 1):
        forged = bytearray(data)
        struct.pack_into("<I", forged, VERSION_AT, version)
        assert refused(forged)  # a damaged number is no newer version
        newer = seal(forged)
        with pytest.raises(annlib.VersionError, match=f"{version}"):
            from_bytes(newer)
        (tmp_path / "x.ann").write_bytes(newer)
        for mmap in (False, True):
            with pytest.raises(annlib.VersionError, match=r"x\.ann"):
                annlib.load(tmp_path / "x.ann", mmap=mmap)
        assert annlib.verify(tmp_path / "x.ann")
    forged = bytearray(data)
    struct.pack_into("<I", forged, VERSION_AT, 0)
    assert refused(seal(forged))
    assert not issubclass(annlib.VersionError, annlib.CorruptIndexError)


def test_unknown_kind(data: bytes) -> None:
    forged = bytearray(data)
    forged[16:32] = b"octree".ljust(16, b"\0")
    with pytest.raises(annlib.CorruptIndexError, match="octree"):
        from_bytes(seal(forged))


def test_directory_and_unreadable(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        annlib.load(tmp_path)
    with pytest.raises(OSError):
        annlib.verify(tmp_path / "missing.ann")
