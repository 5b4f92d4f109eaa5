"""Sub-graphs for filters: each plan against numpy, what covers what, and what writes make of them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

import annlib
from annlib import F, HNSWIndex

N, DIM, K = 9_000, 24, 10
SHARES = {"a": 0.55, "b": 0.2, "c": 0.15, "d": 0.08, "e": 0.02}
Array = NDArray[Any]


class Items(NamedTuple):
    vectors: Array
    label: Array
    tags: list[list[str]]
    day: Array
    queries: Array


def make(n: int, seed: int) -> Items:
    """Labels and days that go along with where the vectors lie, and tags that do not."""
    rng = np.random.default_rng(seed)
    label = rng.choice(list(SHARES), n, p=list(SHARES.values()))
    centres = np.random.default_rng(0).normal(size=(len(SHARES), DIM))
    vectors = rng.normal(size=(n, DIM)) + 0.7 * centres[[list(SHARES).index(one) for one in label]]
    day = np.round(1000 + 300 * (vectors[:, 0] + rng.normal(size=n))).astype(np.int64)
    tags = [
        [t for t, share in (("x", 0.3), ("y", 0.2), ("z", 0.05)) if rng.random() < share] for _ in range(n)
    ]
    queries = rng.normal(size=(40, DIM)) + 0.7 * centres[rng.integers(len(SHARES), size=40)]
    return Items(vectors.astype(np.float32), label, tags, day, queries.astype(np.float32))


def attributes(items: Items) -> dict[str, Any]:
    return {"label": items.label, "tags": items.tags, "day": items.day}


@pytest.fixture(scope="module")
def items() -> Items:
    return make(N, 1)


@pytest.fixture(scope="module", params=["plain", "fused"])
def index(request: pytest.FixtureRequest, items: Items) -> HNSWIndex:
    built = HNSWIndex.build(items.vectors, attributes=attributes(items), codec="int8", layout=request.param)
    built.create_filter_index("label")
    built.create_filter_index("tags")
    built.create_filter_index("day", kind="range", memory_budget=20_000_000)
    return built


def passing(items: Items) -> dict[str, tuple[Any, Array, int]]:
    """By name a filter, what it lets through, and how many sub-graphs cover that (0: none do)."""
    label, day = items.label, items.day
    x, y = (np.array([one in tags for tags in items.tags]) for one in "xy")
    return {
        "label": (F.label == "b", label == "b", 1),
        "labels": (F.label.isin(["b", "c"]), (label == "b") | (label == "c"), 2),
        "tag": (F.tags.any("x"), x, 1),
        "any tag": (F.tags.any("x", "y"), x | y, 2),
        "all tags": (F.tags.all("x", "y"), x & y, 1),
        "range": (F.day.between(900, 1100), (day >= 900) & (day <= 1100), 1),
        "open range": (F.day < 700, day < 700, 1),
        "label and range": ((F.label == "c") & (F.day > 1000), (label == "c") & (day > 1000), 1),
        "label or tag": ((F.label == "c") | F.tags.any("y"), (label == "c") | y, 2),
        "not the label": (F.label != "b", label != "b", 0),
        "too frequent": (F.label == "a", label == "a", 0),
        "too rare": (F.label == "e", label == "e", 0),
        "one too rare": (F.label.isin(["b", "e"]), (label == "b") | (label == "e"), 0),
        "no tag": (F.tags.none("x"), ~x, 0),
        "null": ((F.label == "b") | F.label.is_null(), label == "b", 0),
        "nothing": (F.label == "none", np.zeros(len(label), bool), 0),
    }


FILTERS = list(passing(make(10, 0)))


def recall(found: annlib.SearchResult, ids: Array, vectors: Array, queries: Array, mask: Array) -> float:
    """Against numpy; and all that is found passes, nothing twice, as many as there can be."""
    rows = np.flatnonzero(mask)
    distances = ((vectors[rows][None] - queries[:, None]) ** 2).sum(2)
    wanted = min(K, len(rows))
    nearest = ids[rows][np.argsort(distances, axis=1, kind="stable")[:, :wanted]]
    assert (found.counts == wanted).all()
    shared = 0
    for got, best in zip(found.ids[:, :wanted], nearest, strict=True):
        assert len(set(got.tolist())) == wanted
        assert np.isin(got, ids[rows]).all()
        shared += len(np.intersect1d(got, best))
    return shared / nearest.size if nearest.size else 1.0


@pytest.mark.parametrize("name", FILTERS)
def test_every_plan_finds_what_numpy_finds(index: HNSWIndex, items: Items, name: str) -> None:
    filter, mask, subgraphs = passing(items)[name]
    for plan in ("auto", "exact", "scan", "walk", *(["subgraph"] if subgraphs else [])):
        found = index.search(items.queries, K, filter=filter, plan=plan, explain=True, ef_search=96)
        assert recall(found, np.arange(N), items.vectors, items.queries, mask) >= (
            1.0 if plan == "exact" else 0.97
        )
        assert all(one["matches"] == mask.sum() for one in found.plan)
        if plan != "auto":
            assert mask.sum() == 0 or {one["plan"] for one in found.plan} == {plan}


@pytest.mark.parametrize("name", FILTERS)
def test_what_covers_a_filter(index: HNSWIndex, items: Items, name: str) -> None:
    filter, mask, subgraphs = passing(items)[name]
    if mask.sum() == 0:
        return
    found = index.search(items.queries[0], K, filter=filter, explain=True)
    assert found.plan["subgraphs"] == subgraphs
    if subgraphs:
        assert found.plan["subgraph_items"] >= mask.sum()
    else:
        with pytest.raises(ValueError, match=r"plan 'subgraph' needs .* there are: day, label, tags"):
            index.search(items.queries[0], K, filter=filter, plan="subgraph")


def test_the_smaller_structure_leads(index: HNSWIndex, items: Items) -> None:
    leads = [F.label == "b", F.tags.any("x"), F.day.between(980, 1020)]
    sizes = [index.search(items.queries[0], filter=f, explain=True).plan["subgraph_items"] for f in leads]
    for (f, a), (g, b) in itertools.combinations(zip(leads, sizes, strict=True), 2):
        both = index.search(items.queries[0], filter=f & g, explain=True).plan
        assert both["subgraph_items"] == min(a, b)


def test_a_walk_through_a_subgraph_is_shorter_than_one_through_all(index: HNSWIndex, items: Items) -> None:
    """Its length is that of an unfiltered one, where that through the whole graph grows with 1 / share."""
    cost = {
        plan: index.search(items.queries, K, filter=F.tags.any("y"), plan=plan).stats["hops"]
        for plan in ("walk", "subgraph")
    }
    assert cost["subgraph"] < cost["walk"] / 2


def test_the_planner_takes_a_subgraph_where_that_is_cheapest(index: HNSWIndex, items: Items) -> None:
    """Times are measured, so the choice is up to the machine, but it is that of the least estimate."""
    for filter, ef in itertools.product((F.label == "b", F.tags.any("y"), F.day < 700), (10, 50, 2000)):
        plan = index.search(items.queries[0], K, filter=filter, explain=True, ef_search=ef).plan
        estimates = {one: plan[f"estimated_{one}_us"] for one in ("subgraph", "scan", "walk")}
        assert min(estimates.values()) > 0
        least = estimates["subgraph"] <= min(estimates.values())
        assert plan["switched"] or (plan["plan"] == "subgraph") == least
    forced = index.search(items.queries[0], filter=F.label == "b", plan="scan", explain=True).plan
    assert forced["estimated_subgraph_us"] == 0


def test_kinds_and_columns_that_there_are_not(index: HNSWIndex) -> None:
    for name, kind, says in (
        ("year", "label", "no attribute 'year'; there are: day .int., label"),
        ("label", "range", "needs int, float, date or datetime; attribute 'label' holds string"),
        ("tags", "range", "attribute 'tags' holds list of strings"),
        ("day", "tree", "unknown kind of filter index 'tree'; there are: label, range"),
    ):
        with pytest.raises(ValueError, match=says):
            index.create_filter_index(name, kind)
    with pytest.raises(ValueError, match="memory_budget must be"):
        index.create_filter_index("day", "range", memory_budget=-1)
    with pytest.raises(ValueError, match="no filter index 'year'; there are: day, label, tags"):
        index.drop_filter_index("year")


def test_what_is_built_and_what_it_takes(items: Items) -> None:
    index = HNSWIndex.build(items.vectors, attributes=attributes(items), layout="plain")
    before = index.stats()
    assert "filter_indexes" not in before
    index.create_filter_index("label")
    counts = sorted((int((items.label == one).sum()) for one in "bc"), reverse=True)
    built = index.filter_indexes()["label"]
    assert (built["kind"], built["subgraphs"], built["members"]) == ("label", 2, sum(counts))
    assert index.stats()["filter_indexes"] == {"label": built}
    assert index.stats()["memory_bytes"] == before["memory_bytes"] + built["bytes"]

    row = 4 + 8 * 16
    index.create_filter_index("label", memory_budget=row * counts[0])
    assert index.filter_indexes()["label"]["members"] == counts[0]
    index.create_filter_index("label", memory_budget=row * counts[0] - 1)
    assert index.filter_indexes()["label"]["members"] == counts[1]
    index.drop_filter_index("label")
    assert index.filter_indexes() == {}
    assert index.stats()["memory_bytes"] == before["memory_bytes"]


def test_neither_order_nor_threads_change_the_result(items: Items) -> None:
    order = np.random.default_rng(3).permutation(N)
    digests = set()
    for rows, threads in ((np.arange(N), 1), (order, 2)):
        columns = {"label": items.label[rows], "day": items.day[rows]}
        index = HNSWIndex.build(items.vectors[rows], ids=rows, attributes=columns)
        bare = index.digest()
        index.create_filter_index("label", threads=threads)
        index.create_filter_index("day", kind="range", threads=threads)
        assert index.digest() != bare
        digests.add(index.digest())
    assert len(digests) == 1


@pytest.mark.parametrize("mmap", [False, True])
def test_saved_and_loaded(index: HNSWIndex, items: Items, tmp_path: Path, mmap: bool) -> None:
    index.save(tmp_path / "x.ann")
    loaded = annlib.load(tmp_path / "x.ann", mmap=mmap)
    assert isinstance(loaded, HNSWIndex)
    assert loaded.digest() == index.digest()
    assert loaded.filter_indexes() == index.filter_indexes()
    for filter in ((F.label == "b") & F.tags.any("x"), F.day < 700):
        one, other = (at.search(items.queries, filter=filter, plan="subgraph") for at in (index, loaded))
        np.testing.assert_array_equal(one.ids, other.ids)
