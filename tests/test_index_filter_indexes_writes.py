"""Filter indexes under writes: what is found is what numpy finds, at every step."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from reference import vectors

import annlib
from annlib import F, HNSWIndex

N, DIM, K, LABELS = 4_000, 12, 10, 5
Array = NDArray[Any]
FILTERS = (
    F.label == "l1",
    F.label.isin(["l2", "l3"]),
    F.day.between(300, 500),
    (F.label == "l0") & (F.day < 600),
)


class Model:
    """The items that there are, as dicts."""

    def __init__(self, layout: str, **options: Any) -> None:
        self.rng = np.random.default_rng(5)
        self.vectors: dict[int, Array] = {}
        self.label: dict[int, str] = {}
        self.day: dict[int, int] = {}
        self.queries = vectors(20, DIM, seed=9)
        self.index = HNSWIndex(DIM, layout=layout, **options)
        self.add(np.arange(N))
        self.index.create_filter_index("label", min_items=200)
        self.index.create_filter_index("day", kind="range", min_items=200, memory_budget=1 << 30)

    def rows(self, ids: Array) -> tuple[Array, dict[str, list[Any]]]:
        # One in ten has the vector of another item.
        drawn = self.rng.normal(size=(len(ids), DIM)).astype(np.float32)
        known = list(self.vectors)
        for i in np.flatnonzero(self.rng.random(len(ids)) < 0.1) if known else ():
            drawn[i] = self.vectors[known[self.rng.integers(len(known))]]
        columns = {
            "label": [f"l{i}" for i in self.rng.integers(LABELS, size=len(ids))],
            "day": self.rng.integers(1000, size=len(ids)).tolist(),
        }
        self.vectors |= dict(zip(ids.tolist(), drawn, strict=True))
        self.set(ids, columns)
        return drawn, columns

    def set(self, ids: Array, columns: dict[str, list[Any]]) -> None:
        self.label |= dict(zip(ids.tolist(), columns["label"], strict=True))
        self.day |= dict(zip(ids.tolist(), columns["day"], strict=True))

    def add(self, ids: Array) -> None:
        drawn, columns = self.rows(ids)
        self.index.add(drawn, ids=ids, attributes=columns, on_conflict="update")

    def delete(self, ids: Array) -> None:
        self.index.delete(ids)
        for one in ids.tolist():
            del self.vectors[one], self.label[one], self.day[one]

    def some(self, n: int) -> Array:
        return self.rng.permutation(np.array(list(self.vectors)))[:n]

    def check(self, plan: str = "subgraph") -> None:
        ids = np.array(sorted(self.vectors))
        data = np.stack([self.vectors[one] for one in ids.tolist()])
        label = np.array([self.label[one] for one in ids.tolist()])
        day = np.array([self.day[one] for one in ids.tolist()])
        masks = (
            label == "l1",
            (label == "l2") | (label == "l3"),
            (day >= 300) & (day <= 500),
            (label == "l0") & (day < 600),
        )
        for filter, mask in zip(FILTERS, masks, strict=True):
            found = self.index.search(self.queries, K, filter=filter, plan=plan, ef_search=80, explain=True)
            assert all(one["matches"] == mask.sum() and one["plan"] == plan for one in found.plan)
            distances = ((data[mask][None] - self.queries[:, None]) ** 2).sum(2)
            nearest = np.sort(distances, axis=1)[:, :K]
            assert (found.counts == K).all()
            for row in found.ids:
                assert len(set(row.tolist())) == K
                assert np.isin(row, ids[mask]).all()
            assert np.isclose(found.distances, nearest, rtol=1e-4).mean() >= 0.97


@pytest.fixture(params=["plain", "fused"])
def model(request: pytest.FixtureRequest) -> Model:
    return Model(request.param, codec="int8")


def changes(model: Model) -> list[int]:
    return [one["changes"] for one in model.index.filter_indexes().values()]


def test_a_life_of_changes(model: Model) -> None:
    """Items come and go, slots are used again, equal vectors have other labels, and graphs are built anew."""
    model.check()
    fresh, built_anew = N, 0
    for _ in range(12):
        before = changes(model)[0]
        model.add(np.arange(fresh, fresh + 120))
        fresh += 120
        model.check()
        model.delete(model.some(130))
        model.add(model.some(60))
        moved = model.some(40)
        columns = {"label": ["l1"] * 40, "day": [400] * 40}
        model.index.set_attributes(columns, ids=moved)
        model.set(moved, columns)
        model.check()
        built_anew += changes(model)[0] < before
    assert built_anew >= 2
    model.check("walk")
    model.index.compact()
    assert changes(model) == [0, 0]
    model.check()


def test_new_and_changed_items_are_found_at_once(model: Model) -> None:
    index, query = model.index, model.queries[0]
    index.add(query, ids=10**6, attributes={"label": ["l1"], "day": [400]})
    index.set_attributes({"label": ["l2"], "day": [401]}, ids=[7])
    for filter, id in ((F.label == "l1", 10**6), (F.label == "l2", 7), (F.day == 401, 7)):
        found = index.search(index.get(id), 1, filter=filter, plan="subgraph")
        assert found.ids.tolist() == [id]
    assert changes(model) == [2, 2]
    assert index.search(index.get(7), 1, filter=F.label == model.label[7]).ids.tolist() != [7]


def test_an_equal_vector_with_another_label_outlives_the_first(model: Model) -> None:
    index = model.index
    old = "l1" if model.label[5] != "l1" else "l2"
    index.add(index.get(5), ids=10**6, attributes={"label": [old], "day": [400]})
    index.delete([5])
    assert index.search(index.get(10**6), 1, filter=F.label == old, plan="subgraph").ids.tolist() == [10**6]


def test_whole_columns_anew(model: Model) -> None:
    index = model.index
    ids = index.ids
    label = model.rng.integers(LABELS, size=len(ids))
    index.set_attributes({"label": [f"l{one}" for one in label]})
    model.label = dict(zip(ids.tolist(), [f"l{one}" for one in label], strict=True))
    assert index.filter_indexes()["label"]["changes"] == 0
    model.check()
    # Labels may be of any type, ranges are of numbers.
    index.set_attributes({"label": label, "day": [str(one) for one in label]})
    assert list(index.filter_indexes()) == ["label"]
    found = index.search(model.queries, K, filter=F.label == 3, plan="subgraph")
    assert (label[np.searchsorted(ids, found.ids)] == 3).all()


def test_built_anew_is_as_built_at_once() -> None:
    model = Model("plain")
    model.add(np.arange(N, N + 300))
    model.delete(model.some(100))
    model.index.compact()
    ids = model.index.ids
    fresh = HNSWIndex.build(
        np.stack([model.vectors[one] for one in ids.tolist()]),
        ids=ids,
        attributes={
            "label": [model.label[one] for one in ids.tolist()],
            "day": [model.day[one] for one in ids.tolist()],
        },
        layout="plain",
    )
    assert fresh.digest() != model.index.digest()
    fresh.create_filter_index("day", "range", min_items=200, memory_budget=1 << 30)
    fresh.create_filter_index("label", min_items=200)
    assert fresh.digest() == model.index.digest()


def test_searches_beside_writes_see_what_passes() -> None:
    model = Model("fused", codec="int8")
    index, wrong, stop = model.index, [], threading.Event()

    def search() -> None:
        while not stop.is_set():
            found = index.search(model.queries, K, filter=F.label == "l1", plan="subgraph")
            if (found.counts != K).any() or any(len(set(row.tolist())) != K for row in found.ids):
                wrong.append(found)

    reader = threading.Thread(target=search)
    reader.start()
    try:
        for step in range(6):
            model.add(np.arange(N + 150 * step, N + 150 * (step + 1)))
            model.delete(model.some(150))
    finally:
        stop.set()
        reader.join()
    assert not wrong
    model.check()


def test_codes_alone() -> None:
    model = Model("plain", codec="int8", keep_vectors=False)
    queries = model.queries
    exact = model.index.search(queries, K, filter=FILTERS[0], plan="exact")
    found = model.index.search(queries, K, filter=FILTERS[0], plan="subgraph", ef_search=80)
    assert np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(found.ids, exact.ids, strict=True)]) >= 0.97
    model.add(np.arange(N, N + 1000))
    assert isinstance(annlib.persistence.from_bytes(annlib.persistence.to_bytes(model.index)), HNSWIndex)
