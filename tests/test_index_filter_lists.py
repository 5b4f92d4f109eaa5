"""Posting lists of a graph index, for filters: what gets them, what they find, and how they follow changes."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from container_bytes import section, with_section
from numpy.typing import NDArray
from reference import islands

import annlib
from annlib import F
from annlib.persistence import from_bytes, to_bytes

#: Few more than it takes to get lists.
N, DIM, CLUSTERS, K = 17_000, 24, 40, 10
OPTIONS: dict[str, Any] = {"M": 8, "ef_construction": 40}


class Items:
    """Vectors in clusters and queries, with the cluster as a label and a number drawn at random."""

    def __init__(self) -> None:
        rng = np.random.default_rng(5)
        centers = rng.normal(size=(CLUSTERS, DIM))
        self.labels = rng.integers(CLUSTERS, size=N)
        self.vectors = (centers[self.labels] + rng.normal(scale=0.5, size=(N, DIM))).astype(np.float32)
        self.vectors[100:120] = self.vectors[7]  # equal ones
        self.numbers = rng.permutation(N)
        self.query_labels = rng.integers(CLUSTERS, size=25)
        self.queries = (centers[self.query_labels] + rng.normal(scale=0.5, size=(25, DIM))).astype(np.float32)

    @property
    def columns(self) -> dict[str, NDArray[Any]]:
        return {"label": self.labels, "number": self.numbers}

    def build(self, **options: Any) -> annlib.HNSWIndex:
        return annlib.HNSWIndex.build(self.vectors, attributes=self.columns, **OPTIONS, **options)


@pytest.fixture(scope="module")
def items() -> Items:
    return Items()


@pytest.fixture(scope="module")
def index(items: Items) -> annlib.HNSWIndex:
    return items.build()


def list_bytes(index: annlib.HNSWIndex) -> int:
    return int(index.stats()["filter_list_bytes"])


def recall(
    index: annlib.HNSWIndex, vectors: dict[int, NDArray[Any]], queries: NDArray[Any], filter: Any, passing: set[int],
    **how: Any,
) -> float:  # fmt: skip
    """Against all distances, by distance: equal vectors count as each other."""
    ids = np.array(sorted(passing & set(vectors)))
    rows = np.array([vectors[i] for i in ids]).reshape(len(ids), -1)
    hits = 0
    for query in queries:
        found = index.search(query, K, filter=filter, **how)
        wanted = min(K, len(ids))
        assert found.counts == wanted
        assert set(found.ids[:wanted].tolist()) <= set(ids.tolist())
        assert len(set(found.ids[:wanted].tolist())) == wanted
        true = np.sort(((rows - query) ** 2).sum(1))[:wanted]
        assert np.allclose(found.distances[:wanted], np.sort(found.distances[:wanted]))
        hits += int((found.distances[:wanted] <= true[-1] * (1 + 1e-5)).sum())
    return hits / (len(queries) * min(K, len(ids)))


def by_id(items: Items) -> dict[int, NDArray[Any]]:
    return dict(enumerate(items.vectors))


def test_lists_come_with_attributes_and_many_items(items: Items, index: annlib.HNSWIndex) -> None:
    assert 16 * N < list_bytes(index) < 60 * N
    assert index.stats()["memory_bytes"] > list_bytes(index)
    few = annlib.HNSWIndex.build(items.vectors[:3000], attributes={"number": items.numbers[:3000]}, **OPTIONS)
    assert list_bytes(few) == 0
    with pytest.raises(ValueError, match=r"lists.*attributes"):
        few.search(items.queries[0], K, filter=F.number < 100, plan="lists")
    alone = annlib.HNSWIndex.build(
        items.vectors, attributes=items.columns, codec="int8", keep_vectors=False, **OPTIONS
    )
    assert list_bytes(alone) == 0


def test_lists_come_and_go_with_attributes(items: Items, index: annlib.HNSWIndex) -> None:
    later = annlib.HNSWIndex.build(items.vectors, **OPTIONS)
    assert list_bytes(later) == 0
    later.set_attributes({"label": items.labels})
    later.set_attributes({"number": items.numbers})
    assert list_bytes(later) == list_bytes(index)
    assert later.digest() == index.digest()
    later.drop_attributes("label")
    assert list_bytes(later) > 0
    later.drop_attributes("number")
    assert list_bytes(later) == 0


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.5, 1.0])
def test_what_passes_at_random_is_found(items: Items, index: annlib.HNSWIndex, share: float) -> None:
    passing = set(np.flatnonzero(items.numbers < share * N).tolist())
    how = {"filter": F.number < share * N, "passing": passing}
    assert recall(index, by_id(items), items.queries, plan="lists", **how) >= 0.95
    assert recall(index, by_id(items), items.queries, plan="lists", ef_search=1000, **how) >= 0.99
    assert recall(index, by_id(items), items.queries, **how) >= 0.95


@pytest.mark.parametrize("away", [0, 1, CLUSTERS // 2])
@pytest.mark.parametrize("width", [1, 8])
def test_what_passes_with_and_against_the_query_is_found(
    items: Items, index: annlib.HNSWIndex, away: int, width: int
) -> None:
    reached = []
    for query, label in zip(items.queries, items.query_labels, strict=True):
        labels = [(label + away + i) % CLUSTERS for i in range(width)]
        passing = set(np.flatnonzero(np.isin(items.labels, labels)).tolist())
        for plan in ("lists", "auto"):
            reached.append(recall(index, by_id(items), query[None], F.label.isin(labels), passing, plan=plan))
    assert np.mean(reached) >= 0.95


@pytest.mark.parametrize(("clusters", "scale"), [(40, 0.5), (300, 0.7)])
def test_recall_targets_hold_apart_from_the_query(clusters: int, scale: float) -> None:
    """In clusters between which hardly a link leads, and for which one list is hardly nearer than the next."""
    points, labels = islands(N + 200, clusters, scale)
    numbers = np.random.default_rng(clusters).permutation(N)
    columns = {"label": labels[:N], "number": numbers}
    index = annlib.HNSWIndex.build(points[:N], attributes=columns, M=16, ef_construction=60, codec="int8")
    queries, own, vectors = points[N:][:40], labels[N:][:40], dict(enumerate(points[:N]))
    index.calibrate(points[N + 100 :])
    for half in (False, True):
        for plan in ("lists", "auto"):
            reached = []
            for query, label in zip(queries, own, strict=True):
                below = N // 2 if half else N
                passing = set(np.flatnonzero((labels[:N] != label) & (numbers < below)).tolist())
                chosen = (F.label != int(label)) & (F.number < below)
                reached.append(recall(index, vectors, query[None], chosen, passing, recall=0.95, plan=plan))
            assert np.mean(reached) >= 0.93, (plan, half)


def test_a_radius_is_searched_in_lists(items: Items, index: annlib.HNSWIndex) -> None:
    """Under filters that favour what lies apart, which a walk would have to go through everything for."""
    hits = looked_at = wanted = 0
    for query, label in zip(items.queries, items.query_labels, strict=True):
        labels = [(label + 15 + i) % CLUSTERS for i in range(10)]
        passing = np.flatnonzero(np.isin(items.labels, labels))
        away = np.sort(((items.vectors[passing].astype(float) - query) ** 2).sum(axis=1))
        found = index.search_radius(query, float(away[49:51].mean()), filter=F.label.isin(labels))
        assert np.isin(found.ids, passing).all()
        hits, wanted = hits + len(found.ids), wanted + 50
        looked_at += found.stats["distance_computations"] + found.stats["rerank_computations"]
    assert hits >= 0.93 * wanted
    assert looked_at < 0.5 * len(items.queries) * N * 10 / CLUSTERS


def test_a_mask_and_no_filter_at_all(items: Items, index: annlib.HNSWIndex) -> None:
    mask = items.numbers % 7 == 0
    passing = set(np.flatnonzero(mask).tolist())
    assert recall(index, by_id(items), items.queries, mask, passing, plan="lists") >= 0.95
    assert recall(index, by_id(items), items.queries, None, set(range(N)), plan="lists") >= 0.95


def test_the_plan_is_told(items: Items, index: annlib.HNSWIndex) -> None:
    far = [(int(items.query_labels[0]) + 20 + i) % CLUSTERS for i in range(8)]
    plans = {}
    for plan in ("auto", "lists", "scan"):
        found = index.search(items.queries[0], K, filter=F.label.isin(far), plan=plan, explain=True)
        plans[plan] = found.plan
    assert plans["lists"]["plan"] == "lists" and not plans["lists"]["switched"]
    assert plans["lists"]["hops"] > 0 and plans["lists"]["rerank_computations"] >= K
    estimates = [plans["auto"][f"estimated_{one}_us"] for one in ("scan", "walk", "lists")]
    assert all(0 < one < 1e9 for one in estimates)


def test_batches_find_what_single_queries_do(items: Items, index: annlib.HNSWIndex) -> None:
    filters = [F.number < 2000 * (1 + i % 3) for i in range(len(items.queries))]
    together = index.search(items.queries, K, filter=filters, plan="lists", threads=2)
    for i, query in enumerate(items.queries):
        alone = index.search(query, K, filter=filters[i], plan="lists", threads=1)
        assert np.array_equal(alone.ids, together.ids[i])
        assert np.array_equal(alone.distances, together.distances[i])


@pytest.mark.parametrize("metric", ["cosine", "ip"])
def test_other_metrics(items: Items, metric: str) -> None:
    index = items.build(metric=metric, codec="float32")
    chosen = F.number < N // 8
    exact = index.search(items.queries, K, filter=chosen, plan="exact")
    found = index.search(items.queries, K, filter=chosen, plan="lists", ef_search=100)
    hits = [len(np.intersect1d(a, b)) for a, b in zip(exact.ids, found.ids, strict=True)]
    assert np.mean(hits) / K >= 0.95


def test_the_order_of_insertion_and_threads_make_no_difference(items: Items, index: annlib.HNSWIndex) -> None:
    order = np.random.default_rng(1).permutation(N)
    columns = {name: values[order] for name, values in items.columns.items()}
    other = annlib.HNSWIndex.build(
        items.vectors[order], ids=order, attributes=columns, threads=1, **OPTIONS
    )  # fmt: skip
    assert other.digest() == index.digest()


def test_files_and_pickles_keep_them(items: Items, index: annlib.HNSWIndex, tmp_path: Path) -> None:
    index.save(tmp_path / "x.ann")
    found = index.search(items.queries, K, filter=F.number < 2000, plan="lists")
    for other in (
        annlib.load(tmp_path / "x.ann"),
        annlib.load(tmp_path / "x.ann", mmap=True),
        pickle.loads(pickle.dumps(index)),
    ):
        assert isinstance(other, annlib.HNSWIndex)
        again = other.search(items.queries, K, filter=F.number < 2000, plan="lists")
        assert np.array_equal(again.ids, found.ids) and np.array_equal(again.distances, found.distances)
        assert list_bytes(other) > 0 and other.digest() == index.digest()


def test_changes_are_followed(items: Items) -> None:
    index = items.build()
    rng = np.random.default_rng(3)
    vectors = by_id(items)
    numbers = dict(enumerate(items.numbers.tolist()))
    next_id = N

    def check() -> None:
        passing = {i for i, number in numbers.items() if number < 3000}
        assert recall(index, vectors, items.queries[:10], F.number < 3000, passing, plan="lists") >= 0.95
        for i in rng.choice(sorted(passing), 5):
            found = index.search(vectors[i], 30, filter=F.number < 3000, plan="lists", ef_search=100)
            assert i in found.ids

    for _ in range(3):
        fresh = items.vectors[rng.choice(N, 400)] + rng.normal(scale=0.3, size=(400, DIM)).astype(np.float32)
        fresh[:20] = items.vectors[7]  # twins of what is there
        ids = np.arange(next_id, next_id + 400)
        index.add(fresh, ids=ids, attributes={"label": [0] * 400, "number": list(range(400))})
        vectors.update(zip(ids.tolist(), fresh, strict=True))
        numbers.update(zip(ids.tolist(), range(400), strict=True))
        next_id += 400
        gone = [7, *range(100, 110), *rng.choice(sorted(vectors), 600, replace=False).tolist()]
        gone = sorted(set(gone) & set(vectors))
        index.delete(gone)
        for i in gone:
            del vectors[i], numbers[i]
        for i in rng.choice(sorted(vectors), 20, replace=False).tolist():
            vectors[i] = items.vectors[rng.integers(N)] + np.float32(0.01)
            index.update(i, vectors[i])
        check()
    # More than a fifth is gone now, slots are used again, and half of all have changed at last.
    gone = sorted(vectors)[: len(vectors) // 4 - 100]
    index.delete(gone)
    for i in gone:
        del vectors[i], numbers[i]
    check()
    assert from_bytes(to_bytes(index)).digest() == index.digest()
    fresh = items.vectors[rng.choice(N, 6000)] + rng.normal(scale=0.3, size=(6000, DIM)).astype(np.float32)
    ids = np.arange(next_id, next_id + 6000)
    index.add(fresh, ids=ids, attributes={"label": [1] * 6000, "number": list(range(6000))})
    vectors.update(zip(ids.tolist(), fresh, strict=True))
    numbers.update(zip(ids.tolist(), range(6000), strict=True))
    check()
    index.compact()
    check()


def test_too_few_are_left(items: Items) -> None:
    index = items.build()
    index.delete(np.arange(10_000))
    assert list_bytes(index) == 0
    found = index.search(items.queries, K, filter=F.number < 3000)
    assert (found.ids >= 10_000).all()


def test_forged_lists_are_refused(index: annlib.HNSWIndex) -> None:
    data = to_bytes(index)

    def refuse(name: str, where: Any, value: Any, says: str) -> None:
        values = section(data, f"filter_lists.{name}")
        values[where] = value
        with pytest.raises(annlib.CorruptIndexError, match=says):
            from_bytes(with_section(data, f"filter_lists.{name}", values))

    for value in (0, -1, np.nan, np.inf, 1e30):
        refuse("efforts", 3, value, "efforts")
    refuse("learnt", 2, np.nan, "learnt")
    homes = section(data, "filter_lists.homes")
    refuse("homes", 5, 2**31, "not there")
    refuse("homes", 5, 2**32 - 1, "no posting list")
    refuse("homes", 5, (int(homes[5, 0]) + 1) % 10, "does not name|not hold")
    refuse("places", (3, 2), 2**31, "list")
    refuse("centroids", (0, 0), np.nan, "centroid|number|list")
