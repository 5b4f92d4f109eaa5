"""The fused layout: what changes with it is speed, never what is found, kept, saved or refused."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
from container_bytes import section, with_section
from reference import METRICS, Data, clustered, cross_modal, nearest, recall, vectors

import annlib
from annlib.persistence import from_bytes, to_bytes


def fused(train: np.ndarray, metric: str = "l2", **options: object) -> annlib.HNSWIndex:
    return annlib.HNSWIndex.build(train, metric=metric, layout="fused", **{"ef_construction": 60} | options)  # type: ignore[arg-type]


@pytest.mark.parametrize("codec", ["float32", "int8", "rabitq"])
@pytest.mark.parametrize("metric", METRICS)
def test_finds_what_plain_finds(metric: str, codec: str) -> None:
    train, queries = vectors(6000, 64), vectors(200, 64, seed=1)
    exact = nearest(train, queries, metric, 10)[1]
    index = fused(train, metric, codec=codec)
    assert index.stats()["layout"] == "fused"
    result = index.search(queries, 10, ef_search=120)
    assert recall(result.distances, exact) >= 0.97
    assert 0 < result.stats["distance_computations"] < 200 * 6000 / 3
    plain = annlib.HNSWIndex.build(train, metric=metric, layout="plain", codec=codec, ef_construction=60)
    assert (
        plain.stats()["layout"] == "plain" and plain.stats()["memory_bytes"] < index.stats()["memory_bytes"]
    )


@pytest.mark.parametrize("M", [3, 12, 16, 20])
def test_lists_of_every_length(M: int) -> None:
    train, queries = vectors(2500, 40), vectors(100, 40, seed=1)
    index = fused(train, M=M)
    found = index.search(queries, 5, ef_search=100)
    assert recall(found.distances, nearest(train, queries, "l2", 5)[1]) >= (0.6 if M == 3 else 0.97)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "uint8"])
@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_every_dtype(dtype: str, metric: str) -> None:
    train, queries = vectors(3000, 50, dtype), vectors(100, 50, dtype, seed=1)
    found = fused(train, metric).search(queries, 10, ef_search=120)
    assert recall(found.distances, nearest(train, queries, metric, 10)[1]) >= 0.97


def test_queries_far_from_the_data_do_not_walk_all_of_it() -> None:
    train, queries, _ = cross_modal(8000, 50, 0, 48)
    result = fused(train, "cosine", codec="int8").search(queries, ef_search=64)
    assert recall(result.distances, nearest(train, queries, "cosine", 10)[1]) > 0.98
    assert result.stats["hops"] < len(queries) * (8 * 64 + 50)  # and some through the upper layers


def test_real_embeddings(arxiv: Data) -> None:
    """As few walks as it takes: far fewer distances than the plain layout needs for the same recall."""
    reached = {}
    for layout in ("plain", "fused"):
        index = annlib.HNSWIndex.build(arxiv.train, metric=arxiv.metric, layout=layout, ef_construction=60)
        result = index.search(arxiv.queries, 10, ef_search=40)
        reached[layout] = (
            recall(result.distances, arxiv.distances[:, :10]),
            result.stats["distance_computations"],
        )
    assert reached["fused"][0] >= 0.95
    assert reached["fused"][1] * 3 < reached["plain"][1]


def test_effort_is_monotone_and_recall_targets_are_met(arxiv: Data) -> None:
    index = annlib.HNSWIndex.build(arxiv.train, metric=arxiv.metric, layout="fused", ef_construction=60)
    exact = arxiv.distances[:, :10]
    hops = [index.search(arxiv.queries, 10, ef_search=ef).stats["hops"] for ef in (10, 20, 40, 80)]
    assert hops == sorted(hops) and hops[0] * 2 < hops[-1]
    half = len(arxiv.queries) // 2
    index.calibrate(arxiv.queries[:half], 10)
    for target in (0.9, 0.95, 0.99):
        found = index.search(arxiv.queries[half:], 10, recall=target)
        assert recall(found.distances, exact[half:]) >= target - 0.01


def test_builds_do_not_depend_on_order_or_threads(rng: np.random.Generator) -> None:
    train, ids = vectors(1500, 40), rng.choice(10**9, 1500, replace=False)
    digest = fused(train, ids=ids, threads=1).digest()
    order = rng.permutation(1500)
    assert fused(train[order], ids=ids[order], threads=3).digest() == digest
    grown = annlib.HNSWIndex(40, ef_construction=60, layout="fused")
    for part in np.array_split(order, 5):
        grown.add(train[part], ids=ids[part])
    grown.delete(ids[:9])
    grown.add(train[:9], ids=ids[:9])
    grown.compact()
    assert grown.digest() == digest


def test_changes_keep_the_codes_in_step() -> None:
    """After any history every list's codes are those of its neighbours: what compact() would make of the same lists."""
    train = clustered(4000, 48, 30, seed=2)[0].astype(np.float32)
    index = fused(train[:2500])
    index.add(train[2500:2900])
    index.delete(np.arange(0, 1200))
    for i in range(2900, 2960):
        index.add(train[i])
    index.update(np.arange(1300, 1400), train[3000:3100])
    data = to_bytes(index)
    base = section(data, "graph.base")
    live = np.flatnonzero(base[:, 0] != 0xFFFFFFFF)
    assert len(live) > 1700
    assert not np.isnan(base[live, 32].view(np.float32)).any(), "codes that were not made anew"
    again = from_bytes(data)
    queries = train[3500:3700]
    held = np.sort(index.ids)
    exact = nearest(index.get(held), queries, "l2", 10)[1]
    for one in (index, again):
        assert recall(one.search(queries, 10, ef_search=100).distances, exact) >= 0.97
        assert one.unreachable() == 0
    assert (index.search(index.get(held), 1, ef_search=100).ids[:, 0] == held).mean() >= 0.999


