"""Exact search."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike, DTypeLike

from ._core import FlatIndex as CoreFlat
from ._progress import Progress
from .arrays import as_vectors
from .index import Index


class FlatIndex(Index):
    """Exact search by looking at every vector; the ground truth of the others, with the same interface.

    Parameters
    ----------
    dim : int
    metric : {"l2", "ip", "cosine"}, or "euclidean" and "angular"
    dtype : {"float32", "float16", "int8", "uint8"}, optional
        How vectors are stored; default: as the first ones come.
    """

    kind = "flat"

    def __init__(self, dim: int, metric: str = "l2", dtype: DTypeLike | None = None) -> None:
        super().__init__(dim, metric, dtype)

    def _make_core(self, dtype: str) -> CoreFlat:
        return CoreFlat(self._dim, dtype, self._metric)

    @classmethod
    def build(
        cls,
        vectors: ArrayLike,
        ids: Any = None,
        *,
        metric: str = "l2",
        dtype: DTypeLike | None = None,
        progress: Progress = False,
    ) -> FlatIndex:
        """An index over `vectors`, shape (n, dim), in one call."""
        block = as_vectors(vectors, "vectors")
        index = cls(block.shape[1], metric, dtype)
        index.add(block, ids, progress=progress)
        return index
