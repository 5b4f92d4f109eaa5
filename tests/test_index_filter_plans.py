"""Filters at every selectivity, with and against what lies near the query, on both layouts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import annlib

N, DIM, CLUSTERS = 12_000, 64, 24
Points = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]


@pytest.fixture(scope="module")
def points() -> Points:
    rng = np.random.default_rng(7)
    centers = rng.normal(size=(CLUSTERS, DIM)).astype(np.float32)
    labels = rng.integers(CLUSTERS, size=N)
    vectors = centers[labels] + rng.normal(scale=0.7, size=(N, DIM)).astype(np.float32)
    query_labels = rng.integers(CLUSTERS, size=40)
    queries = centers[query_labels] + rng.normal(scale=0.7, size=(40, DIM)).astype(np.float32)
    return vectors.astype(np.float32), labels, queries.astype(np.float32), query_labels


@pytest.fixture(scope="module", params=["plain", "fused"])
def index(request: pytest.FixtureRequest, points: Points) -> annlib.HNSWIndex:
    return annlib.HNSWIndex.build(points[0], codec="int8", layout=request.param)


def recall(
    index: annlib.HNSWIndex,
    vectors: NDArray[np.float32],
    query: NDArray[np.float32],
    mask: NDArray[np.bool_],
    **how: Any,
) -> float:
    found = index.search(query, 10, filter=mask, **how)
    passing = np.flatnonzero(mask)
    wanted = min(10, len(passing))
    assert found.counts == wanted
    assert mask[found.ids[:wanted]].all()
    nearest = passing[np.argsort(((vectors[passing] - query) ** 2).sum(1), kind="stable")[:wanted]]
    return len(np.intersect1d(found.ids[:wanted], nearest)) / max(wanted, 1)


@pytest.mark.parametrize("share", [0.0005, 0.005, 0.02, 0.05, 0.1, 0.3, 0.6, 0.95])
def test_random_filters(index: annlib.HNSWIndex, points: Points, share: float) -> None:
    vectors, _, queries, _ = points
    mask = np.random.default_rng(1).random(N) < share
    assert np.mean([recall(index, vectors, query, mask) for query in queries]) >= 0.97


@pytest.mark.parametrize("shift", [0, 1, CLUSTERS // 2])
@pytest.mark.parametrize("width", [1, 4, 12])
def test_filters_for_and_against_the_query(
    index: annlib.HNSWIndex, points: Points, shift: int, width: int
) -> None:
    vectors, labels, queries, query_labels = points
    reached = [
        recall(index, vectors, query, (labels - label - shift) % CLUSTERS < width)
        for query, label in zip(queries, query_labels, strict=True)
    ]
    assert np.mean(reached) >= 0.97


def test_no_query_pays_for_those_before_it(index: annlib.HNSWIndex, points: Points) -> None:
    queries, mask = points[2], np.random.default_rng(2).random(N) < 0.7
    alone = [index.search(query, 10, filter=mask, plan="walk") for query in queries]
    together = index.search(queries, 10, filter=mask, plan="walk", threads=1)
    assert together.stats["distance_computations"] == sum(one.stats["distance_computations"] for one in alone)
    assert np.array_equal(together.ids, np.stack([one.ids for one in alone]))


PLANS = ("exact", "scan", "walk")


@pytest.mark.parametrize("share", [0.01, 0.5])
def test_every_plan_can_be_forced(index: annlib.HNSWIndex, points: Points, share: float) -> None:
    queries, mask = points[2], np.random.default_rng(3).random(N) < share
    by_plan = {plan: index.search(queries, 10, filter=mask, plan=plan, explain=True) for plan in PLANS}
    for plan, result in by_plan.items():
        assert [report["plan"] for report in result.plan] == [plan] * len(queries)
        assert all(report["matches"] == mask.sum() and not report["switched"] for report in result.plan)
        assert (
            sum(report["distance_computations"] for report in result.plan)
            == (result.stats["distance_computations"])
        )
        shared = [len(np.intersect1d(a, b)) for a, b in zip(result.ids, by_plan["exact"].ids, strict=True)]
        assert np.mean(shared) >= 9.7
    assert (by_plan["walk"].plan[0]["hops"] > 0) and (by_plan["scan"].plan[0]["hops"] == 0)


def test_two_hops_lead_through_what_fails(index: annlib.HNSWIndex, points: Points) -> None:
    """Only what passes is scored, and the steps do not grow as it gets rarer; nor where it lies apart from the query."""
    vectors, labels, queries, query_labels = points
    random = np.random.default_rng(6).random(N)
    steps = {}
    for share in (0.05, 0.3, 1.0):
        mask = random < share
        found = index.search(queries, 10, filter=mask, plan="two-hop", ef_search=32, explain=True)
        assert {(report["plan"], report["switched"]) for report in found.plan} == {("two-hop", False)}
        assert mask[found.ids].all() and (found.counts == 10).all()
        rows = [recall(index, vectors, query, mask, plan="two-hop", ef_search=32) for query in queries]
        assert np.mean(rows) >= 0.95, share
        steps[share] = found.stats["hops"] / len(queries)
        assert found.stats["distance_computations"] <= len(queries) * (mask.sum() + 2000)
    assert steps[0.05] < 1.5 * steps[1.0]
    apart = [
        recall(
            index,
            vectors,
            query,
            (labels - label - 3) % CLUSTERS < CLUSTERS // 4,
            plan="two-hop",
            ef_search=32,
        )
        for query, label in zip(queries, query_labels, strict=True)
    ]
    assert np.mean(apart) >= 0.9
    alone = index.search(queries[0], 10, plan="two-hop", explain=True)  # without a filter, too
    assert alone.counts == 10 and alone.plan["plan"] == "two-hop"


def test_two_hops_that_cannot_reach_all_are_followed_by_a_scan(
    index: annlib.HNSWIndex, points: Points
) -> None:
    mask = np.zeros(N, bool)
    mask[np.random.default_rng(7).choice(N, 60, replace=False)] = True
    for k in (10, 60, 100):
        found = index.search(points[2][0], k, filter=mask, plan="two-hop", explain=True)
        assert found.counts == min(k, 60)
        assert set(found.ids[: found.counts].tolist()) <= set(np.flatnonzero(mask).tolist())
        assert found.plan["switched"] == (found.plan["plan"] == "scan")
        if found.plan["switched"]:
            assert (found.plan["given_up"], found.plan["why"]) == ("two-hop", "it found fewer than k")
        else:
            assert (found.plan["given_up"], found.plan["why"]) == (None, "")
        assert found.plan["actual_us"] > 0 and found.plan["share_around"] == 1


def test_the_plan_follows_the_filter(index: annlib.HNSWIndex, points: Points) -> None:
    query, random = points[2][0], np.random.default_rng(4).random(N)
    few = index.search(query, 10, filter=random < 0.002, explain=True).plan
    assert few["plan"] == "scan"
    assert few["estimated_scan_us"] < few["estimated_walk_us"]
    assert index.search(query, 10, filter=random < 0.98, explain=True).plan["plan"] == "walk"
    assert index.search(query, 10).plan is None
    assert index.search(query, 10, explain=True).plan["matches"] == N


def test_a_filter_for_each_query_is_explained_in_its_place(index: annlib.HNSWIndex, points: Points) -> None:
    queries, random = points[2][:4], np.random.default_rng(5).random(N)
    each = [random < 0.001, random < 0.95, random < 0.001, random < 0.3]
    plans = index.search(queries, 10, filter=each, explain=True).plan
    assert [plan["matches"] for plan in plans] == [int(mask.sum()) for mask in each]


def test_plans_that_there_are_not(index: annlib.HNSWIndex, points: Points) -> None:
    with pytest.raises(ValueError, match="unknown plan 'fast'; there are: auto, exact, scan, walk"):
        index.search(points[2][0], plan="fast")
    flat = annlib.FlatIndex.build(points[0][:100])
    assert flat.search(points[2][0], explain=True).plan["plan"] == "exact"
    with pytest.raises(ValueError, match="a flat index has no graph"):
        flat.search(points[2][0], plan="walk")
