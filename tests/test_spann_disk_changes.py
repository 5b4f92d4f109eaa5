"""Posting lists in files: changes, merges, and what is there after a crash."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from directories import ALL, DIM, N, assert_same, crashed, made
from reference import clustered, nearest, recall, vectors

import annlib
from annlib import F, SPANNIndex
from annlib.spann_disk import DiskSPANNIndex


@pytest.fixture
def opened() -> Iterator[list[DiskSPANNIndex]]:
    """Indexes to be closed at the end."""
    indexes: list[DiskSPANNIndex] = []
    yield indexes
    for index in indexes:
        index.close()


def changed(index: annlib.Index, rng: np.random.Generator, strings: bool) -> None:
    """Some of every kind of change."""
    name = (lambda i: f"n{i}") if strings else int
    new = [name(N + i) for i in range(500)]
    index.add(vectors(500, DIM, seed=2), ids=new, attributes={"year": np.arange(500), "note": ["x"] * 500})
    index.delete([name(i) for i in range(0, 300)])
    index.update([name(i) for i in range(400, 450)], vectors(50, DIM, seed=3))
    index.delete(new[:100])
    index.set_attributes({"year": np.full(10, 7)}, ids=[name(i) for i in range(500, 510)])
    index.drop_attributes(["note"])
    index.add(vectors(3, DIM, seed=4), ids=[name(10_000 + i) for i in range(3)])


@pytest.mark.parametrize("strings", [False, True])
def test_changes_survive_a_crash_and_a_merge(
    tmp_path: Path, opened: list[DiskSPANNIndex], rng: np.random.Generator, strings: bool
) -> None:
    ids: Any = [f"n{i}" for i in range(N)] if strings else np.arange(N)
    train, year = vectors(N, DIM), rng.integers(0, 30, N)
    index = made(tmp_path / "x", train, ids=ids, attributes={"year": year})
    twin = SPANNIndex.build(None, train, ids=ids, attributes={"year": year}, list_size=32)
    opened.append(index)
    changed(index, rng, strings)
    changed(twin, rng, strings)
    assert_same(index, twin)
    after_crash = crashed(index, tmp_path / "crashed")
    opened.append(after_crash)
    assert_same(after_crash, twin)
    index.flush()
    assert index.stats()["fresh"] == 0
    assert_same(index, twin)
    after_merge = crashed(index, tmp_path / "merged")
    opened.append(after_merge)
    assert_same(after_merge, twin)
    queries = vectors(50, DIM, seed=5)
    exact = twin.search(queries, 10, plan="exact").distances
    for one in (index, after_crash, after_merge):
        assert recall(one.search(queries, 10, nprobe=ALL).distances, exact) >= 0.995
        assert one.count(F.year == 7) == twin.count(F.year == 7)
    assert annlib.verify(tmp_path / "merged") == []
    index.compact()
    assert_same(index, twin)
    assert index.stats()["stale"] < index.stats()["size"] // 100 + 200
    assert recall(index.search(queries, 10, nprobe=ALL).distances, exact) >= 0.995


def test_lists_that_grow_are_split_and_short_ones_given_up(
    tmp_path: Path, opened: list[DiskSPANNIndex]
) -> None:
    rows, labels = clustered(N, DIM, 12, seed=3)
    index = made(tmp_path / "x", rows[:2500], replicas=2)
    opened.append(index)
    before = index.stats()
    rng = np.random.default_rng(0)
    spot = rows[labels == labels[0]][0]
    for step in range(4):  # all in one place, and all elsewhere goes
        more = (spot + rng.standard_normal((400, DIM)) * 0.1).astype(np.float32)
        index.add(more, ids=np.arange(400) + 10_000 + 400 * step)
        index.delete(index.ids[:300])
        index.flush()
    after = index.stats()
    assert after["longest_list"] <= 8 * 2 * 32
    assert after["lists"] != before["lists"]
    ids = index.ids
    train, queries = index.get(ids), (spot + rng.standard_normal((50, DIM)) * 0.1).astype(np.float32)
    _, exact = nearest(train, queries, "l2", 10)
    assert recall(index.search(queries, 10, nprobe=ALL).distances, exact) >= 0.99
    assert recall(index.search(queries, 10, nprobe=16).distances, exact) >= 0.85
    # Every vector is found by itself.
    assert (index.search(train, 1, nprobe=8).distances[:, 0] <= 1e-3).mean() >= 0.99
    assert annlib.verify(tmp_path / "x") == []


def test_an_index_that_began_empty(tmp_path: Path) -> None:
    train = vectors(3000, DIM)
    with made(tmp_path / "x", train[:0]) as index:
        assert len(index) == 0 and (index.search(train[:3], 5).ids == -1).all()
        index.add(train[:1000])
        assert index.search(train[5], 1).ids[0] == 5
        index.flush()
        index.add(train[1000:])
        index.flush()
        assert index.stats()["lists"] > 1
        assert index.search(train, 1, nprobe=16).ids[:, 0].tolist() == list(range(3000))
        index.delete(index.ids)
        assert len(index) == 0 and (index.search(train[:3], 5).ids == -1).all()
        index.flush()
    assert annlib.verify(tmp_path / "x") == []


def test_one_writer_and_readers_beside_it(tmp_path: Path) -> None:
    train = vectors(500, DIM)
    with made(tmp_path / "x", train) as index:
        with pytest.raises(OSError, match="open for writing already"):
            SPANNIndex.open(tmp_path / "x")
        with SPANNIndex.open(tmp_path / "x", read_only=True) as reader:
            index.add(train[:1] + 1, ids=[900])
            index.compact()
            assert 900 not in reader and len(reader) == 500  # its own files are there as long as it is
            assert reader.search(train[3], 1).ids[0] == 3
            for change in (
                lambda: reader.delete([1]),
                lambda: reader.add(train[:1]),
                reader.flush,
                reader.compact,
            ):
                with pytest.raises(OSError, match="reading only"):
                    change()
        with SPANNIndex.open(tmp_path / "x", read_only=True) as reader:
            assert 900 in reader
        copy = pickle.loads(pickle.dumps(index))
        assert len(copy) == 501 and copy.stats()["read_only"]
        copy.close()
    for use in (lambda: index.search(train[0], 1), lambda: index.add(train[:1]), lambda: index.get([0])):
        with pytest.raises(OSError, match="is closed"):
            use()
    index.close()
    assert "closed" in repr(index)
    with annlib.load(tmp_path / "x") as again:  # type: ignore[attr-defined]
        assert len(again) == 501


def test_damage_is_found_and_named(tmp_path: Path) -> None:
    train = vectors(2000, DIM)
    made(tmp_path / "x", train).close()
    assert annlib.verify(tmp_path / "x") == []
    rng = np.random.default_rng(0)
    for name in ("lists-0", "vectors-0", "index.ann"):
        whole = (tmp_path / "x" / name).read_bytes()
        for at in rng.integers(4096, len(whole) - 4096, 5):
            damaged = bytearray(whole)
            damaged[at] ^= 0x41
            (tmp_path / "x" / name).write_bytes(damaged)
            problems = annlib.verify(tmp_path / "x")
            assert problems and name in problems[0]
            if name != "index.ann":
                with (
                    SPANNIndex.open(tmp_path / "x", cache=0) as index,
                    pytest.raises(annlib.CorruptIndexError),
                ):
                    index.search(train, 10, nprobe=ALL)
        (tmp_path / "x" / name).write_bytes(whole[: len(whole) // 2])
        assert annlib.verify(tmp_path / "x")
        (tmp_path / "x" / name).write_bytes(whole)
    assert annlib.verify(tmp_path / "x") == []


def test_a_torn_end_of_the_log_is_cut(tmp_path: Path, opened: list[DiskSPANNIndex]) -> None:
    train = vectors(300, DIM)
    index = made(tmp_path / "x", train)
    opened.append(index)
    index.add(train[:5] + 1)
    (log,) = [name for name in os.listdir(tmp_path / "x") if name.startswith("log-")]
    whole = (tmp_path / "x" / log).stat().st_size
    index.add(train[:5] + 2)
    shutil.copytree(tmp_path / "x", tmp_path / "y")
    torn = (tmp_path / "y" / log).read_bytes()
    assert len(torn) > whole
    for cut in (whole + 1, whole + 100, len(torn) - 1):
        (tmp_path / "y" / log).write_bytes(torn[:cut])
        with SPANNIndex.open(tmp_path / "y") as after:
            assert len(after) == 305
            after.add(train[:1] + 3)
        with SPANNIndex.open(tmp_path / "y") as after:
            assert len(after) == 306
        shutil.copy(tmp_path / "x" / "index.ann", tmp_path / "y" / "index.ann")


WRITER = """
import sys, numpy as np, annlib
index = annlib.SPANNIndex.open(sys.argv[1], fresh="64KiB")
rng = np.random.default_rng(int(sys.argv[2]))
while True:
    kind = rng.integers(4)
    if kind < 2:
        rows = rng.standard_normal((int(rng.integers(1, 40)), 24)).astype(np.float32)
        ids = index.add(rows)
        print("add", *ids, flush=True)
    elif kind == 2 and len(index) > 100:
        ids = rng.choice(index.ids, 20, replace=False)
        print("deleting", *ids, flush=True)
        index.delete(ids)
        print("deleted", *ids, flush=True)
    else:
        index.flush()
        print("flushed", flush=True)
