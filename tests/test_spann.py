"""What is special about posting lists; what all indexes do alike is tested with the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from reference import METRICS, Data, clustered, islands, nearest, recall, vectors

import annlib
from annlib import F, SPANNIndex

N, DIM = 6000, 24


def spread(n: int, seed: int = 0) -> np.ndarray:
    """Vectors in clusters of all sizes, some of them far from the others."""
    rows, _ = clustered(n, DIM, 40, seed=seed)
    return rows


@pytest.mark.parametrize("metric", METRICS)
def test_recall_grows_with_nprobe_to_everything(metric: str) -> None:
    train, queries = vectors(N, DIM), vectors(100, DIM, seed=1)
    index = SPANNIndex.build(None, train, metric=metric, list_size=32)
    _, exact = nearest(train, queries, metric, 10)
    recalls = [recall(index.search(queries, 10, nprobe=p).distances, exact) for p in (1, 8, 64, 10_000)]
    assert recalls == sorted(recalls)
    assert recalls[0] < 0.9 < recalls[2] and recalls[3] == 1.0


def test_real_vectors_are_found_in_few_lists(arxiv: Data) -> None:
    index = SPANNIndex.build(None, arxiv.train, metric=arxiv.metric)
    found = index.search(arxiv.queries, 10, nprobe=16)
    assert recall(found.distances, arxiv.distances) >= 0.95
    # Exact distances of a part of what their lists hold.
    assert found.stats["rerank_computations"] < 0.02 * len(arxiv.queries) * len(arxiv.train)


def test_lists_are_balanced_and_hold_every_vector() -> None:
    train = spread(N)
    stats = SPANNIndex.build(None, train, list_size=50, replicas=3).stats()
    assert stats["postings_a_vector"] == pytest.approx(3, abs=0.05)
    assert N / 50 * 0.7 <= stats["lists"] <= N / 50 * 2.5
    assert stats["longest_list"] <= 8 * 3 * 50


def test_the_same_lists_whatever_the_order_and_threads() -> None:
    train, ids = spread(N), np.arange(N) * 3
    shuffled = np.random.default_rng(2).permutation(N)
    one = SPANNIndex.build(None, train, ids=ids, threads=1)
    other = SPANNIndex.build(None, train[shuffled], ids=ids[shuffled], threads=2)
    assert one.digest() == other.digest()
    assert one.digest() != SPANNIndex.build(None, train, ids=ids, seed=1).digest()


def test_a_recall_target_is_met_on_other_queries(arxiv: Data) -> None:
    index = SPANNIndex.build(None, arxiv.train, metric=arxiv.metric, target=0.9)
    assert recall(index.search(arxiv.queries, 10).distances, arxiv.distances) >= 0.88
    found = index.search(arxiv.queries, 10, recall=0.98)
    assert recall(found.distances, arxiv.distances) >= 0.965


def test_lists_are_split_and_given_up_as_vectors_come_and_go() -> None:
    train = spread(N)
    index = SPANNIndex.build(None, train[:3000], list_size=32)
    lists = index.stats()["lists"]
    for first in range(3000, N, 250):  # a small place fills up: its lists must split
        index.add(train[:250] * 0.01 + 3 + train[first : first + 250] * 0.001, ids=range(first, first + 250))
    assert index.stats()["lists"] > lists
    assert index.stats()["longest_list"] <= 3 * 2 * 32
    current = index.get(np.arange(N))
    queries = current[::60] + 0.001
    _, exact = nearest(current, queries, "l2", 10)
    assert recall(index.search(queries, 10, nprobe=64).distances, exact) >= 0.95
    index.delete(np.arange(0, 5500))
    left = index.stats()
    assert len(index) == 500 and left["postings"] <= 2 * 500
    _, exact = nearest(current[5500:], queries, "l2", 10)
    assert recall(index.search(queries, 10, nprobe=32).distances, exact) >= 0.95


def test_after_churn_as_after_a_fresh_build() -> None:
    """Half of all is replaced in steps of a hundredth: recall stays within a point of a fresh build's."""
    train, fresh = spread(2 * N), spread(N, seed=5)
    index = SPANNIndex.build(None, train[:N], list_size=32)
    for step in range(50):
        rows = slice(step * 60, (step + 1) * 60)
        index.add(fresh[rows], ids=range(N + step * 60, N + (step + 1) * 60))
        index.delete(np.arange(N)[rows])
    now = np.concatenate([train[3000:N], fresh[:3000]])
    queries = now[::30] + 0.01
    _, exact = nearest(now, queries, "l2", 10)
    churned = recall(index.search(queries, 10, nprobe=12).distances, exact)
    index.compact()
    assert churned >= recall(index.search(queries, 10, nprobe=12).distances, exact) - 0.01


