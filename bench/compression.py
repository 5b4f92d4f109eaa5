"""``python -m annlib_bench.compression``: what a code finds for the bytes that it takes, without any reranking.

Every codec learns from all of the vectors, and recall@k is that of an exhaustive search by code distances alone. Bytes
are all that is stored for a vector: its code and the factors behind it. With faiss installed its RaBitQ, PQ, OPQ and
PQ fast-scan of about the same bytes are measured beside (under cosine on vectors of unit length): OPQ of just as many,
PQ of the next less and more that divide the dimension, RaBitQ of the same bits.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from annlib import _core
from annlib.datasets import Dataset, load_demo, make_dataset, read_hdf5

from .metrics import answer_distances, recall, thresholds

Array = NDArray[Any]

OURS = ("rabitq:1", "rabitq:2", "rabitq:4", "rabitq:8", "int4", "int8")
PEERS = ("rabitq", "pq", "opq", "pqfs")
OPQ_ROUNDS = 10  #: faiss's default of 50 takes minutes


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


def faiss_specs(dim: int, bits: int, size: int, peers: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(method, index_factory string) for codes of `bits` a dimension or of about `size` bytes."""

    def around(room: int) -> list[int]:
        """A product quantiser's parts divide dim."""
        parts = [m for m in range(1, dim + 1) if dim % m == 0]
        return sorted({*[m for m in parts if m <= room][-1:], *[m for m in parts if m >= room][:1]})

    parts = min(size, dim)
    specs = {
        "rabitq": [f"RR{dim},RaBitQ{bits if bits > 1 else ''}"],
        "pq": [f"PQ{m}" for m in around(size)],
        "opq": [f"OPQ{parts}_{dim // parts * parts},PQ{parts}"],  # drops the axes that are too many
        "pqfs": [f"PQ{m}x4fs" for m in around(2 * size)],
    }
    for peer in peers:
        yield from ((f"faiss {peer}", spec) for spec in specs[peer])


def faiss_rows(
    data: Dataset, k: int, peers: Sequence[str], sizes: dict[int, int]
) -> Iterator[tuple[str, float, int, Array]]:
    """The same of faiss; `sizes` are ours, by bits."""
    import faiss

    train, test = data.train.astype(np.float32), data.test.astype(np.float32)
    if data.metric == "cosine":
        faiss.normalize_L2(train)
        faiss.normalize_L2(test)
    kind = faiss.METRIC_L2 if data.metric == "l2" else faiss.METRIC_INNER_PRODUCT
    for bits, size in sizes.items():
        for method, spec in faiss_specs(train.shape[1], bits, size, peers):
            index = faiss.index_factory(train.shape[1], spec, kind)
            if spec.startswith("OPQ"):
                faiss.downcast_VectorTransform(index.chain.at(0)).niter = OPQ_ROUNDS
            index.train(train)
            index.add(train)
            yield f"{method} ({spec})", float(bits), index.sa_code_size(), index.search(test, k)[1]


def measure(data: Dataset, k: int = 10, peers: Sequence[str] = ()) -> list[Row]:
    """A row for every method, by bits and name."""
    limits = thresholds(data, len(data.test), k)
    found = list(ours(data, k))
    if peers:
        sizes = {int(bits): size for method, bits, size, _ in found if "rabitq" in method}
        found += faiss_rows(data, k, peers, sizes)
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
    parser.add_argument("--rows", type=int, help="of the data set, the first ones (default: all)")
    parser.add_argument("--queries", type=int, default=1000, help="at most so many (default: %(default)s)")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=[], help="of faiss")
    args = parser.parse_args(argv)
    data = read_hdf5(args.dataset) if args.dataset else load_demo()
    queries = slice(args.queries)
    if args.rows is None:
        data = Dataset(
            data.name,
            data.train,
            data.test[queries],
            data.neighbors[queries],
            data.distances[queries],
            data.metric,
        )
    else:
        data = make_dataset(data.name, data.train[: args.rows], data.test[queries], data.metric, k=args.k)
    print(repr(data), table(measure(data, args.k, args.peers), args.k), sep="\n\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
