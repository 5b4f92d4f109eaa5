"""Recall of an index that grew piece by piece, in the orders that are hard, against one that was built at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reference import ARXIV_EF, Array, Data, clustered, lid, nearest, recall

import annlib

# A graph with few links shows what an order of arrival spoils sooner than one with many.
SMALL: dict[str, Any] = {"M": 12, "ef_construction": 80}


def orders(data: Data, label: Array, local_dimension: Array) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    n = len(data.train)
    return {
        "random": rng.permutation(n),
        "cluster": np.argsort(rng.permutation(label.max() + 1)[label], kind="stable"),
        "lid": np.argsort(local_dimension, kind="stable"),
        "coordinate": np.argsort(data.train[:, 0], kind="stable"),
    }


def grown(data: Data, order: Array, piece: int, **options: Any) -> annlib.HNSWIndex:
    index = annlib.HNSWIndex(data.train.shape[1], data.metric, **options)
    for start in range(0, len(order), piece):
        part = order[start : start + piece]
        index.add(data.train[part], ids=part)
    return index


def assert_as_good(index: annlib.HNSWIndex, bulk: annlib.HNSWIndex, data: Data, by: dict[str, Array]) -> None:
    """Recall@10 within a point at several efforts, over all queries and each of the groups."""
    assert len(index) == len(bulk) and index.unreachable() == 0
    for ef in (16, 32, 64):
        ours, theirs = (one.search(data.queries, k=10, ef_search=ef).distances for one in (index, bulk))
        for name, group in by.items():
            gap = recall(theirs[group], data.distances[group], 1e-5) - recall(
                ours[group], data.distances[group], 1e-5
            )
            # A quarter of the queries tells a quarter as much.
            assert gap <= (0.01 if name == "all" else 0.025), (ef, name, gap)


def quartiles(local_dimension: Array) -> dict[str, Array]:
    """All queries, and those of each quarter by the local intrinsic dimension around them."""
    order = np.argsort(local_dimension)
    return {"all": order} | {f"lid quartile {i}": part for i, part in enumerate(np.array_split(order, 4), 1)}


@pytest.fixture(scope="module")
def cluster_bulks(clusters: Data) -> dict[str, annlib.HNSWIndex]:
    return {
        name: annlib.HNSWIndex.build(clusters.train, metric=clusters.metric, **options)
        for name, options in (("small", SMALL), ("default", {}))
    }


@pytest.fixture(scope="module")
def cluster_orders(clusters: Data) -> dict[str, Array]:
    near = annlib.FlatIndex.build(clusters.train).search(clusters.train[::10], k=21)
    sampled = lid(np.sqrt(near.distances[:, 1:].astype(np.float64)))
    # The dimension around every row, from the sampled row that is nearest to it.
    owner = annlib.FlatIndex.build(clusters.train[::10]).search(clusters.train, k=1).ids[:, 0]
    return orders(clusters, clustered(20_500, 24, 300)[1][:20_000], sampled[owner])


@pytest.mark.parametrize(
    ("graph", "name", "piece"),
    [
        ("small", "random", 100),
        ("default", "lid", 1000),
        ("default", "coordinate", 1000),
        ("default", "cluster", 1000),
        ("small", "cluster", 100),
        ("small", "lid", 1000),
        ("small", "coordinate", 1000),
    ],
)
def test_clusters_added_in_pieces(
    clusters: Data,
    cluster_bulks: dict[str, annlib.HNSWIndex],
    cluster_orders: dict[str, Array],
    graph: str,
    name: str,
    piece: int,
) -> None:
    index = grown(clusters, cluster_orders[name], piece, **(SMALL if graph == "small" else {}))
    by = quartiles(lid(np.sqrt(clusters.distances)))
    assert_as_good(index, cluster_bulks[graph], clusters, by)


@pytest.mark.parametrize("name", ["cluster", "coordinate"])
def test_one_at_a_time(clusters: Data, cluster_orders: dict[str, Array], name: str) -> None:
    rows = np.arange(0, 20_000, 8)
    train = clusters.train[rows]
    neighbours, distances = nearest(train, clusters.queries, "l2", 10)
    data = Data(train, clusters.queries, "l2", neighbours, distances)
    order = np.argsort(np.argsort(cluster_orders[name])[rows])
    bulk = annlib.HNSWIndex.build(train, M=8, ef_construction=60)
    index = grown(data, order, 1, M=8, ef_construction=60)
    assert_as_good(index, bulk, data, {"all": np.arange(len(data.queries))})


@pytest.fixture(scope="module")
def arxiv_orders(arxiv: Data, arxiv_bulk: annlib.HNSWIndex) -> dict[str, Array]:
    near = arxiv_bulk.search(arxiv.train, k=21, ef_search=40).distances[:, 1:]
    label = arxiv_bulk.search(arxiv.train, k=1, filter=np.arange(50)).ids[:, 0]  # 50 rows as centres
    return orders(arxiv, label, lid(np.sqrt(2 * np.maximum(near, 1e-9).astype(np.float64))))


@pytest.mark.parametrize(
    ("name", "piece"), [("random", 100), ("cluster", 1000), ("lid", 333), ("coordinate", 1000)]
)
def test_embeddings_added_in_pieces(
    arxiv: Data, arxiv_bulk: annlib.HNSWIndex, arxiv_orders: dict[str, Array], name: str, piece: int
) -> None:
    index = grown(arxiv, arxiv_orders[name], piece, ef_construction=ARXIV_EF)
    by = quartiles(lid(np.sqrt(2 * np.maximum(arxiv.distances, 1e-9).astype(np.float64))))
    assert_as_good(index, arxiv_bulk, arxiv, by)


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("layout", ["plain", "fused"])
def test_rows_that_reach_beyond_those_before(metric: str, layout: str) -> None:
    """Codes are learnt from what is there: what comes later and is larger must not be cut to its range."""
    rows, _ = clustered(6300, 32, 60)
    small, large, queries = rows[:5000], 1.9 * rows[5000:6000], 1.9 * rows[6000:]
    both = np.concatenate([small, large])
    _, distances = nearest(both, queries, metric, 10)
    bulk = annlib.HNSWIndex.build(both, metric=metric, layout=layout)
    index = annlib.HNSWIndex.build(small, metric=metric, layout=layout)
    index.add(large)
    assert index.stats()["codec"] == bulk.stats()["codec"] == "int8"
    ours, theirs = (
        recall(each.search(queries, 10, ef_search=128).distances, distances, 1e-5) for each in (index, bulk)
    )
    assert ours >= theirs - 0.01
    assert theirs >= 0.98
