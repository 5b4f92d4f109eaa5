"""Effort by recall: what calibrate() measures holds for queries that it has not seen."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from reference import Array, Data, clustered, nearest, recall, vectors

import annlib

TARGETS = (0.8, 0.9, 0.95, 0.99)
#: How far below its target the recall of unseen queries may lie.
POINT = 0.01


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
        assert reached(index, arxiv.queries[1::2], arxiv.distances[1::2], target) >= target - POINT
        efforts.append(index.search(arxiv.queries, k=10, recall=target).stats["distance_computations"])
    assert efforts == sorted(efforts) and efforts[0] < efforts[-1] / 2  # no more than is needed


@pytest.mark.parametrize("metric", ["l2", "ip"])
def test_targets_on_other_data(metric: str) -> None:
    train, queries = vectors(4000, 24), vectors(800, 24, seed=1)
    index = annlib.HNSWIndex.build(train, metric=metric, M=8, ef_construction=40)
    index.calibrate(queries[:400], k=10)
    exact = nearest(train, queries[400:], metric, 10)[1]
    for target in TARGETS:
        assert reached(index, queries[400:], exact, target) >= target - POINT


def held_back(kind: str) -> tuple[Array, Array]:
    """Vectors, and 2,000 queries that were drawn with them."""
    if kind == "clusters":
        rows, _ = clustered(7000, 24, 300)
    elif kind == "gaussian":  # where all distances are alike
        rows = vectors(7000, 32)
    elif kind == "uniform":
        rows = np.random.default_rng(1).random((7000, 16), np.float32)
    else:  # some vectors come fifty times
        rng = np.random.default_rng(1)
        rows = rng.normal(100, 12, (7000, 16)).astype(np.uint8)
        rows[rng.choice(7000, 4000, replace=False)] = np.repeat(rows[:80], 50, axis=0)
    rows = np.random.default_rng(2).permutation(rows)
    return rows[2000:], rows[:2000]


@pytest.mark.parametrize(
    ("kind", "metric"),
    [
        *((kind, metric) for kind in ("gaussian", "clusters") for metric in ("l2", "cosine", "ip")),
        ("uniform", "l2"),
        ("equal bytes", "l2"),
        ("equal bytes", "cosine"),
    ],
)
def test_stored_vectors_stand_for_queries_drawn_like_them(kind: str, metric: str) -> None:
    train, queries = held_back(kind)
    index = annlib.HNSWIndex.build(train, metric=metric, M=8, ef_construction=60)
    every = nearest(train, queries, metric, 100)[1]
    for k in (1, 10, 100):
        index.calibrate(k=k)
        for target in TARGETS:
            assert reached(index, queries, every[:, :k], target) >= target - POINT


def test_stored_embeddings_stand_for_others(arxiv: Data) -> None:
    rows = np.random.default_rng(0).permutation(arxiv.train)
    train, queries = rows[500:], rows[:500]
    index = annlib.HNSWIndex.build(train, metric=arxiv.metric, M=6, ef_construction=30)
    index.calibrate()
    exact = nearest(train, queries, arxiv.metric, 10)[1]
    for target in TARGETS:
        assert reached(index, queries, exact, target) >= target - POINT
        # Titles are not drawn like abstracts; what was measured on these still gets near it.
        assert reached(index, arxiv.queries, nearest(train, arxiv.queries, arxiv.metric, 10)[1], target) >= (
            target - 2.5 * POINT
        )


@pytest.mark.parametrize("plan", ["exact", "auto"])
@pytest.mark.parametrize("codec", ["float32", "int8"])
def test_what_is_left_out_is_not_found(codec: str, plan: str) -> None:
    """Nor what equals it; the others are, as by an index that has never held it."""
    train = vectors(3000, 16)
    train[1000:1200] = train[7]
    index = annlib.HNSWIndex.build(train, codec=codec)
    index.delete(np.arange(2900, 3000))  # then walks test what they find
    core = index._core
    asked = np.append(core.bottom_ids()[::40], 1100)  # the last equals others
    ids, distances, counts, _, _ = core.search_left_out(asked, 20, 200, None, None, None, 1, plan)
    assert (counts == 20).all()
    for one, found, far in zip(asked, ids, distances, strict=True):
        others = np.flatnonzero((train[:2900] != train[one]).any(axis=1))
        assert set(found) <= set(others.tolist())
        assert recall(far[None], nearest(train[others], train[one][None], "l2", 20)[1]) >= 0.9
    _, _, counts, _, _ = core.search_left_out(asked, 2900, 10, None, None, None, 1, plan)
    np.testing.assert_array_equal(counts, [(train[:2900] != train[one]).any(axis=1).sum() for one in asked])


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


@pytest.mark.parametrize("n", [1, 2, 5, 12, 60])
def test_small_indexes(n: int) -> None:
    for seed in range(12):  # with M=2, half of the nodes are on upper layers: of few, all may be
        assert annlib.HNSWIndex.build(vectors(n, 4), M=2, seed=seed).calibrate().recall[-1] == 1
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


# -- under filters -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["plain", "fused"])
def test_targets_hold_under_filters(layout: str) -> None:
    """With and against what lies near the query, and at random; where less passes, less effort does."""
    rows, labels = clustered(14_000, 48, 20)
    order = np.random.default_rng(3).permutation(len(rows))
    rows, labels = rows[order], labels[order]
    train, queries, own, theirs = rows[1000:], rows[:1000], labels[1000:], labels[:1000]
    index = annlib.HNSWIndex.build(train, M=6, ef_construction=30, layout=layout, codec="int8")
    told = index.calibrate(queries[::2])
    assert list(told.filtered) == sorted(told.filtered) and len(told.filtered) == len(told.ef) * (
        layout == "fused"
    )
    asked, theirs = queries[1:200:2], theirs[1:200:2]
    random = np.random.default_rng(4).random(len(train))
    buckets = {
        "half": [random < 0.5] * len(asked),
        "a fifth": [random < 0.2] * len(asked),
        "near": [(own - label) % 20 < 6 for label in theirs],
        "far": [(own - label - 1) % 20 < 12 for label in theirs],
        "all but the nearest": [own != label for label in theirs],
    }
    for name, masks in buckets.items():
        # Clusters apart from the query's own may be more than a walk finds, and this few are scanned.
        plan = "walk" if name in ("half", "a fifth", "near") else "auto"
        for target in (0.9, 0.95):
            found = index.search(asked, 10, recall=target, filter=masks, plan=plan).distances
            reached = [
                recall(far[None], nearest(train[mask], query[None], "l2", 10)[1], 1e-5)
                for far, query, mask in zip(found, asked, masks, strict=True)
            ]
            assert np.mean(reached) >= target - 1.5 * POINT, name
    hops = [
        index.search(asked, 10, filter=random < 0.2, plan="walk", **effort).stats["hops"]
        for effort in ({"recall": 0.9}, {"ef_search": told.ef_for(0.9)})
    ]
    assert hops[0] < hops[1] if layout == "fused" else hops[0] == hops[1]


def test_a_filter_is_calibrated_by_itself() -> None:
    train, queries = vectors(12_000, 24), vectors(200, 24, seed=1)
    index = annlib.HNSWIndex.build(train, M=6, ef_construction=30)
    mask = train[:, 0] > 0
    told = index.calibrate(queries, filter=mask)
    assert index.stats()["calibrated_k"] == [] and told.filtered == ()
    exact = nearest(train[mask], queries, "l2", 10)[1]
    for ef, reached in zip(told.ef, told.recall, strict=True):
        found = index.search(queries, 10, ef_search=ef, filter=mask).distances
        assert recall(found, exact) == pytest.approx(reached, abs=0.01)
    assert index.calibrate(filter=mask).recall[-1] >= 0.99  # by stored vectors
    with pytest.raises(
        ValueError, match="3 items pass the filter, which is too few to calibrate it for k = 10"
    ):
        index.calibrate(queries, filter=[1, 2, 3])
    with pytest.raises(ValueError, match="no attribute 'year'"):
        index.calibrate(queries, filter="year > 3")


def test_calibrations_of_files_without_filters() -> None:
    values = {"k": 10, "size": 100, "ef": [10, 20], "recall": [0.5, 0.9], "distances": [1, 2]}
    old = annlib.calibration.Calibration.from_dict(values)
    assert old.ef_for(0.9, filtered=True) == old.ef_for(0.9) == 20
    new = annlib.calibration.Calibration.from_dict(values | {"filtered": [0.9, 0.95]})
    assert (new.ef_for(0.9, filtered=True), new.ef_for(0.9)) == (10, 20)
    assert annlib.calibration.Calibration.from_dict(new.as_dict()) == new
    with pytest.raises(ValueError, match="do not fit"):
        annlib.calibration.Calibration.from_dict(values | {"filtered": [0.9]})
    with pytest.raises(ValueError, match="do not fit"):
        annlib.calibration.Calibration.from_dict(values | {"recall": [0.9, 0.5]})