"""


def test_nothing_acknowledged_is_lost_by_kill_9(tmp_path: Path) -> None:
    train = vectors(600, DIM)
    made(tmp_path / "x", train, list_size=16).close()
    there, maybe = set(range(600)), set[int]()
    rng = np.random.default_rng(0)
    for attempt in range(int(os.environ.get("ANNLIB_KILLS", "6"))):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "x"), str(attempt)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        first = process.stdout.readline()  # it is at work
        time.sleep(rng.random() * 0.6)
        process.send_signal(signal.SIGKILL)
        said = first + process.stdout.read()
        process.stdout.close()
        process.wait()
        for line in said.splitlines(keepends=True):
            kind, *ids = line.split()
            if not line.endswith("\n"):
                maybe |= {int(i) for i in ids[:-1]}
                continue
            numbers = {int(i) for i in ids}
            if kind == "add":
                there |= numbers
            elif kind == "deleting":
                maybe |= numbers
            elif kind == "deleted":
                there -= numbers
        with SPANNIndex.open(tmp_path / "x") as index:
            found = {int(i) for i in index.ids}
            assert there - maybe <= found
            # One call more may have been made durable than was told of.
            assert len(found - there - maybe) <= 40
            assert (
                recall(
                    index.search(index.get(sorted(found)[:50]), 1, nprobe=ALL).distances, np.zeros((50, 1))
                )
                == 1
            )
            there, maybe = found, set()
        assert annlib.verify(tmp_path / "x") == []
