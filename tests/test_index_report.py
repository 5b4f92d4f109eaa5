"""Reports on queries: how far from the data, how hard, how much is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from reference import METRICS, cross_modal, lid, nearest, recall, vectors

import annlib
from annlib import cli


def chords(train: np.ndarray, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Lengths between unit vectors, ascending."""
    unit_q = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    unit_x = train / np.linalg.norm(train, axis=1, keepdims=True)
    return np.sort(np.linalg.norm(unit_x[rows] - unit_q[:, None], axis=2), axis=1)


@pytest.mark.parametrize("metric", METRICS)
def test_against_its_definition(metric: str) -> None:
    train, queries = vectors(900, 20), vectors(200, 20, seed=1) * 1.7
    index = annlib.HNSWIndex.build(train, metric=metric)
    report = index.report(queries, k=5, ef_search=12)
    rows, exact = nearest(train, queries, metric, 64)
    lengths = np.sqrt(exact) if metric == "l2" else chords(train.astype(float), queries.astype(float), rows)
    dims = lid(lengths)
    assert np.allclose(report.query_lid, np.percentile(dims, (25, 50, 75), method="nearest"), rtol=1e-3)
    assert report.query_distance == pytest.approx(np.median(exact[:, 4]), rel=1e-4)
    found = index.search(queries, 5, ef_search=12)
    assert report.recall == pytest.approx(recall(found.distances, exact[:, :5]), abs=2e-3)
    assert report.distances == found.stats["distance_computations"] / 200
    quarters = np.array_split(np.argsort(dims), 4)
    for measured, part in zip(report.recall_by_lid, quarters, strict=True):
        assert measured == pytest.approx(recall(found.distances[part], exact[part, :5]), abs=0.03)
    # The stored vectors, each beside the others.
    _, own = nearest(train, train, metric, 6)
    if metric != "ip":
        assert report.data_distance == pytest.approx(np.median(own[:, 5]), rel=0.02)
    assert (report.queries, report.k, report.ef_search, report.metric) == (200, 5, 12, metric)


@pytest.mark.parametrize("metric", METRICS)
def test_tells_kinds_of_queries_apart(metric: str) -> None:
    train, other, alike = cross_modal(4000, 300, 300, 48)
    index = annlib.HNSWIndex.build(train, metric=metric, ef_construction=60)
    near, far = index.report(alike), index.report(other * 3 if metric != "l2" else other)
    assert 0.9 < near.distance_ratio < 1.1 and near.far < 0.05
    assert far.distance_ratio > 1.3 and far.far > 0.9
    assert "little to gain" in str(near) and "repair() with" in str(far)
    assert far.query_lid[1] > near.query_lid[1]


def test_few_and_equal_vectors() -> None:
    with pytest.raises(ValueError, match="two different"):
        annlib.HNSWIndex(4).report(np.ones(4))
    with pytest.raises(ValueError, match="two different"):
        annlib.HNSWIndex.build(np.ones((5, 4))).report(np.ones(4))
    with pytest.raises(ValueError, match="at least one"):
        annlib.HNSWIndex.build(vectors(5, 4)).report(np.ones((0, 4)))
    with pytest.raises(ValueError, match="dim 3"):
        annlib.HNSWIndex.build(vectors(5, 4)).report(np.ones((2, 3)))
    report = annlib.HNSWIndex.build(vectors(3, 4)).report(vectors(1, 4), k=10)
    assert report.recall == 1 and report.recall_by_lid == (1.0,)
    assert report.query_distance >= 0 and "10-th" in str(report)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index = annlib.HNSWIndex.build(vectors(500, 8))
    index.save(tmp_path / "index.ann")
    queries = vectors(50, 8, seed=1)
    np.save(tmp_path / "queries.npy", queries)
    assert cli.main(["report", str(tmp_path / "index.ann"), str(tmp_path / "queries.npy"), "-k", "3"]) == 0
    assert capsys.readouterr().out.strip() == str(index.report(queries, 3))
    flat = annlib.FlatIndex(8)
    flat.add(queries)
    flat.save(tmp_path / "flat.ann")
    assert cli.main(["report", str(tmp_path / "flat.ann"), str(tmp_path / "queries.npy")]) == 1
    assert "exact" in capsys.readouterr().err
