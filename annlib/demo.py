"""``annlib demo``: titles as queries over 10,000 arXiv abstracts, then a comparison with exact search."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import annlib

from ._progress import bar_is_seen
from ._tables import print_table
from .datasets import Dataset, load_demo

K = 10
EFFORTS = (16, 32, 64, 128)
_ROUNDS = 3

Search = Callable[[], NDArray[Any]]


@dataclass(frozen=True)
class Contender:
    """One row of the comparison: a search of all queries on one thread that returns ids (q, K)."""

    name: str
    build_seconds: float
    search: Search


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the options of the demo."""
    parser.add_argument("--queries", type=int, default=2, metavar="N", help="to show (default: %(default)s)")
    parser.add_argument("--match", metavar="WORD", help="show queries with this word in their title")
    parser.add_argument("--no-compare", action="store_true", help="leave the comparison out")


def run(args: argparse.Namespace) -> int:
    """Do what the options say; raises ImportError without h5py and ValueError where no title matches."""
    data = load_demo()
    rows = chosen_queries(data, args.queries, args.match)
    n, dim = data.train.shape
    print(
        f"{n:,} arXiv abstracts as {dim}-d vectors, metric {data.metric}; queries are titles of other papers."
    )
    index, seconds = _timed(
        lambda: annlib.HNSWIndex.build(
            data.train, metric=data.metric, attributes=attributes(data), progress=bar_is_seen()
        )
    )
    print(f"built {index!r} in {seconds:.2f} s, {index.stats()['memory_bytes'] / 1e6:.1f} MB\n")
    for row in rows:
        show_query(data, index, row)
    if not args.no_compare:
        compare(data, index, seconds)
    return 0


def attributes(data: Dataset) -> dict[str, NDArray[Any]]:
    """What the papers are filtered by: their category, and the day that they came out."""
    return {
        "category": data.attributes["primary_category"],
        "created": data.attributes["created_day"].astype("datetime64[D]"),
    }


def _timed(make: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    made = make()
    return made, time.perf_counter() - start


def chosen_queries(data: Dataset, count: int, word: str | None) -> Sequence[int]:
    """Rows of ``data.test`` to show: spread over all of them, or the first with `word` in the title."""
    titles = data.test_attributes["title"]
    if word is None:
        rows = np.linspace(0, len(titles) - 1, max(count, 0) + 2).astype(int)[1:-1]
        return [int(row) for row in rows]
    matching = [row for row, title in enumerate(titles) if word.casefold() in title.casefold()]
    if not matching:
        raise ValueError(f"none of the {len(titles)} query titles has the word {word!r}")
    return matching[:count]


def show_query(data: Dataset, index: Any, row: int, answers: int = 5) -> None:
    """Print the answers to one query: of all papers, then of those in one category since a year."""
    query = data.test[row]
    print(f"query: {data.test_attributes['title'][row]}")
    everything = index.search(query, answers)
    print_answers(data, everything, "nearest of all papers")
    category = filter_category(data, row, int(everything.ids[0]))
    year = int(np.median(years(data.attributes["created_day"])))
    condition = f"category = '{category}' AND created >= '{year}-01-01'"
    found = index.search(query, answers, filter=condition)
    print_answers(data, found, f"filter {condition}: {index.count(condition):,} papers match")
    print()


def years(days: NDArray[Any]) -> NDArray[np.int64]:
    """Calendar years of days since 1970-01-01."""
    return days.astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64) + 1970


def filter_category(data: Dataset, row: int, nearest: int) -> str:
    """The category of the query's own paper; of its nearest neighbour where the set has none of that one."""
    own = str(data.test_attributes["primary_category"][row])
    there = data.attributes["primary_category"]
    return own if (there == own).any() else str(there[nearest])


def print_answers(data: Dataset, found: Any, title: str) -> None:
    """Print the titles behind one query's result."""
    columns = data.attributes
    rows = [
        [float(f"{distance:.3f}"), str(year), columns["primary_category"][i], columns["title"][i]]
        for i, distance, year in zip(
            found.ids[: int(found.counts)],
            found.distances,
            years(columns["created_day"][found.ids]),
            strict=False,
        )
    ]
    print_table(["distance", "year", "category", "title"], rows, title)


def compare(data: Dataset, index: Any, build_seconds: float) -> None:
    """Print recall and speed of exact search, annlib, and faiss where installed: one thread, one batch."""
    contenders = [
        exact_contender(data),
        *(annlib_contender(data, index, ef, build_seconds) for ef in EFFORTS),
    ]
    contenders += faiss_contenders(data)
    best = [float("inf")] * len(contenders)
    recalls = [0.0] * len(contenders)
    # Round by round, so that whatever else the machine does meanwhile hits all alike.
    for _ in range(_ROUNDS):
        for i, contender in enumerate(contenders):
            ids, seconds = _timed(contender.search)
            best[i], recalls[i] = min(best[i], seconds), recall(ids, data.neighbors[:, :K])
    exact = len(data.test) / best[0]
    rows = []
    for contender, seconds, reached in zip(contenders, best, recalls, strict=True):
        qps = len(data.test) / seconds
        rows.append(
            [contender.name, round(reached, 4), round(qps), round(qps / exact, 1), contender.build_seconds]
        )
    title = f"{len(data.test)} queries in one batch, one thread, k = {K}, best of {_ROUNDS}"
    print_table(["index", f"recall@{K}", "queries/s", "times exact", "build s"], rows, title)


def recall(ids: NDArray[Any], neighbors: NDArray[Any]) -> float:
    """Share of the true neighbours (q, k) among the answers (q, k)."""
    hits = [np.isin(true, found).sum() for true, found in zip(neighbors, ids, strict=True)]
    return float(np.sum(hits) / neighbors.size)


def exact_contender(data: Dataset) -> Contender:
    """annlib's exact search."""
    index = annlib.FlatIndex(data.train.shape[1], data.metric)
    _, seconds = _timed(lambda: index.add(data.train))
    return Contender("exact (FlatIndex)", seconds, lambda: index.search(data.test, K, threads=1).ids)


def annlib_contender(data: Dataset, index: Any, ef: int, seconds: float) -> Contender:
    """The HNSW index at one effort."""
    name = f"annlib HNSW, ef_search={ef}"
    return Contender(name, seconds, lambda: index.search(data.test, K, ef_search=ef, threads=1).ids)


def faiss_contenders(data: Dataset) -> list[Contender]:
    """faiss's HNSW with the same M and ef_construction at the same efforts; none where it is missing."""
    try:
        import faiss
    except ImportError:
        print("faiss is not installed: compared with exact search only")
        return []
    train, test = (vectors.astype(np.float32) for vectors in (data.train, data.test))
    faiss.normalize_L2(train)
    faiss.normalize_L2(test)
    index = faiss.IndexHNSWFlat(train.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 200
    _, seconds = _timed(lambda: index.add(train))

    def at(ef: int) -> Search:
        def search() -> NDArray[Any]:
            threads = faiss.omp_get_max_threads()
            faiss.omp_set_num_threads(1)
            try:
                ids = index.search(test, K, params=faiss.SearchParametersHNSW(efSearch=ef))[1]
            finally:
                faiss.omp_set_num_threads(threads)
            return np.asarray(ids)

        return search

    return [Contender(f"faiss HNSW, efSearch={ef}", seconds, at(ef)) for ef in EFFORTS]
