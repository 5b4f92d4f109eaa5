"""What users hand over, as the arrays that the core takes."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from . import _core

#: Metric names as users may write them; "euclidean" and "angular" are those of ann-benchmarks.
METRICS = {"l2": "l2", "euclidean": "l2", "ip": "ip", "cosine": "cosine", "angular": "cosine"}
DTYPES = ("float32", "float16", "int8", "uint8")

_STORED = frozenset(np.dtype(name) for name in DTYPES)
_FLOAT32 = np.dtype(np.float32)
#: More results in one call than this (about 3 GB of them) are a mistake rather than a wish.
_MOST_RESULTS = 1 << 28


def metric_name(metric: str) -> str:
    """The core's name of a metric; ValueError with the names there are."""
    if not isinstance(metric, str) or metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}; there are: {', '.join(sorted(METRICS))}")
    return METRICS[metric]


def dtype_name(dtype: DTypeLike) -> str:
    """The core's name of an element type; ValueError with the ones there are."""
    try:
        name = str(np.dtype(dtype).name)
    except TypeError:
        name = repr(dtype)
    if name == "float64":
        name = "float32"
    if name not in DTYPES:
        raise ValueError(f"vectors are stored as {', '.join(DTYPES)}, not as {name}")
    return name


def as_numbers(values: ArrayLike, what: str) -> NDArray[Any]:
    """An array of real numbers of any shape and dtype; ValueError for everything else."""
    if not isinstance(values, np.ndarray):
        try:
            values = np.asarray(values)
        except (ValueError, TypeError) as error:  # numpy's words for rows of different lengths
            raise ValueError(f"{what} must be a rectangular array of numbers: {error}") from None
    if values.dtype.kind not in "fiu":
        raise ValueError(f"{what} must be real numbers, got dtype {values.dtype}")
    return values


def stored_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype that real numbers of `dtype` are stored as where none is asked for."""
    return dtype if dtype in _STORED else _FLOAT32


def as_vectors(values: ArrayLike, what: str, dtype: str | None = None) -> NDArray[Any]:
    """Vectors of shape (n, d) in C order.

    `dtype` is the index's; None keeps what came, where it can be stored, and makes it float32 otherwise.
    Integer types take whole numbers in their range only.
    """
    array = as_numbers(values, what)
    if array.ndim != 2:
        raise ValueError(f"{what} must have shape (n, dim), got {array.ndim} dimension(s): {array.shape}")
    target = np.dtype(dtype) if dtype is not None else stored_dtype(array.dtype)
    if array.dtype != target:
        if target.kind in "iu":
            _require_whole(array, what, target)
        with np.errstate(over="ignore"):  # the infinity that comes out is reported with its row
            array = array.astype(target)
    return np.ascontiguousarray(array)


def _require_whole(array: NDArray[Any], what: str, target: np.dtype[Any]) -> None:
    limits = np.iinfo(target)
    good = (array >= limits.min) & (array <= limits.max)
    if array.dtype.kind == "f":
        good &= array == np.rint(array)
    if not good.all():
        row = int(np.argwhere(~good)[0][0])
        raise ValueError(f"{what} must be whole numbers of {target.name} for this index; row {row} is not")


def as_queries(values: ArrayLike, dim: int) -> NDArray[Any]:
    """Queries of shape (n, dim), or (dim,) for one, in C order and of a dtype that can be stored."""
    array = as_numbers(values, "queries")
    if array.ndim not in (1, 2):
        raise ValueError(f"queries must have shape (n, {dim}) or ({dim},), got {array.shape}")
    if array.shape[-1] != dim:
        raise ValueError(f"queries have dim {array.shape[-1]}, the index has dim {dim}")
    if array.dtype not in _STORED:
        with np.errstate(over="ignore"):  # the infinity that comes out is reported with its row
            array = array.astype(_FLOAT32)
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


def as_count(value: Any, what: str, most: int = 2**31 - 1) -> int:
    """A whole number from 1 to `most`."""
    if type(value) is int and 1 <= value <= most:  # nearly always, and a search has no time to lose
        return value
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise ValueError(f"{what} must be a whole number, got {value!r}")
    if not 1 <= value <= most:
        raise ValueError(f"{what} must be between 1 and {most}, got {value}")
    return int(value)


_UNITS = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_UNITS |= {"kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def as_bytes(value: int | str, what: str, least: int = 1) -> int:
    """A number of bytes, as ``"256MiB"`` or a whole number; ValueError for what is none."""
    if isinstance(value, str):
        read = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", value)
        if read is None or read[2] not in _UNITS:
            raise ValueError(f"{what} must be bytes, such as '256MiB', got {value!r}")
        value = int(float(read[1]) * _UNITS[read[2]])
    elif isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise ValueError(f"{what} must be bytes, such as '256MiB', got {value!r}")
    if not least <= value < 1 << 62:
        raise ValueError(f"{what} must be at least {least} bytes, got {value}")
    return int(value)


def as_seed(value: Any) -> int:
    """A whole number of 64 bits."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 <= value < 2**64:
        raise ValueError(f"seed must be a whole number from 0 to 2**64 - 1, got {value!r}")
    return int(value)


def codec_name(codec: Any, bits: int | None) -> str:
    """The core's name of a codec, "rabitq:2" for "rabitq" with 2 bits. The core checks both."""
    if not isinstance(codec, str):
        raise ValueError(f"codec must be a name, got {codec!r}; there are: {', '.join(_core.codec_names())}")
    return codec if bits is None else f"{codec}:{as_count(bits, 'bits', 8)}"


def as_threads(threads: int | None) -> int:
    """The core's number of threads: 0 where the caller names none."""
    return 0 if threads is None else as_count(threads, "threads", 1024)


def require_room(queries: int, k: int) -> None:
    """ValueError for a k that asks for more results than anybody can want."""
    if queries * k > _MOST_RESULTS:
        raise ValueError(
            f"k={k} for {queries} queries asks for {queries * k} results; at most {_MOST_RESULTS} fit a call"
        )
