"""Queries from another distribution than the data: the graph mended for a sample of them."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from reference import Array, Data, cross_modal, nearest, recall, vectors

import annlib

N, DIM = 8000, 48


@pytest.fixture(scope="module")
def modal() -> tuple[Data, Array, Array]:
    """Data with queries of another kind, 4,000 more of these to mend for, and some of its own kind."""
    train, queries, alike = cross_modal(N, 4500, 500, DIM)
    samples, unseen = queries[:4000], queries[4000:]
    return Data(train, unseen, "cosine", *nearest(train, unseen, "cosine", 10)), samples, alike


def build(train: Array, **options: object) -> annlib.HNSWIndex:
    return annlib.HNSWIndex.build(
        train, **{"metric": "cosine", "layout": "plain", "ef_construction": 60} | options
    )  # type: ignore[arg-type]


def cost(index: annlib.HNSWIndex, queries: Array, target: float) -> float:
    """Distances a query at a recall@10."""
    measured = index.calibrate(queries)
    assert measured.recall[0] < target < measured.recall[-1]
    return float(np.interp(target, measured.recall, measured.distances))


@pytest.mark.parametrize(("layout", "codec"), [("plain", "float32"), ("fused", "int8")])
def test_unseen_queries_of_the_kind_are_found(
    modal: tuple[Data, Array, Array], layout: str, codec: str
) -> None:
    unseen, samples, alike = modal
    index = build(unseen.train, layout=layout, codec=codec)
    ef = 20 if layout == "plain" else 14
    found = recall(index.search(unseen.queries, ef_search=ef).distances, unseen.distances)
    before, own_before = cost(index, unseen.queries, 0.95), cost(index, alike, 0.99)
    bytes_before = index.stats()["graph_bytes"]
    done = index.repair(samples)
    assert 0.5 * len(samples) < done.broken <= done.queries == len(samples)
    assert done.links > done.nodes > N / 10
    assert found < 0.9
    assert recall(index.search(unseen.queries, ef_search=ef).distances, unseen.distances) > found + 0.05
    assert cost(index, unseen.queries, 0.95) < 0.8 * before
    assert cost(index, alike, 0.99) < 1.08 * own_before
    assert index.stats()["graph_bytes"] == bytes_before
    assert index.unreachable() == 0
    assert index.repair(samples).broken < done.broken


def test_queries_like_the_data_lose_nothing(arxiv: Data) -> None:
    index = build(arxiv.train[500:])
    before = cost(index, arxiv.train[:500], 0.97)
    index.repair(arxiv.queries)
    assert cost(index, arxiv.train[:500], 0.97) < 1.02 * before


@pytest.mark.parametrize("layout", ["plain", "fused"])
def test_a_function_of_the_sets_of_vectors_and_queries(
    modal: tuple[Data, Array, Array], layout: str, rng: np.random.Generator
) -> None:
    train, samples = modal[0].train[:3000], modal[1][:500]
    index = build(train, layout=layout, sample_queries=samples, threads=1)
    order = rng.permutation(len(train))
    twice = rng.permutation(np.concatenate([samples, samples[:50]]))
    other = build(train[order], ids=order, layout=layout, sample_queries=twice, threads=2)
    assert other.digest() == index.digest()
    plain = build(train, layout=layout)
    unrepaired = plain.digest()
    assert unrepaired != index.digest()
    plain.repair(samples)
    assert plain.digest() == index.digest()
    plain.compact()
    assert plain.digest() == unrepaired


def test_survives_a_file(modal: tuple[Data, Array, Array], tmp_path) -> None:  # type: ignore[no-untyped-def]
    index = build(modal[0].train[:2000], sample_queries=modal[1][:300])
    index.save(tmp_path / "mended.ann")
    assert annlib.load(tmp_path / "mended.ann", mmap=True).digest() == index.digest()


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "uint8"])
def test_every_metric_and_dtype(metric: str, dtype: str) -> None:
    train, queries = vectors(1500, 40, dtype), vectors(300, 40, dtype, seed=1)
    index = build(train, metric=metric)
    before = recall(index.search(queries, ef_search=10).distances, nearest(train, queries, metric, 10)[1])
    index.repair(queries, k=20)
    after = recall(index.search(queries, ef_search=10).distances, nearest(train, queries, metric, 10)[1])
    assert after > before


def test_copies_deleted_and_few() -> None:
    train = vectors(600, 16)
    copies = np.concatenate([train, np.repeat(train[:3], 100, axis=0)])
    index = build(copies)
    index.delete(np.arange(100, 150))
    index.repair(vectors(100, 16, seed=1))
    living = np.delete(copies, np.arange(100, 150), axis=0)
    queries = vectors(50, 16, seed=2)
    exact = nearest(living, queries, "cosine", 10)[1]
    assert recall(index.search(queries, ef_search=100).distances, exact) > 0.99
    few = build(train[:5], ids=list("abcde"))
    few.repair(train[5])
    assert sorted(few.search(train[5], k=9).ids[:5]) == list("abcde")


def test_errors_change_nothing(modal: tuple[Data, Array, Array]) -> None:
    index = build(modal[0].train[:1000])
    before = index.digest()
    bad = np.full((3, DIM), np.nan, np.float32)
    for queries, k, words in (
        (np.zeros((2, DIM + 1)), 64, f"dim {DIM + 1}"),
        (np.zeros((0, DIM)), 64, "at least one"),
        (bad, 64, "row 0"),
        (modal[1][:3], 1, "between 2 and 64"),
        (modal[1][:3], 65, "between 2 and 64"),
    ):
        with pytest.raises(ValueError, match=words):
            index.repair(queries, k)
    with pytest.raises(ValueError, match="empty index"):
        annlib.HNSWIndex(DIM).repair(modal[1][:3])
    with pytest.raises(ValueError, match="at least one"):
        build(modal[0].train[:10], sample_queries=np.zeros((0, DIM)))

    def stop(done: int, total: int) -> None:
        assert total == 400
        if done > 250:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        index.repair(modal[1][:200], progress=stop)
    assert index.digest() == before


@pytest.mark.parametrize("layout", ["plain", "fused"])
def test_searches_go_on_beside_it(modal: tuple[Data, Array, Array], layout: str) -> None:
    unseen, samples, _ = modal
    index = build(unseen.train, layout=layout)
    least, stop = [1.0], threading.Event()

    def search() -> None:
        while not stop.is_set():
            least.append(recall(index.search(unseen.queries, ef_search=64).distances, unseen.distances))

    thread = threading.Thread(target=search)
    thread.start()
    index.repair(samples[:1000], threads=1)
    stop.set()
    thread.join()
    assert len(least) > 1 and min(least) > 0.95
