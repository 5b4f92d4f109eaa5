"""``python -m annlib_bench.compression``: what a code finds for the bytes that it takes, without any reranking.

Every codec learns from all of the vectors, and recall@k is that of an exhaustive search by code distances alone. Bytes
are all that is stored for a vector: its code and the floats behind it. With faiss installed its RaBitQ, PQ, OPQ and
PQ fast-scan of about the same bytes are measured beside (under cosine on vectors of unit length).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from annlib import _core
from annlib.datasets import Dataset, load_demo, read_hdf5

from .metrics import answer_distances, recall, thresholds

Array = NDArray[Any]

OURS = ("rabitq:1", "rabitq:2", "rabitq:4", "rabitq:8", "int4", "int8")
PEERS = ("rabitq", "pq", "opq", "pqfs")


class Row(NamedTuple):
    method: str
    bits: float  #: a dimension, of the code without what is stored behind it
    bytes: int
    recall: float


def ours(data: Dataset, k: int) -> Iterator[tuple[str, float, int, Array]]:
    """Method, bits, bytes and the k nearest by code, for every codec."""
    train, test = np.ascontiguousarray(data.train), np.ascontiguousarray(data.test)
    for codec in OURS:
        distances, size = _core.code_distances(codec, data.metric, train, test)
        bits = float(codec.split(":")[1]) if ":" in codec else float(codec.removeprefix("int"))
        yield f"annlib {codec}", bits, size, np.argpartition(distances, k, axis=1)[:, :k]


def faiss_specs(dim: int, bits: int, peers: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(method, index_factory string) for codes of about `bits` a dimension and at least as many bytes as ours."""
    room = dim * bits // 8
    # A product quantiser wants a divisor of dim: the least that has the room, or all dimensions.
    parts = min((m for m in range(1, dim + 1) if dim % m == 0 and m >= room), default=dim)
    specs = {
        "rabitq": f"RR{dim},RaBitQ{bits if bits > 1 else ''}",
        "pq": f"PQ{parts}",
        "opq": f"OPQ{parts},PQ{parts}",
        "pqfs": f"PQ{2 * parts}x4fs" if dim % (2 * parts) == 0 else "",
    }
    for peer in peers:
        if specs[peer]:
            yield f"faiss {peer}", specs[peer]


def faiss_rows(data: Dataset, k: int, peers: Sequence[str]) -> Iterator[tuple[str, float, int, Array]]:
    """The same of faiss."""
    import faiss

    train, test = data.train.astype(np.float32), data.test.astype(np.float32)
    if data.metric == "cosine":
        faiss.normalize_L2(train)
        faiss.normalize_L2(test)
    kind = faiss.METRIC_L2 if data.metric == "l2" else faiss.METRIC_INNER_PRODUCT
    for bits in (1, 2, 4, 8):
        for method, spec in faiss_specs(train.shape[1], bits, peers):
            index = faiss.index_factory(train.shape[1], spec, kind)
            index.train(train)
            index.add(train)
            yield f"{method} ({spec})", float(bits), index.sa_code_size(), index.search(test, k)[1]


def measure(data: Dataset, k: int = 10, peers: Sequence[str] = ()) -> list[Row]:
    """A row for every method, by bits and name."""
    limits = thresholds(data, len(data.test), k)
    found = list(ours(data, k)) + (list(faiss_rows(data, k, peers)) if peers else [])
    rows = [
        Row(method, bits, size, recall(answer_distances(data, np.asarray(ids, np.int64)), limits))
        for method, bits, size, ids in found
    ]
    return sorted(rows, key=lambda row: (row.bits, row.method))


def table(rows: Sequence[Row], k: int) -> str:
    """Markdown."""
    lines = [f"| bits | method | bytes | recall@{k} |", "|---|---|---|---|"]
    lines += [f"| {row.bits:g} | {row.method} | {row.bytes} | {row.recall:.4f} |" for row in rows]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m annlib_bench.compression", description=__doc__)
    parser.add_argument(
        "--dataset", help="an ann-benchmarks HDF5 file (default: the arXiv set that annlib carries)"
    )
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--queries", type=int, default=1000, help="at most so many (default: %(default)s)")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=[], help="of faiss")
    args = parser.parse_args(argv)
    data = read_hdf5(args.dataset) if args.dataset else load_demo()
    queries = slice(args.queries)
    data = Dataset(
        data.name,
        data.train,
        data.test[queries],
        data.neighbors[queries],
        data.distances[queries],
        data.metric,
    )
    print(repr(data), table(measure(data, args.k, args.peers), args.k), sep="\n\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
