"""The container of docs/file-format.md, read and written anew in Python: for tests that forge files."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PAGE = 4096
ENTRY = 128
TABLE_AT = 4096
TABLE_CRC_AT = 64
HEADER_CRC_AT = PAGE - 4
VERSION_AT = 12

DTYPES = ("u1", "i1", "u2", "u4", "i8", "u8", "f2", "f4", "f8")


def _crc_tables() -> NDArray[np.uint32]:
    """Row i: what a byte does to the sum when i bytes follow it in a stretch of 8."""
    first = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        first = np.where(first & 1, (first >> 1) ^ np.uint32(0x82F63B78), first >> 1)
    rows = [first]
    for _ in range(7):
        rows.append((rows[-1] >> 8) ^ first[rows[-1] & 255])
    return np.array(rows)


_TABLES = [row.tolist() for row in _crc_tables()]


def crc32c(data: bytes | bytearray | memoryview) -> int:
    """CRC-32C (Castagnoli), 8 bytes at a time."""
    t0, t1, t2, t3, t4, t5, t6, t7 = _TABLES
    crc, view = 0xFFFFFFFF, bytes(data)
    whole = len(view) // 8 * 8
    for (word,) in struct.iter_unpack("<Q", view[:whole]):
        word ^= crc
        crc = (
            t7[word & 255] ^ t6[word >> 8 & 255] ^ t5[word >> 16 & 255] ^ t4[word >> 24 & 255]
            ^ t3[word >> 32 & 255] ^ t2[word >> 40 & 255] ^ t1[word >> 48 & 255] ^ t0[word >> 56]
        )  # fmt: skip
    for byte in view[whole:]:
        crc = t0[(crc ^ byte) & 255] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


@dataclass(frozen=True)
class Entry:
    """One row of the section table."""

    at: int  #: where the row itself lies
    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    length: int


def entries(data: bytes | bytearray) -> list[Entry]:
    (count,) = struct.unpack_from("<I", data, 36)
    found = []
    for at in range(TABLE_AT, TABLE_AT + count * ENTRY, ENTRY):
        name = bytes(data[at : at + 48]).rstrip(b"\0").decode("ascii", "replace")
        element, rank = data[at + 48], data[at + 49]
        offset, length = struct.unpack_from("<QQ", data, at + 56)
        shape = struct.unpack_from("<4Q", data, at + 72)[:rank]
        found.append(Entry(at, name, DTYPES[element], shape, offset, length))
    return found


def section(data: bytes | bytearray, name: str) -> NDArray[np.generic]:
    """A copy of a section."""
    entry = next(entry for entry in entries(data) if entry.name == name)
    raw = bytes(data[entry.offset : entry.offset + entry.length])
    return np.frombuffer(raw, "<" + entry.dtype).reshape(entry.shape).copy()


def with_section(data: bytes, name: str, values: NDArray[np.generic]) -> bytes:
    """The file with a section's bytes replaced by others of the same length, and right checksums."""
    entry = next(entry for entry in entries(data) if entry.name == name)
    raw = values.tobytes()
    assert len(raw) == entry.length
    forged = bytearray(data)
    forged[entry.offset : entry.offset + entry.length] = raw
    return seal(forged, {name})


def renamed(data: bytes, old: str, new: str) -> bytes:
    """The file with a section under another name: unknown to the reader, as though it were missing."""
    forged = bytearray(data)
    entry = next(entry for entry in entries(data) if entry.name == old)
    forged[entry.at : entry.at + 48] = new.encode().ljust(48, b"\0")
    return seal(forged, set())


def seal(data: bytearray, changed: set[str] | None = None) -> bytes:
    """Right checksums for the sections named (None: all), the table and the header, as far as the table makes sense."""
    (count,) = struct.unpack_from("<I", data, 36)
    for at in range(TABLE_AT, min(TABLE_AT + count * ENTRY, len(data) - ENTRY + 1), ENTRY):
        name = bytes(data[at : at + 48]).rstrip(b"\0").decode("ascii", "replace")
        offset, length = struct.unpack_from("<QQ", data, at + 56)
        if (changed is None or name in changed) and offset + length <= len(data):
            struct.pack_into("<I", data, at + 52, crc32c(data[offset : offset + length]))
    (table_length,) = struct.unpack_from("<Q", data, 48)
    if TABLE_AT + table_length <= len(data):
        struct.pack_into("<I", data, TABLE_CRC_AT, crc32c(data[TABLE_AT : TABLE_AT + table_length]))
    struct.pack_into("<I", data, HEADER_CRC_AT, crc32c(data[:HEADER_CRC_AT]))
    return bytes(data)


def resized(data: bytes, lengths: dict[str, int]) -> bytes:
    """The file with sections cut off or filled up with zeros to so many rows, laid out anew and sealed."""
    rows = entries(data)
    head = bytearray(data[: TABLE_AT + (len(rows) * ENTRY + PAGE - 1) // PAGE * PAGE])
    body = bytearray()
    for entry in rows:
        raw = bytes(data[entry.offset : entry.offset + entry.length])
        shape = list(entry.shape)
        if entry.name in lengths:
            shape[0] = lengths[entry.name]
            raw = raw.ljust(int(np.prod(shape)) * np.dtype(entry.dtype).itemsize, b"\0")
            raw = raw[: int(np.prod(shape)) * np.dtype(entry.dtype).itemsize]
        struct.pack_into("<QQ", head, entry.at + 56, len(head) + len(body), len(raw))
        struct.pack_into("<Q", head, entry.at + 72, shape[0])
        body += raw + bytes(-len(raw) % PAGE)
    struct.pack_into("<Q", head, 56, len(head) + len(body))
    return seal(head + body)
