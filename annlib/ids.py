"""Ids as users write them, and the non-negative 64-bit integers that the core knows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]

#: One beyond the largest integer id.
END = 1 << 63
_MASK = END - 1


def is_string_id(value: object) -> bool:
    """Whether an id is of the string kind."""
    return isinstance(value, str)


def as_list(ids: Any) -> tuple[NDArray[Any] | list[Any], bool]:
    """Ids as a one-dimensional sequence, and whether one alone came."""
    if isinstance(ids, (str, int, np.integer)) and not isinstance(ids, bool):
        return [ids], True
    if isinstance(ids, np.ndarray):
        if ids.ndim == 0:
            return [ids.item()], True
        if ids.ndim != 1:
            raise ValueError(f"ids must be one-dimensional, got shape {ids.shape}")
        return ids, False
    if isinstance(ids, Iterable):
        return list(ids), False
    return _one_dimensional(np.asarray(ids)), False


def _one_dimensional(ids: NDArray[Any]) -> NDArray[Any]:
    if ids.ndim != 1:
        raise ValueError(f"ids must be one-dimensional, got shape {ids.shape}")
    return ids


def are_strings(ids: NDArray[Any] | list[Any]) -> bool:
    """Whether these ids are strings; ValueError where some are and some are not."""
    if isinstance(ids, np.ndarray) and ids.dtype.kind == "U":
        return True
    if isinstance(ids, np.ndarray) and ids.dtype.kind != "O":
        return False
    strings = sum(isinstance(value, str) for value in ids)
    if 0 < strings < len(ids):
        raise ValueError("ids must be all strings or all integers")
    return strings > 0


def as_integers(ids: NDArray[Any] | list[Any]) -> IntArray:
    """Ids as int64. ValueError for what is no non-negative 64-bit integer."""
    if len(ids) == 0:
        return np.empty(0, np.int64)
    array = ids if isinstance(ids, np.ndarray) and ids.dtype.kind != "O" else np.asarray(list(ids))
    if array.dtype.kind not in "iu" or array.ndim != 1:
        # Integers beyond numpy's come out of it as floats or objects.
        outside = [value for value in ids if isinstance(value, int) and not 0 <= value < END]
        if outside:
            raise ValueError(f"ids must be between 0 and 2**63 - 1, got {outside[0]}")
        raise ValueError(
            f"ids must be non-negative integers or strings, got {array.dtype} of shape {array.shape}"
        )
    smallest, largest = int(array.min()), int(array.max())
    if smallest < 0 or largest > _MASK:
        raise ValueError(f"ids must be between 0 and 2**63 - 1, got {smallest if smallest < 0 else largest}")
    return np.ascontiguousarray(array, dtype=np.int64)


def require_distinct(ids: NDArray[Any] | list[Any], keys: IntArray) -> None:
    """ValueError naming the first of `ids` whose key stands before it already."""
    order = np.argsort(keys, kind="stable")
    again = order[1:][keys[order[1:]] == keys[order[:-1]]]
    if len(again):
        raise ValueError(f"id {str(ids[int(again.min())])!r} stands twice in one call")


class StringIds:
    """Strings and their 63-bit keys: a hash, moved on by one where two strings would share it.

    The key depends on the string alone (but for such collisions), so that a build from the same (id, vector) pairs is
    the same whatever the order of arrival. Not thread-safe.
    """

    def __init__(self) -> None:
        self._strings: dict[int, str] = {}

    def _key(self, string: str) -> int:
        key = (
            int.from_bytes(blake2b(string.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
            & _MASK
        )
        while self._strings.get(key, string) != string:
            key = (key + 1) & _MASK
        return key

    def find(self, strings: Iterable[str]) -> IntArray:
        """Keys of strings, known or not."""
        return np.fromiter((self._key(string) for string in strings), np.int64)

    def add(self, strings: Iterable[str]) -> IntArray:
        """Keys of strings, which are known from now on."""
        keys = []
        for string in strings:
            key = self._key(string)
            self._strings[key] = string
            keys.append(key)
        return np.array(keys, np.int64)

    def take(self, others: StringIds) -> None:
        """Knows those of another, too."""
        self._strings.update(others._strings)

    def keep_only(self, keys: Iterable[int]) -> None:
        """Forgets all other strings."""
        self._strings = {key: self._strings[key] for key in keys}

    def __len__(self) -> int:
        return len(self._strings)

    def reader(self) -> Callable[[IntArray], NDArray[Any]]:
        """What gives the strings of keys, in the keys' shape; None for -1.

        It also knows those that are there now and forgotten later: a search may have found them before.
        """
        before = self._strings

        def read(keys: IntArray) -> NDArray[Any]:
            now, result = self._strings, np.empty(keys.size, dtype=object)
            result[:] = [now[key] if key in now else before.get(key) for key in keys.ravel().tolist()]
            return result.reshape(keys.shape)

        return read

    def sections(self, keys: IntArray) -> dict[str, NDArray[Any]]:
        """What a file keeps: for each key its string, as offsets into UTF-8 text."""
        texts = [self._strings[key].encode("utf-8", "surrogatepass") for key in keys.tolist()]
        offsets = np.zeros(len(texts) + 1, np.int64)
        np.cumsum([len(text) for text in texts], out=offsets[1:])
        return {
            "ids.keys": keys,
            "ids.offsets": offsets,
            "ids.text": np.frombuffer(b"".join(texts), np.uint8),
        }

    @classmethod
    def restore(cls, keys: IntArray, offsets: IntArray, text: NDArray[np.uint8]) -> StringIds:
        """From a file's arrays; ValueError where they do not fit together."""
        if keys.ndim != 1 or offsets.shape != (len(keys) + 1,) or text.ndim != 1:
            raise ValueError("the arrays of string ids differ in length")
        if offsets[0] != 0 or offsets[-1] != len(text) or (np.diff(offsets) < 0).any():
            raise ValueError("the offsets of string ids are not ascending")
        ids, raw, ends = cls(), text.tobytes(), offsets.tolist()
        for key, start, end in zip(keys.tolist(), ends, ends[1:], strict=False):
            ids._strings[key] = raw[start:end].decode("utf-8", "surrogatepass")
        if len(ids) != len(keys) or len(set(ids._strings.values())) != len(keys):
            raise ValueError("a string id stands twice")
        return ids