@pytest.mark.parametrize("share", [0.0005, 0.01, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("plan", ["auto", "exact", "walk"])
def test_filters_by_every_plan(share: float, plan: str) -> None:
    train, queries = spread(N), spread(50, seed=1)
    value = np.random.default_rng(3).random(N)
    index = SPANNIndex.build(None, train, list_size=32, attributes={"value": value})
    passing = np.flatnonzero(value < share)
    found = index.search(queries, 10, nprobe=64, filter=F.value < share, plan=plan)
    assert (found.counts == min(10, len(passing))).all()
    _, exact = nearest(train[passing], queries, "l2", 10)
    k = exact.shape[1]
    assert recall(found.distances[:, :k], exact) >= (1.0 if plan == "exact" else 0.97)


@pytest.mark.parametrize("on_disk", [False, True])
def test_no_list_is_skipped(on_disk: bool, tmp_path: Path) -> None:
    """The more lists are asked for, the better it is known which are near: none may fall between two rounds."""
    train, queries = spread(N), spread(10, seed=1)
    index = SPANNIndex.build(tmp_path / "x" if on_disk else None, train, list_size=8)
    passing = np.random.default_rng(3).random(N) < 0.5
    wanted = int(passing.sum())
    for query in queries:
        found = index.search(query, wanted, nprobe=1, filter=passing, plan="walk", explain=True)
        assert found.counts == wanted
        assert not found.plan["switched"] and found.plan["plan"] == "walk"


def test_many_lists_are_found_by_a_graph() -> None:
    train = vectors(24_000, 8)
    index = SPANNIndex.build(None, train, list_size=1, replicas=1)
    assert index.stats()["lists"] > 16_384
    queries = vectors(50, 8, seed=1)
    _, exact = nearest(train, queries, "l2", 5)
    assert recall(index.search(queries, 5, nprobe=64).distances, exact) >= 0.95
    index.add(queries, ids=range(30_000, 30_050))
    assert (index.search(queries, 1, nprobe=16).distances == 0).all()
    index.delete(np.arange(0, 24_000, 3))
    assert len(index) == 16_050
    index.delete(range(30_000, 30_050))
    left = np.delete(train, np.arange(0, 24_000, 3), axis=0)
    _, exact = nearest(left, queries, "l2", 5)
    assert recall(index.search(queries, 5, nprobe=64).distances, exact) >= 0.95


def test_duplicates_do_not_fill_lists_for_ever(tmp_path: Path) -> None:
    train = np.repeat(vectors(10, 8), 500, axis=0)
    index = SPANNIndex.build(None, train, list_size=16)
    assert (index.search(train[:3], 20, nprobe=4).distances == 0).all()
    index.add(np.repeat(train[:1], 3000, axis=0))
    lists = index.stats()["lists"]
    for _ in range(20):
        index.add(train[:1])
    assert index.stats()["lists"] == lists
    assert (index.search(train[:1], 50, nprobe=4).distances == 0).all()
    index.save(tmp_path / "x.ann")
    again = annlib.load(tmp_path / "x.ann", mmap=True)
    assert again.digest() == index.digest() and isinstance(again, SPANNIndex)
    again.add(train[:20])
    assert len(again) == len(index) + 20


@pytest.mark.parametrize("parameter", ["list_size", "replicas"])
@pytest.mark.parametrize("value", [0, -1, 1 << 40, 1.5, "x"])
def test_parameters_out_of_range(parameter: str, value: object) -> None:
    with pytest.raises(ValueError, match=parameter):
        SPANNIndex(4, **{parameter: value})


def test_efforts_are_given_once() -> None:
    index = SPANNIndex.build(None, vectors(100, 4))
    with pytest.raises(ValueError, match="nprobe"):
        index.search(vectors(1, 4), nprobe=3, recall=0.9)
    with pytest.raises(ValueError, match="nprobe"):
        index.search(vectors(1, 4), nprobe=0)
    with pytest.raises(ValueError, match=r"subgraph.*exact, scan, walk"):
        index.search(vectors(1, 4), plan="subgraph")
    with pytest.raises(ValueError, match="plan 'two-hop'"):
        index.search(vectors(1, 4), plan="two-hop")


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize(("clusters", "scale"), [(40, 0.5), (300, 0.7)])
def test_what_lies_apart_from_the_query_is_found(
    clusters: int, scale: float, on_disk: bool, tmp_path: Path
) -> None:
    """In other clusters than its own, all of them at about the same distance."""
    n = 17_000
    points, labels = islands(n + 200, clusters, scale)
    train, queries, own = points[:n], points[n:], labels[n:]
    index = SPANNIndex.build(tmp_path / "x" if on_disk else None, train, attributes={"label": labels[:n]})
    index.calibrate(queries[100:])
    reached = []
    for query, label in zip(queries[:50], own, strict=False):
        passing = labels[:n] != label
        found = index.search(query, 10, recall=0.95, filter=F.label != int(label), plan="walk")
        reached.append(recall(found.distances[None], nearest(train[passing], query[None], "l2", 10)[1]))
    assert np.mean(reached) >= 0.75


@pytest.mark.parametrize("on_disk", [False, True])
def test_how_long_a_query_is_does_not_matter_to_products(tmp_path: Path, on_disk: bool) -> None:
    """Their order is the same, and so is what is looked at."""
    rows, _ = clustered(8100, 24, 80)
    rows *= np.random.default_rng(0).uniform(2, 6, (len(rows), 1)).astype(np.float32)
    train, queries = rows[:8000], rows[8000:]
    index = SPANNIndex.build(tmp_path / "x" if on_disk else None, train, metric="ip")
    scales = (1.0, 2.0**-7, 2.0**6)
    found = {scale: index.search(np.float32(scale) * queries, 10, nprobe=4) for scale in scales}
    for scale, other in found.items():
        assert other.stats["hops"] == pytest.approx(found[1.0].stats["hops"], rel=0.01), scale
        assert other.stats["rerank_computations"] == pytest.approx(
            found[1.0].stats["rerank_computations"], rel=0.01
        ), scale
        assert np.mean(other.ids == found[1.0].ids) > 0.97
        np.testing.assert_allclose(other.distances, np.float32(scale) * found[1.0].distances, rtol=0.05)
