"""Effort by recall: what calibrate() measures holds for queries that it has not seen."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from reference import Array, Data, nearest, recall, vectors

import annlib

TARGETS = (0.8, 0.9, 0.95, 0.99)
#: Queries made up from the data are a guess: they may miss a target by more than the point that given ones may.
SLACK = 0.025


def reached(index: annlib.HNSWIndex, queries: Array, exact: Array, target: float) -> float:
    return recall(index.search(queries, k=exact.shape[1], recall=target).distances, exact, 1e-5)


def test_targets_hold_for_unseen_queries(arxiv: Data) -> None:
    """Calibrated on half of the titles, asked with the other half; on a graph that is not so good that all is easy."""
    index = annlib.HNSWIndex.build(arxiv.train, metric=arxiv.metric, M=6, ef_construction=30)
    calibration = index.calibrate(arxiv.queries[::2], k=10)
    assert calibration.recall[0] < 0.8
    efforts = []
    for target in TARGETS:
        assert reached(index, arxiv.queries[::2], arxiv.distances[::2], target) >= target - 0.005
        assert reached(index, arxiv.queries[1::2], arxiv.distances[1::2], target) >= target - 0.01
        efforts.append(index.search(arxiv.queries, k=10, recall=target).stats["distance_computations"])
    assert efforts == sorted(efforts) and efforts[0] < efforts[-1] / 2  # no more than is needed


@pytest.mark.parametrize("metric", ["l2", "ip"])
def test_targets_on_other_data(metric: str) -> None:
    train, queries = vectors(4000, 24), vectors(800, 24, seed=1)
    index = annlib.HNSWIndex.build(train, metric=metric, M=8, ef_construction=40)
    index.calibrate(queries[:400], k=10)
    exact = nearest(train, queries[400:], metric, 10)[1]
    for target in TARGETS:
        assert reached(index, queries[400:], exact, target) >= target - 0.01


@pytest.mark.parametrize("metric", ["l2", "cosine", "ip"])
def test_default_queries_serve_those_drawn_like_the_data(clusters: Data, metric: str) -> None:
    train, queries = clusters.train[::4], clusters.queries
    index = annlib.HNSWIndex.build(train, metric=metric, M=6, ef_construction=30)
    index.calibrate()
    exact = nearest(train, queries, metric, 10)[1]
    for target in TARGETS:
        assert reached(index, queries, exact, target) >= target - SLACK


@pytest.mark.xfail(
    strict=False,
    reason="a moved vector still leads the walk to its own neighbours; where the dimension is high, that is easier than a "
    "query of its own. To be measured by leaving a stored vector out of the walk for it",
)
@pytest.mark.parametrize("metric", ["l2", "cosine", "ip"])
def test_default_queries_where_all_distances_are_alike(metric: str) -> None:
    train, queries = vectors(5000, 32), vectors(500, 32, seed=1)
    index = annlib.HNSWIndex.build(train, metric=metric)
    index.calibrate()
    exact = nearest(train, queries, metric, 10)[1]
    for target in TARGETS:
        assert reached(index, queries, exact, target) >= target - SLACK


def test_default_queries_on_embeddings(arxiv: Data) -> None:
    """Titles are not drawn like abstracts; the default still gets near what was asked for."""
    index = annlib.HNSWIndex.build(arxiv.train, metric=arxiv.metric, M=6, ef_construction=30)
    index.calibrate()
    for target in TARGETS:
        assert reached(index, arxiv.queries, arxiv.distances, target) >= target - SLACK


def test_what_a_calibration_tells() -> None:
    train = vectors(3000, 16)
    index = annlib.HNSWIndex.build(train, M=6, ef_construction=30)
    calibration = index.calibrate(vectors(200, 16, seed=1), k=5)
    assert (calibration.k, calibration.size) == (5, 3000)
    assert calibration.ef[0] >= 5 and list(calibration.ef) == sorted(set(calibration.ef))
    assert list(calibration.recall) == sorted(calibration.recall) and calibration.recall[-1] >= 0.999
    assert list(calibration.distances) == sorted(calibration.distances)
    assert len(calibration.ef) == len(calibration.recall) == len(calibration.distances)
    queries = vectors(200, 16, seed=1)
    exact = nearest(train, queries, "l2", 5)[1]
    for ef, told in zip(calibration.ef, calibration.recall, strict=True):
        assert recall(index.search(queries, k=5, ef_search=ef).distances, exact) == pytest.approx(
            told, abs=0.003
        )
    assert "recall@5" in str(calibration)
    assert index.calibrate(queries, k=5) == calibration  # deterministic
    assert index.stats()["calibrated_k"] == [5]


def test_first_use_calibrates_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    index = annlib.HNSWIndex.build(vectors(2000, 8), ef_construction=40)
    queries = vectors(3, 8, seed=1)
    with caplog.at_level(logging.INFO, "annlib"):
        index.search(queries, k=7, recall=0.9)
        assert index.stats()["calibrated_k"] == [7] and "recall@7" in caplog.text
        caplog.clear()
        index.search(queries, k=7, recall=0.95)
        assert not caplog.text
        index.search(queries, k=3, recall=0.95)
        assert index.stats()["calibrated_k"] == [3, 7]
        caplog.clear()
        index.add(vectors(3000, 8, seed=2))  # another index now: what was measured holds no more
        index.search(queries, k=7, recall=0.95)
        assert "recall@7" in caplog.text


def test_target_of_a_build_is_the_default_effort() -> None:
    train, queries = vectors(3000, 16), vectors(300, 16, seed=1)
    low, high = (annlib.HNSWIndex.build(train, M=6, ef_construction=30, target=t) for t in (0.7, 0.999))
    plain = annlib.HNSWIndex.build(train, M=6, ef_construction=30)
    assert low.digest() == high.digest() == plain.digest()
    cost = [i.search(queries, k=10).stats["distance_computations"] for i in (low, high)]
    assert cost[0] < cost[1]
    exact = nearest(train, queries, "l2", 10)[1]
    assert recall(high.search(queries, k=10).distances, exact) >= 0.98
    # what the call says goes first
    given = low.search(queries, k=10, ef_search=64).stats
    assert given == plain.search(queries, k=10, ef_search=64).stats


@pytest.mark.parametrize("n", [1, 5, 12, 60])
def test_small_indexes(n: int) -> None:
    index = annlib.HNSWIndex.build(vectors(n, 4))
    assert index.calibrate().recall[-1] == 1
    assert index.search(vectors(2, 4), k=10, recall=0.9).counts.tolist() == [min(n, 10)] * 2


def test_equally_near_neighbours_count_as_each_other() -> None:
    """Where half of the items are equal, ids would say that nothing is found."""
    train = np.concatenate([np.zeros((2000, 8), np.float32), vectors(2000, 8)])
    index = annlib.HNSWIndex.build(train)
    assert index.calibrate(np.full((50, 8), 0.01), k=10).recall[0] == 1


def test_calibrations_are_kept_in_the_file(tmp_path: Path) -> None:
    index = annlib.HNSWIndex.build(vectors(2000, 8), M=6, ef_construction=20, target=0.9)
    told = [index.calibrate(k=k) for k in (3, 10)]
    index.save(tmp_path / "x.ann")
    loaded = annlib.load(tmp_path / "x.ann")
    assert isinstance(loaded, annlib.HNSWIndex)
    assert loaded.stats()["calibrated_k"] == [3, 10]
    queries = vectors(50, 8, seed=3)
    for k in (3, 10):
        ours, theirs = (i.search(queries, k=k, recall=0.9) for i in (index, loaded))
        np.testing.assert_array_equal(ours.ids, theirs.ids)
        assert ours.stats == theirs.stats
    assert loaded.search(queries).stats == index.search(queries).stats  # the target, too
    assert [loaded.calibrate(k=k) for k in (3, 10)] == told
