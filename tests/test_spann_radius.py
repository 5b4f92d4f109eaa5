"""Radius searches through posting lists, in memory and on disk: what they find, and how little they look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from reference import METRICS, Array, clustered, distances

from annlib import F, SPANNIndex

N, DIM, QUERIES = 12_000, 24, 40


def made(metric: str, folder: Path | None) -> tuple[SPANNIndex, Array, Array]:
    rows, _ = clustered(N + QUERIES, DIM, 40)
    if metric != "l2":
        # The mean is near every vector otherwise, or far from it.
        rows -= rows.mean(axis=0)
    train = rows[:N]
    index = SPANNIndex.build(
        folder, train, metric=metric, list_size=32, attributes={"third": np.arange(N) % 3}
    )
    return index, train, rows[N:]


def one_in(on_disk: bool) -> int:
    """One item in so many may be looked at: on disk each stands in four lists, in memory in two."""
    return 2 if on_disk else 4


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("metric", METRICS)
def test_a_radius_is_searched_in_the_lists_around_it(metric: str, on_disk: bool, tmp_path: Path) -> None:
    index, train, queries = made(metric, tmp_path / "x" if on_disk else None)
    exact = distances(train, queries, metric)
    third = np.arange(N) % 3
    for many, chosen, passing in [
        (1, None, third >= 0),
        (100, None, third >= 0),
        (100, F.third != 0, third != 0),
        (100, F.third == 0, third == 0),
    ]:
        hits = looked_at = 0
        for query, all_of_it in zip(queries, exact, strict=True):
            away = np.where(passing, all_of_it, np.inf)
            radius = float(np.sort(away)[many - 1 : many + 1].mean())
            found = index.search_radius(query, radius, filter=chosen)
            ids = found.ids
            assert np.array_equal(found.lims, [0, len(ids)]) and len(set(ids.tolist())) == len(ids)
            assert passing[ids].all() and (found.distances <= radius).all()
            assert np.all(np.diff(found.distances) >= 0)
            assert np.allclose(found.distances, all_of_it[ids], rtol=1e-4, atol=1e-4)
            hits += len(ids)
            looked_at += found.stats["distance_computations"]
        assert hits >= 0.95 * many * QUERIES, (many, chosen)
        if metric == "l2":
            assert looked_at < N * QUERIES / one_in(on_disk), (many, chosen)


@pytest.mark.parametrize("on_disk", [False, True])
def test_as_many_lists_as_there_are_miss_nothing(on_disk: bool, tmp_path: Path) -> None:
    index, train, queries = made("l2", tmp_path / "x" if on_disk else None)
    exact = distances(train, queries, "l2")
    for radius in (-1.0, 0.0, float(np.median(exact)), float(exact.max()) * 2, np.inf):
        lims, ids, found = index.search_radius(queries, radius, nprobe=N)
        within = exact <= radius
        assert np.array_equal(np.diff(lims), within.sum(axis=1))
        assert np.array_equal(np.sort(ids[: lims[1]]), np.flatnonzero(within[0]))
        assert (found <= radius).all()
        assert index.search_radius(queries, radius, filter=[]).lims[-1] == 0


@pytest.mark.parametrize("on_disk", [False, True])
def test_wide_and_empty_radii(on_disk: bool, tmp_path: Path) -> None:
    index, train, queries = made("l2", tmp_path / "x" if on_disk else None)
    exact = distances(train, queries, "l2")
    nothing = index.search_radius(queries, float(exact.min()) / 2)
    assert nothing.lims[-1] == 0 and nothing.stats["distance_computations"] < N * QUERIES / one_in(on_disk)
    half = float(np.median(exact))
    assert len(index.search_radius(queries, half).ids) >= 0.95 * (exact <= half).sum()
    everything = index.search_radius(queries[0], float(exact.max()) * 2)
    assert sorted(everything.ids.tolist()) == list(range(N))
    # What has changed since the build counts as well.
    index.delete([int(everything.ids[0])])
    index.add(queries[:1], ids=[N])
    assert index.search_radius(queries[0], 1e-6).ids.tolist() == [N]
    assert int(everything.ids[0]) not in index.search_radius(queries[0], half).ids


def test_one_way_to_say_how_much() -> None:
    index, _, queries = made("l2", None)
    with pytest.raises(ValueError, match="nprobe or ef_search"):
        index.search_radius(queries, 1.0, nprobe=3, ef_search=3)
    few, many = (len(index.search_radius(queries, 20.0, nprobe=n).ids) for n in (1, 64))
    assert few <= many
    assert len(index.search_radius(queries, 20.0, ef_search=64).ids) == many