def test_an_insertion_that_fails_leaves_the_digest() -> None:
    train = vectors(6000, 32)
    index = fused(train[:4000])
    digest = index.digest()

    def stop(done: int, total: int) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        index.add(train[4000:], progress=stop)
    assert index.digest() == digest and len(index) == 4000


def test_searches_beside_writes() -> None:
    train, queries = vectors(5000, 40), vectors(30, 40, seed=1)
    index = fused(train[:2000])
    done, errors = threading.Event(), list[BaseException]()

    def look() -> None:
        try:
            while not done.is_set():
                found = index.search(queries, 5, ef_search=20)
                assert (found.counts == 5).all() and (np.diff(found.distances, axis=1) >= 0).all()
        except BaseException as error:
            errors.append(error)

    lookers = [threading.Thread(target=look) for _ in range(2)]
    for thread in lookers:
        thread.start()
    for first in range(2000, 5000, 150):
        index.add(train[first : first + 150])
        index.delete(np.arange(first - 2000, first - 1950))
    done.set()
    for thread in lookers:
        thread.join()
    if errors:
        raise errors[0]


def test_filters_radius_and_k_beyond_n() -> None:
    train, queries = vectors(3000, 40), vectors(50, 40, seed=1)
    index = fused(train)
    even = index.search(queries, 10, filter=index.ids % 2 == 0, ef_search=100)
    assert (even.ids % 2 == 0).all()
    assert recall(even.distances, nearest(train[::2], queries, "l2", 10)[1]) >= 0.97
    everything = index.search(queries[0], 4000)
    assert everything.counts == 3000
    radius = float(np.median(nearest(train, queries, "l2", 20)[1][:, -1]))
    lims, _, distances = index.search_radius(queries, radius, ef_search=100)
    assert lims[-1] == len(distances) and (distances <= radius).all()
    assert len(distances) >= 0.95 * (nearest(train, queries, "l2", 3000)[1] <= radius).sum()


def test_saved_loaded_mapped_pickled(tmp_path: Path) -> None:
    queries = vectors(40, 48, seed=1)
    for layout in ("auto", "plain", "fused"):
        index = annlib.HNSWIndex.build(vectors(1500, 48), layout=layout, ef_construction=60)
        index.save(tmp_path / "x.ann")
        expected = index.search(queries, 10)
        for other in (
            annlib.load(tmp_path / "x.ann"),
            annlib.load(tmp_path / "x.ann", mmap=True),
            pickle.loads(pickle.dumps(index)),
        ):
            assert isinstance(other, annlib.HNSWIndex)
            assert other.stats()["layout"] == index.stats()["layout"] and other.digest() == index.digest()
            assert (other.search(queries, 10).ids == expected.ids).all()
            other.compact()
            assert other.digest() == index.digest()  # the layout that was asked for was kept, too


def test_forged_codes_do_no_harm() -> None:
    data = to_bytes(fused(vectors(800, 40), ef_construction=30))
    base = section(data, "graph.base")
    rng = np.random.default_rng(0)
    for fill in (0, 0xFFFFFFFF, 0x7F800000, 0xFF800000, None):
        forged = base.copy()
        shape = forged[:, 32:].shape
        forged[:, 32:] = rng.integers(0, 2**32, shape, np.uint32) if fill is None else fill
        index = from_bytes(with_section(data, "graph.base", forged))
        found = index.search(vectors(20, 40, seed=1), 5)
        assert (found.counts == 5).all()
    behind = base.copy()
    behind[3, 0], behind[3, 31] = 0xFFFFFFFF, 5
    with pytest.raises(annlib.CorruptIndexError, match="end"):
        from_bytes(with_section(data, "graph.base", behind))
    for spread in (np.nan, np.inf, -1.0):
        with pytest.raises(annlib.CorruptIndexError, match="spread"):
            from_bytes(with_section(data, "graph.spread", np.array([spread], np.float32)))
    mean = section(data, "graph.mean")
    for wrong in (np.append(mean[:-1], 1.5), np.append(np.nan, mean[1:])):
        with pytest.raises(annlib.CorruptIndexError, match="mean and share"):
            from_bytes(with_section(data, "graph.mean", wrong.astype(np.float32)))
    with pytest.raises(annlib.CorruptIndexError, match="layout"):
        from_bytes(with_section(data, "graph.layout", np.array([7], np.uint8)))


@pytest.mark.parametrize("layout", ["flat", "", None, 3])
def test_an_unknown_layout(layout: object) -> None:
    with pytest.raises(ValueError, match="auto, plain, fused"):
        annlib.HNSWIndex(8, layout=layout)  # type: ignore[arg-type]
