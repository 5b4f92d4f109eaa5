"""Posting lists in files: what is built, found and read, and what memory it takes."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
from directories import ALL, DIM, N, assert_same, crashed, made
from reference import DTYPES, METRICS, Data, clustered, nearest, recall, vectors

import annlib
from annlib import F, SPANNIndex


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_all_lists_give_exact_results(tmp_path: Path, metric: str, dtype: str) -> None:
    train, queries = vectors(N, DIM, dtype), vectors(50, DIM, dtype, seed=1)
    with made(tmp_path / "x", train, metric=metric, codec="int8") as index:
        ids, exact = nearest(train, queries, metric, 10)
        found = index.search(queries, 10, nprobe=ALL)
        assert recall(found.distances, exact) >= 0.995
        np.testing.assert_allclose(
            index.search(queries, 10, plan="exact").distances, exact, rtol=1e-4, atol=1e-3
        )
        np.testing.assert_array_equal(index.get(ids[0]), train[ids[0]])
        assert len(index) == N and index.dtype == train.dtype


@pytest.mark.parametrize("codec", ["rabitq:1", "rabitq:2", "auto", "int4", "int8", "float16", "float32"])
def test_recall_of_every_codec_and_what_is_read_for_it(tmp_path: Path, arxiv: Data, codec: str) -> None:
    with made(tmp_path / "x", arxiv.train, metric=arxiv.metric, codec=codec, cache="0B") as index:
        found = index.search(arxiv.queries, 10, nprobe=32)
        assert recall(found.distances, arxiv.distances) >= 0.93
        plan = index.search(arxiv.queries[0], 10, nprobe=32, explain=True).plan
        assert (
            10 <= plan["reads"] < 150
            and plan["bytes_read"] >= 4096 * plan["reads"]
            and plan["cache_hits"] == 0
        )
        if codec == "float32":  # lists hold the vectors, nothing else is read
            assert plan["reads"] == plan["hops"]


def test_recall_grows_with_nprobe(tmp_path: Path) -> None:
    train, queries = vectors(N, DIM), vectors(100, DIM, seed=1)
    _, exact = nearest(train, queries, "l2", 10)
    with made(tmp_path / "x", train) as index:
        recalls = [recall(index.search(queries, 10, nprobe=p).distances, exact) for p in (1, 8, 64, ALL)]
    assert recalls == sorted(recalls) and recalls[0] < 0.9 < recalls[2] and recalls[3] >= 0.995


def test_a_recall_target_is_met(tmp_path: Path, arxiv: Data) -> None:
    index = SPANNIndex.build(tmp_path / "x", arxiv.train, metric=arxiv.metric, target=0.9)
    assert recall(index.search(arxiv.queries, 10).distances, arxiv.distances) >= 0.85
    index.close()  # type: ignore[attr-defined]
    with SPANNIndex.open(tmp_path / "x") as again:  # the calibration is kept
        assert again.stats()["calibrated_k"] == [10]
        assert recall(again.search(arxiv.queries, 10).distances, arxiv.distances) >= 0.85


def test_the_same_files_whatever_the_order_and_threads(tmp_path: Path) -> None:
    rows, _ = clustered(N, DIM, 40)
    ids, shuffled = np.arange(N) * 3, np.random.default_rng(2).permutation(N)
    SPANNIndex.build(tmp_path / "a", rows, ids=ids, threads=1).close()  # type: ignore[attr-defined]
    blocks = (rows[part] for part in np.array_split(shuffled, 7))
    SPANNIndex.build(tmp_path / "b", blocks, ids=ids[shuffled], threads=2).close()  # type: ignore[attr-defined]
    for name in ("lists-0", "vectors-0"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    with SPANNIndex.open(tmp_path / "a") as one, SPANNIndex.open(tmp_path / "b") as two:
        assert one.digest() == two.digest()


def test_a_small_budget_builds_in_parts(tmp_path: Path) -> None:
    train, queries = vectors(30_000, 64), vectors(50, 64, seed=1)
    _, exact = nearest(train, queries, "l2", 10)
    seen: list[tuple[int, int]] = []
    with pytest.raises(ValueError, match=r"30000 vectors .* at least \d+ bytes, got 4194304") as refused:
        SPANNIndex.build(tmp_path / "x", iter([train]), memory_budget="4MiB")
    least = int(re.search(r"at least (\d+)", str(refused.value))[1])  # type: ignore[index]
    with pytest.raises(ValueError, match="memory_budget"):
        SPANNIndex.build(tmp_path / "x", train, memory_budget=least - 1)
    with SPANNIndex.build(
        tmp_path / "x", train, memory_budget=least, progress=lambda done, total: seen.append((done, total))
    ) as made_of_it:  # type: ignore[attr-defined]
        assert made_of_it.stats()["cache_capacity"] == 0
    assert seen == sorted(seen) and seen[-1][0] == seen[-1][1]
    with SPANNIndex.open(tmp_path / "x") as index:
        assert recall(index.search(queries, 10, nprobe=ALL).distances, exact) >= 0.99
        assert sorted(index.ids.tolist()) == list(range(30_000))
    assert annlib.verify(tmp_path / "x") == []
    assert not [name for name in os.listdir(tmp_path / "x") if name.startswith(".")]


def test_filters_by_every_plan(tmp_path: Path, rng: np.random.Generator) -> None:
    train, queries = vectors(N, DIM), vectors(20, DIM, seed=1)
    year, tag = rng.integers(1990, 2020, N), rng.choice(["a", "b", "rare"], N, p=[0.6, 0.395, 0.005])
    with made(tmp_path / "x", train, attributes={"year": year, "tag": tag}) as index:
        for filter_, mask in [
            (F.year >= 2015, year >= 2015),
            (F.tag == "rare", tag == "rare"),
            (F.tag == "none", np.zeros(N, bool)),
            ((F.year < 2000) | (F.tag == "a"), (year < 2000) | (tag == "a")),
        ]:
            passing = np.flatnonzero(mask)
            assert index.count(filter_) == len(passing)
            k = min(10, len(passing))
            _, exact = nearest(train[passing], queries, "l2", k) if k else (None, np.empty((20, 0)))
            for plan in ("auto", "exact", "walk"):
                found = index.search(queries, 10, filter=filter_, plan=plan, nprobe=200)
                assert (found.counts == k).all()
                assert np.isin(found.ids[:, :k], passing).all()
                assert recall(found.distances[:, :k], exact) >= 0.99 if k else True
        lims, ids, _ = index.search_radius(queries, float(exact[0, 5]), filter=filter_)
        assert lims[-1] == len(ids) and np.isin(ids, passing).all()


def test_lists_without_matches_are_not_read(tmp_path: Path) -> None:
    rows, labels = clustered(N, DIM, 20)
    with made(tmp_path / "x", rows, attributes={"cluster": labels}, cache="0B") as index:
        found = index.search(rows[labels == 3][:20], 10, filter=F.cluster == 3, plan="walk", nprobe=4)
        everything = index.stats()["lists"]
        assert found.stats["hops"] < 20 * everything / 4
        assert index.search(rows[0], 300, filter=F.cluster == 3, plan="walk").counts == min(
            300, (labels == 3).sum()
        )


def test_bad_input_is_refused_before_anything_changes(tmp_path: Path) -> None:
    train = vectors(300, DIM)
    with pytest.raises(ValueError, match="ids"):
        SPANNIndex.build(tmp_path / "a", train, ids=np.arange(7))
    with pytest.raises(ValueError, match="twice"):
        SPANNIndex.build(tmp_path / "a", train, ids=np.zeros(300, int))
    with pytest.raises(ValueError, match="memory_budget"):
        SPANNIndex.build(tmp_path / "a", train, memory_budget="much")
    with pytest.raises(ValueError, match="unknown codec 'zip'"):
        SPANNIndex.build(tmp_path / "a", train, codec="zip")
    with pytest.raises(ValueError, match=r"NaN|finite"):
        SPANNIndex.build(tmp_path / "a", np.full((3, DIM), np.nan, np.float32))
    with pytest.raises(ValueError, match="in memory"):
        SPANNIndex.build(None, train, codec="int8")
    with pytest.raises(OSError, match=r"index\.ann"):
        SPANNIndex.open(tmp_path / "a")  # what failed left no index
    with made(tmp_path / "a", train) as index:  # nor was in the way of another
        with pytest.raises(OSError, match=r"holds an index already|open for writing"):
            SPANNIndex.build(tmp_path / "a", train)
        with pytest.raises(KeyError):
            index.add(train[:2], ids=[300, 5])
        with pytest.raises(ValueError, match="directory"):
            index.save(tmp_path / "y")
        with pytest.raises(ValueError, match="engine"):
            SPANNIndex.open(tmp_path / "a", engine="tape", read_only=True)
        assert len(index) == 300 and 300 not in index
    with SPANNIndex.open(tmp_path / "a") as index:
        assert len(index) == 300


@pytest.mark.parametrize("engine", ["pread", "mmap", "auto"])
def test_engines_give_the_same(tmp_path: Path, engine: str) -> None:
    train, queries = vectors(N, DIM), vectors(50, DIM, seed=1)
    with made(tmp_path / "x", train) as index:
        wanted = index.search(queries, 10)
    with SPANNIndex.open(tmp_path / "x", engine=engine, cache=0, direct=engine == "auto") as index:
        found = index.search(queries, 10, threads=2)
    np.testing.assert_array_equal(found.ids, wanted.ids)
    np.testing.assert_array_equal(found.distances, wanted.distances)


def test_the_cache_saves_reads_and_keeps_to_its_size(tmp_path: Path) -> None:
    train = vectors(N, DIM)
    with made(tmp_path / "x", train, cache="1MiB", codec="rabitq:1") as index:
        first = index.search(train[:20], 10, nprobe=4).stats
        again = index.search(train[:20], 10, nprobe=4).stats
        assert again["reads"] < first["reads"] and again["cache_hits"] > first["cache_hits"]
        index.search(train, 10, nprobe=16)
        assert 0 < index.stats()["cache_bytes"] <= 1 << 20


@pytest.mark.parametrize("codec", ["rabitq:2", "int8"])
def test_lists_in_memory_give_what_files_give(tmp_path: Path, arxiv: Data, codec: str) -> None:
    half = len(arxiv.train) // 2
    with made(tmp_path / "x", arxiv.train[:half], metric=arxiv.metric, codec=codec, cache=0) as index:
        index.add(arxiv.train[half:])
        index.flush()
        index.delete(np.arange(50))
        queries = arxiv.queries[:40]
        read = [index.search(query, 10, nprobe=8) for query in queries]
        without = index.stats()
    room = len(arxiv.train) * arxiv.train.shape[1] * 2
    with SPANNIndex.open(tmp_path / "x", cache=room) as index:
        found = index.search(queries, 10, nprobe=8)
        stats = index.stats()
    np.testing.assert_array_equal(found.ids, np.stack([np.ravel(one.ids) for one in read]))
    np.testing.assert_array_equal(found.distances, np.stack([np.ravel(one.distances) for one in read]))
    assert without["resident_bytes"] == 0 < stats["resident_bytes"] <= stats["cache_bytes"] <= room
    assert stats["memory_bytes"] - stats["cache_bytes"] == without["memory_bytes"]
    vectors_read = found.stats["rerank_computations"]
    assert found.stats["reads"] <= vectors_read < sum(one.stats["reads"] for one in read)


@pytest.mark.parametrize("codec", ["rabitq:1", "int8"])
def test_a_batch_finds_what_its_queries_find_and_reads_less(tmp_path: Path, codec: str) -> None:
    train, queries = vectors(N, DIM), vectors(200, DIM, seed=1)
    year = np.arange(N) % 3
    with made(tmp_path / "x", train, codec=codec, attributes={"year": year}, cache=0) as index:
        for filter_ in (None, F.year == 1):
            batch = index.search(queries, 10, nprobe=8, filter=filter_, threads=1, explain=True)
            single = [index.search(q, 10, nprobe=8, filter=filter_) for q in queries]
            np.testing.assert_array_equal(batch.ids, np.stack([np.ravel(one.ids) for one in single]))
            reads = sum(one.stats["reads"] for one in single)
            assert batch.stats["reads"] < 0.5 * reads
            assert sum(plan["reads"] for plan in batch.plan) == batch.stats["reads"]


def test_what_searches_do_not_look_at_is_mapped(tmp_path: Path) -> None:
    train, more = vectors(N, DIM), vectors(300, DIM, seed=1)
    with made(tmp_path / "x", train) as index:
        opened = index.stats()
        # Lists, arrival and a hash by id; in memory are ids, one bit, and a checksum of every 42 vectors.
        replicas = opened["replicas"]
        assert N * (4 * replicas + 4 + 5) <= opened["mapped_bytes"] <= (N + 42) * (4 * replicas + 4 + 10) + 64
        assert opened["item_bytes"] <= 8.5 * N
        expected = index.search(more, 10, nprobe=ALL)
        index.add(more)
        index.delete(range(0, N, 2))
        assert opened["item_bytes"] < index.stats()["item_bytes"] < 10.5 * N  # the new items alone
        before = index.search(more, 10, nprobe=ALL)
        assert not np.array_equal(before.ids, expected.ids)
        index.flush()  # of which there is more in the file
        merged = index.stats()
        assert merged["mapped_bytes"] > opened["mapped_bytes"] and merged["item_bytes"] <= 8.5 * (N + 342)
        np.testing.assert_array_equal(index.search(more, 10, nprobe=ALL).ids, before.ids)
        index.delete(range(1, N, 4))
        index.add(train[:N:2], ids=range(0, N, 2))  # among mapped pages that were written to
        with crashed(index, tmp_path / "y") as copy:
            assert_same(copy, index)
            kept = sorted({*range(0, N, 2), *range(3, N, 4), *range(N, N + 300)})
            assert sorted(copy.ids.tolist()) == kept
