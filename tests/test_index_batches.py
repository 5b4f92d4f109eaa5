"""Batches: what a query finds does not depend on those beside it, whatever they share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import Array, vectors

import annlib

N, DIM = 1500, 20
KINDS = {
    "float32": ["float32", "float16", "int8", "int4", "rabitq", "rabitq:3"],
    "float16": ["float32", "int8", "rabitq"],
    "int8": ["float32", "int8"],
    "uint8": ["float32", "rabitq:2"],
}


def rows(n: int, dtype: str, seed: int) -> Array:
    found = vectors(n, DIM, seed=seed)
    return (found * 20 + 100 if dtype == "uint8" else found * 20 if dtype == "int8" else found).astype(dtype)


def filters(seed: int) -> list[Any]:
    random = np.random.default_rng(seed)
    masks = [random.random(N) < share for share in (0.5, 0.1, 0.01, 0.001)]
    return [None, [3, 4, 5], *masks, annlib.F.size < 700, {"size": {"$lt": 700}}, []]


def assert_same(
    index: annlib.Index, queries: Array, k: int, each: list[Any], plan: str, alone: list[int]
) -> None:
    batch = index.search(queries, k, filter=each, plan=plan, threads=2)
    for i in alone:
        one = index.search(queries[i], k, filter=each[i], plan=plan)
        np.testing.assert_array_equal(batch.ids[i], one.ids)
        np.testing.assert_array_equal(batch.distances[i], one.distances)
        assert batch.counts[i] == one.counts


@pytest.mark.parametrize(
    ("dtype", "codec"), [(dtype, codec) for dtype, codecs in KINDS.items() for codec in codecs]
)
@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
def test_batches_answer_as_single_calls_do(metric: str, dtype: str, codec: str) -> None:
    attributes = {"size": np.arange(N)}
    train = rows(N, dtype, 0)
    flat = annlib.FlatIndex.build(train, metric=metric, codec=codec, attributes=attributes)
    hnsw = annlib.HNSWIndex.build(
        train, metric=metric, codec=codec, attributes=attributes, M=8, ef_construction=32
    )

    @settings(max_examples=6, deadline=None)
    @given(n=st.integers(1, 150), k=st.integers(1, 40), seed=st.integers(0, 99), few=st.integers(1, 9))
    def check(n: int, k: int, seed: int, few: int) -> None:
        random = np.random.default_rng(seed)
        # Floats between whole numbers, beside queries that are whole, are scored by other kernels.
        queries = rows(n, dtype, seed + 1).astype(np.float32 if seed % 3 == 0 else dtype)
        queries[::2] += np.asarray(seed % 2 * 0.5).astype(queries.dtype)
        shapes = filters(seed)[:few]
        each = [shapes[i] for i in random.integers(0, few, n)]
        alone = random.choice(n, min(n, 8), replace=False).tolist()
        for plan in ("auto", "exact"):
            assert_same(flat, queries, k, each, plan, alone)
        for plan in ("exact", "scan", "walk", "two-hop"):
            assert_same(hnsw, queries, k, each, plan, alone)

    check()


def test_lengths_that_need_scales_of_their_own() -> None:
    """Under ip a query whose products leave float32's range has tails of its own, and no others beside it."""
    train = rows(N, "float32", 0)
    queries = rows(40, "float32", 1) * np.float32(10.0) ** np.array([0, 0, 37, 0, -40])[
        np.arange(40) % 5, None
    ].astype(np.float32)
    for metric in ("ip", "cosine", "l2"):
        index = annlib.FlatIndex.build(train * np.float32(100), metric=metric)
        assert_same(index, queries, 10, [None] * 40, "auto", list(range(40)))


def test_queries_of_a_batch_are_scanned_for_together() -> None:
    """A group may be scanned where each of its queries alone would walk; reports tell what became of each."""
    train = vectors(6000, DIM)
    index = annlib.HNSWIndex.build(train, metric="l2", codec="int8")
    queries, mask = vectors(200, DIM, seed=1), np.random.default_rng(0).random(6000) < 0.2
    plans = index.search(queries, 10, filter=mask, explain=True, threads=1).plan
    alone = index.search(queries[0], 10, filter=mask, explain=True).plan
    assert {plan["matches"] for plan in plans} == {int(mask.sum())}
    assert plans[0]["estimated_scan_us"] < alone["estimated_scan_us"]
    assert plans[0]["estimated_walk_us"] == alone["estimated_walk_us"]
