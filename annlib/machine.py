"""What this build and this machine offer."""

from __future__ import annotations

from typing import Any

from . import _core
from .arrays import METRICS


def list_metrics() -> list[str]:
    """Names that an index takes as its metric; smaller distances are nearer in all of them."""
    return sorted(METRICS)


def list_codecs() -> list[str]:
    """Names that an index takes as its codec."""
    return list(_core.codec_names())


def cpu_features() -> dict[str, Any]:
    """The instruction sets of the kernels that this machine can run, and the one in use.

    The environment variable ``ANNLIB_SIMD`` (scalar, avx2, avx512, avx512vnni or neon), read at first use, forces one.
    """
    return {"in_use": _core.simd_in_use(), "available": list(_core.simd_available())}


def set_num_threads(n: int) -> None:
    """Threads that batches and builds use when the call names none; 0 is all cores. ValueError for n < 0."""
    _core.set_num_threads(n)
