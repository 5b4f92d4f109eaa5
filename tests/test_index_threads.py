"""Many threads on one index: searches beside writes see items that were there, and writers do not lose any."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference import assert_well_formed, vectors

import annlib

DIM = 12
QUERIES = vectors(40, DIM, seed=9)


class Crowd:
    """Threads that repeat their work until the writer is done; the first exception of any of them is raised at the end."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.errors: list[BaseException] = []
        self.turns: list[int] = []
        self.threads: list[threading.Thread] = []

    def repeat(self, work: Callable[[], object]) -> None:
        place = len(self.turns)
        self.turns.append(0)

        def loop() -> None:
            try:
                while not self.done.is_set():
                    work()
                    self.turns[place] += 1
            except BaseException as error:
                self.errors.append(error)
                self.done.set()

        self.threads.append(threading.Thread(target=loop))

    def run(self, write: Callable[[], object]) -> None:
        for thread in self.threads:
            thread.start()
        try:
            write()
            deadline = time.monotonic() + 60
            while not all(self.turns) and not self.errors and time.monotonic() < deadline:
                time.sleep(0.01)  # everybody has had a turn
        finally:
            self.done.set()
            for thread in self.threads:
                thread.join(60)
        assert not any(thread.is_alive() for thread in self.threads), "a thread hangs"
        if self.errors:
            raise self.errors[0]
        assert all(self.turns)


def vector_of(id: int, version: int) -> np.ndarray:
    """What item `id` holds in its n-th version: so that a torn or misplaced vector shows."""
    return np.random.default_rng([id, version]).standard_normal(DIM, dtype=np.float32)


@pytest.mark.parametrize("names", [False, True], ids=["integers", "strings"])
def test_searches_beside_all_kinds_of_writes(
    kind: type[annlib.FlatIndex], names: bool, tmp_path: Path
) -> None:
    """Results are sorted, of ids that have lived, at distances that one of the item's versions has."""
    n, versions = 700, 4
    held = np.array([[vector_of(i, v) for v in range(versions)] for i in range(2 * n)])  # (id, version, dim)

    def name(ids: Any) -> Any:
        return [f"n{i}" for i in ids] if names else np.asarray(ids)

    def number(id: Any) -> int:
        return int(id[1:]) if names else int(id)

    index = kind(DIM)
    index.add(held[:n, 0], ids=name(range(n)))
    constant = set(range(0, n, 3))  # never touched: always to be found
    crowd = Crowd()

    def look(result: annlib.SearchResult, queries: np.ndarray) -> None:
        assert_well_formed(result, result.ids.shape[-1])
        ids, distances = np.atleast_2d(result.ids), np.atleast_2d(result.distances)
        real = np.isfinite(distances)
        numbers = np.array([number(id) for id in ids[real]], np.int64)
        asked = np.repeat(queries, real.sum(axis=1), axis=0)
        possible = ((held[numbers] - asked[:, None]) ** 2).sum(axis=2)  # one for each version
        assert np.isclose(possible, distances[real][:, None], rtol=1e-3, atol=1e-5).any(axis=1).all()

    def search_many() -> None:
        look(index.search(QUERIES, k=10, ef_search=10, threads=2), QUERIES)

    def search_one() -> None:
        some = sorted(constant)[int(time.monotonic_ns()) % len(constant)]
        query = held[some, 0]
        result = index.search(query, k=5)
        look(result, query[None])
        assert number(result.ids[0]) == some and result.distances[0] <= 1e-4

    def search_filtered() -> None:
        some = name(sorted(constant)[:50])
        result = index.search(QUERIES[:5], k=60, filter=some)
        assert (result.counts == 50).all() and set(result.ids[:, :50].ravel().tolist()) == set(list(some))
        lims, ids, _ = index.search_radius(QUERIES[:5], 10.0, filter=some)
        assert lims[-1] == len(ids) and set(ids.tolist()) <= set(list(some))

    def read() -> None:
        ids = index.ids.tolist()
        assert len(ids) == len(set(ids)) and {number(i) for i in ids} >= constant
        some = sorted(constant)[:20]
        np.testing.assert_array_equal(index.get(name(some)), held[some, 0])
        assert all(one in index for one in name(some))
        assert index.stats()["size"] >= len(constant)
        repr(index)

    def save() -> None:
        path = tmp_path / f"{threading.get_ident()}.ann"
        index.save(path)
        loaded = annlib.load(path)
        assert {number(i) for i in loaded.ids} >= constant
        if isinstance(loaded, annlib.HNSWIndex):
            assert loaded.unreachable() == 0

    for work in (search_many, search_many, search_one, search_filtered, read, save):
        crowd.repeat(work)

    def write() -> None:
        rng = np.random.default_rng(0)
        movable = np.setdiff1d(np.arange(n), sorted(constant))
        for turn in range(1, 9):
            some = rng.choice(movable, 150, replace=False)
            index.update(name(some), held[some, turn % versions], threads=2)
            index.add(held[n:, turn % versions], ids=name(range(n, 2 * n)), threads=2)
            index.delete(name(range(n, n + 400)))
            index.add(held[n : n + 50, 1], ids=name(range(n, n + 50)), on_conflict="update")
            if turn % 4 == 0:
                index.compact(threads=2)
            index.delete(name([*range(n, n + 50), *range(n + 400, 2 * n)]))

    crowd.run(write)
    assert sorted(map(number, index.ids)) == list(range(n))


