"""Codecs as users choose them: bits, and search over all codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference import METRICS, vectors

import annlib

N, DIM = 3000, 40

CODED: list[dict[str, Any]] = [{"codec": "float16"}, {"codec": "int8"}, {"codec": "int4"}]
CODED += [{"codec": "rabitq", "bits": bits} for bits in range(1, 9)]
coded = pytest.mark.parametrize("options", CODED, ids=lambda o: "-".join(str(v) for v in o.values()))


def recall(found: annlib.SearchResult, exact: annlib.SearchResult) -> float:
    return float(np.mean(found.distances <= exact.distances[:, -1:]))


@coded
@pytest.mark.parametrize("metric", METRICS)
def test_flat_search_over_codes(options: dict[str, Any], metric: str) -> None:
    train, queries = vectors(N, DIM), vectors(30, DIM, seed=1)
    exact = annlib.FlatIndex.build(train, metric=metric).search(queries, 10)
    found = annlib.FlatIndex.build(train, metric=metric, **options).search(queries, 10)
    assert recall(found, exact) >= 0.97
    assert found.stats["distance_computations"] == 30 * N
    assert 30 * 10 <= found.stats["rerank_computations"] < 30 * N
    same = found.ids == exact.ids
    np.testing.assert_array_equal(found.distances[same], exact.distances[same])


@coded
def test_flat_radius_over_codes(options: dict[str, Any]) -> None:
    train, query = vectors(N, DIM), vectors(1, DIM, seed=1)
    exact = annlib.FlatIndex.build(train)
    radius = float(exact.search(query, 50).distances[0, -1])
    found = annlib.FlatIndex.build(train, **options).search_radius(query, radius)
    assert set(found.ids) <= set(exact.search_radius(query, radius).ids)
    assert len(found.ids) >= 48


@coded
def test_flat_codes_grow_change_and_persist(options: dict[str, Any], tmp_path: Path) -> None:
    train, queries = vectors(N, DIM), vectors(30, DIM, seed=1)
    index = annlib.FlatIndex(DIM, **options)
    exact = annlib.FlatIndex(DIM)
    for each in (index, exact):
        each.add(train[:5])
        for first in range(5, N, 400):
            each.add(train[first : first + 400])
        each.delete(range(0, N, 3))
        each.update([1, 2], -train[1:3])
    assert recall(index.search(queries, 10), exact.search(queries, 10)) >= 0.97
    index.save(tmp_path / "x.ann")
    loaded = annlib.load(tmp_path / "x.ann")
    assert loaded.digest() == index.digest()
    np.testing.assert_array_equal(loaded.search(queries, 10).ids, index.search(queries, 10).ids)
    assert loaded.stats()["codec"] == index.stats()["codec"]
    index.compact()
    assert recall(index.search(queries, 10), exact.search(queries, 10)) >= 0.97


def test_codes_shrink_with_their_bits() -> None:
    train = vectors(100, 64)
    sizes = [
        annlib.HNSWIndex.build(train, codec="rabitq", bits=bits).stats()["code_bytes"]
        for bits in (1, 2, 4, 8)
    ]
    assert sizes == [100 * (64 * bits // 8 + (4 if bits <= 2 else 8)) for bits in (1, 2, 4, 8)]


def test_bits_are_kept_with_the_index(tmp_path: Path) -> None:
    index = annlib.HNSWIndex.build(vectors(50, 8), codec="rabitq", bits=2)
    index.save(tmp_path / "x.ann")
    stats = annlib.load(tmp_path / "x.ann").stats()
    assert stats["codec"] == stats["codec_asked"] == "rabitq:2"
    assert annlib.HNSWIndex(8, codec="rabitq").stats()["codec"] == "rabitq:4"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"codec": "zip"}, "zip.*rabitq"),
        ({"bits": 2}, "float32.*no bits"),
        ({"codec": "rabitq", "bits": 9}, "bits"),
    ],
)
def test_flat_refuses_bad_codecs(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        annlib.FlatIndex(4, **options)
