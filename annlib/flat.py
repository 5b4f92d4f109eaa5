"""Search by looking at everything."""

from __future__ import annotations

from typing import Any

from numpy.typing import DTypeLike

from ._core import FlatIndex as CoreFlat
from ._progress import Progress
from .arrays import codec_name
from .attributes import Attributes
from .index import Index
from .sources import SourceLike, open_source


class FlatIndex(Index):
    """Search by looking at every vector; the ground truth of the others, with the same interface.

    With a codec all codes are looked at instead, and then the vectors of those that may be results by the bound of the
    codes' error, or by 2.5 times its root mean square where a codec has no bound: distances stay exact, and what is
    missed is missed by a larger error. Of fewer than 1,024 vectors all are looked at.

    Parameters
    ----------
    dim : int
    metric : {"l2", "ip", "cosine"}, or "euclidean" and "angular"
    dtype : {"float32", "float16", "int8", "uint8"}, optional
        How vectors are stored; default: as the first ones come.
    codec, bits
        As in HNSWIndex.
    keep_vectors : bool
        False keeps the codes alone (see `Index`), and what is looked at are all of them, however few. ValueError for
        the codec "float32", which has none.
    """

    kind = "flat"
    _core: CoreFlat

    def __init__(
        self,
        dim: int,
        metric: str = "l2",
        dtype: DTypeLike | None = None,
        codec: str = "float32",
        bits: int | None = None,
        keep_vectors: bool = True,
    ) -> None:
        self._codec = codec_name(codec, bits)
        super().__init__(dim, metric, dtype, keep_vectors)

    def _make_core(self, dtype: str) -> CoreFlat:
        return CoreFlat(self._dim, dtype, self._metric, self._codec, self._keep_vectors)

    @classmethod
    def build(
        cls,
        vectors: SourceLike,
        ids: Any = None,
        attributes: Attributes | None = None,
        *,
        metric: str = "l2",
        dtype: DTypeLike | None = None,
        codec: str = "float32",
        bits: int | None = None,
        keep_vectors: bool = True,
        progress: Progress = False,
        threads: int | None = None,
    ) -> FlatIndex:
        """An index over `vectors`, shape (n, dim), in one call.

        They may be an array, the path of a file, a pyarrow Table or an iterator of blocks (`sources.open_source`).
        """
        block = open_source(vectors).read()
        index = cls(block.shape[1], metric, dtype, codec, bits, keep_vectors)
        index.add(block, ids, attributes, progress=progress, threads=threads)
        index._drop_vectors(threads)
        return index

    def stats(self) -> dict[str, Any]:
        """What the index holds, and the memory that it takes in bytes."""
        return super().stats() | {
            "codec": self._core.codec,
            "codec_asked": self._codec,
            "codec_reason": self._core.codec_reason,
        }

    def __repr__(self) -> str:
        codec = f", codec={self._core.codec!r}" if self._core.codec != "float32" else ""
        kept = "" if self._keep_vectors else ", codes only"
        return f"{super().__repr__()[:-1]}{codec}{kept})"