def test_names_of_what_was_deleted_during_the_search(kind: type[annlib.FlatIndex]) -> None:
    """The search has found items; before it can tell their names they are deleted, and forgotten by a compact()."""
    index = kind.build(vectors(30, DIM), ids=[f"n{i}" for i in range(30)])

    class Meanwhile:
        """The core, beside whose calls another thread works."""

        def __init__(self) -> None:
            self.core = index._core

        def __getattr__(self, name: str) -> Any:
            if name not in ("search", "search_radius", "ids"):
                return getattr(self.core, name)

            def call(*arguments: Any) -> Any:
                found = getattr(self.core, name)(*arguments)
                index._core = self.core
                index.delete(index.ids[:20])
                index.compact()
                index.add(vectors(5, DIM), ids=[f"new {len(index)}-{i}" for i in range(5)])
                index._core = self  # type: ignore[assignment]
                return found

            return call

    index._core = Meanwhile()  # type: ignore[assignment]
    assert set(index.search(QUERIES[0], k=30).ids.tolist()) == {f"n{i}" for i in range(30)}
    index._core = index._core.core  # type: ignore[attr-defined]
    index.add(vectors(20, DIM), ids=[f"again {i}" for i in range(20)])
    held = index.ids.tolist()
    index._core = Meanwhile()  # type: ignore[assignment]
    assert index.ids.tolist() == held and None not in held
    assert None not in index.search_radius(QUERIES[:1], float("inf")).ids.tolist()


def test_writers_from_several_threads(kind: type[annlib.FlatIndex]) -> None:
    """Each thread adds, changes and deletes items of its own; nobody's work is lost."""
    index = kind(DIM)
    index.add(vectors(1, DIM), ids=[10**6])  # numbers that are dealt out lie beyond those of the threads
    errors: list[BaseException] = []

    def work(me: int) -> None:
        try:
            for turn in range(6):
                ids = me * 10_000 + turn * 100 + np.arange(100)
                index.add(np.array([vector_of(i, 0) for i in ids]), ids=ids)
                index.update(ids[:30], np.array([vector_of(i, 1) for i in ids[:30]]))
                index.delete(ids[90:])
                index.add(vectors(3, DIM), ids=None)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(me,)) for me in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not errors and not any(thread.is_alive() for thread in threads)
    assert len(index) == 4 * 6 * (90 + 3) + 1
    for me in range(1, 5):
        for turn in range(6):
            ids = me * 10_000 + turn * 100 + np.arange(100)
            assert not any(one in index for one in ids[90:].tolist())
            expected = np.array([vector_of(i, int(i % 100 < 30)) for i in ids[:90]])
            np.testing.assert_array_equal(index.get(ids[:90]), expected)
    if isinstance(index, annlib.HNSWIndex):
        assert index.unreachable() == 0


def test_calibration_beside_writes() -> None:
    index = annlib.HNSWIndex.build(vectors(1200, DIM), ef_construction=20)
    crowd = Crowd()
    crowd.repeat(lambda: index.calibrate(k=3))
    crowd.repeat(lambda: index.search(QUERIES[0], k=2, recall=0.9))

    def write() -> None:
        for turn in range(5):
            index.delete(index.ids[turn::7])
            index.add(vectors(150, DIM, seed=turn))

    crowd.run(write)


def test_mapped_indexes_are_searched_and_written_alike(tmp_path: Path) -> None:
    annlib.HNSWIndex.build(vectors(2000, DIM), ef_construction=30).save(tmp_path / "x.ann")
    index = annlib.load(tmp_path / "x.ann", mmap=True)
    crowd = Crowd()
    for _ in range(3):
        crowd.repeat(lambda: assert_well_formed(index.search(QUERIES, k=10, ef_search=20), 10))

    def write() -> None:
        for turn in range(5):
            index.add(vectors(200, DIM, seed=turn))
            index.delete(index.ids[:300])

    crowd.run(write)
    assert len(annlib.load(tmp_path / "x.ann")) == 2000


def test_loading_one_file_in_many_threads(tmp_path: Path) -> None:
    built = annlib.HNSWIndex.build(vectors(1500, DIM), ids=[f"n{i}" for i in range(1500)], ef_construction=30)
    built.save(tmp_path / "x.ann")
    crowd = Crowd()
    for mmap in (False, True, True):

        def load(mmap: bool = mmap) -> None:
            assert annlib.load(tmp_path / "x.ann", mmap=mmap).digest() == built.digest()

        crowd.repeat(load)
    crowd.run(lambda: [built.save(tmp_path / "x.ann") for _ in range(10)])
