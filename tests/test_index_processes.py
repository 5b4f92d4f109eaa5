"""Forked children, and work that is broken off: by Ctrl-C, by a progress callback, by a lack of memory."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import assert_well_formed, clustered, found_by, nearest, recall, vectors

import annlib

fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def in_child(work: Callable[[], object], seconds: int = 60) -> None:
    """Runs `work` in a forked child; it must return in time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads about is what is tested
        child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise AssertionError("the child hangs")


@fork
def test_a_child_searches_and_builds_after_threads_were_used(kind: type[annlib.FlatIndex]) -> None:
    train, queries = vectors(2000, 12), vectors(300, 12, seed=1)
    index = kind.build(train)
    expected = index.search(queries, k=5, threads=4).ids  # the pool has threads now, which the child has not
    digest = index.digest()

    def work() -> None:
        assert (index.search(queries, k=5, threads=4).ids == expected).all()
        assert kind.build(train).digest() == digest
        index.add(vectors(500, 12, seed=2), threads=3)
        index.delete(np.arange(600))
        index.compact(threads=2)
        assert_well_formed(index.search(queries, k=5, threads=4), 5)
        in_child(lambda: index.search(queries, k=5, threads=4))  # and its own child

    for _ in range(3):
        in_child(work)
    assert index.digest() == digest
    assert (index.search(queries, k=5, threads=4).ids == expected).all()


@fork
def test_forks_while_other_indexes_are_searched() -> None:
    """Threads that are in the middle of a search at the time of the fork are not there in the child."""
    busy, quiet = (annlib.HNSWIndex.build(vectors(2000, 12, seed=s), ef_construction=30) for s in (0, 1))
    queries, done = vectors(400, 12, seed=2), threading.Event()

    def search() -> None:
        while not done.is_set():
            busy.search(queries, k=5, threads=3)

    threads = [threading.Thread(target=search) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(15):
            in_child(lambda: (quiet.search(queries, k=5, threads=3), quiet.add(vectors(20, 12), threads=2)))
    finally:
        done.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(method: str) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    index = annlib.HNSWIndex.build(vectors(2000, 12), ef_construction=30)
    queries = vectors(60, 12, seed=1)
    expected = index.search(queries, k=3).ids.tolist()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with multiprocessing.get_context(method).Pool(2) as pool:
            parts = pool.starmap_async(found_by, [(index, part) for part in np.array_split(queries, 4)]).get(
                120
            )
    assert [row for part in parts for row in part] == expected


class Stop(Exception):
    pass


def broken_off(index: annlib.Index, train: np.ndarray, after: int) -> None:
    """An add that its progress callback ends with its n-th call."""
    calls = 0

    def progress(done: int, total: int) -> None:
        nonlocal calls
        calls += 1
        time.sleep(0.06)  # the next report is not swallowed as coming too soon
        if calls > after:
            raise Stop

    with pytest.raises(Stop):
        index.add(train, progress=progress)


@pytest.mark.parametrize("after", [0, 2])
def test_a_callback_that_raises_leaves_nothing_of_a_build(after: int) -> None:
    train = vectors(30_000, 16)
    index = annlib.HNSWIndex(16, ef_construction=60)
    broken_off(index, train, after)
    assert len(index) == 0 and index.digest() == annlib.HNSWIndex(16, ef_construction=60).digest()
    index.add(train[:700])
    digest, ids = index.digest(), index.ids.tolist()
    broken_off(index, train, after)
    assert index.digest() == digest and index.ids.tolist() == ids
    assert index.add(train[:1]).tolist() == [700]


def test_an_insertion_that_is_broken_off_and_tried_again() -> None:
    """Into a graph that stays: none of the items is there, nothing that was is lost, and a second try is as good."""
    train, queries = vectors(9000, 16), vectors(200, 16, seed=1)
    index = annlib.HNSWIndex.build(train[:6000], ef_construction=40)
    digest = index.digest()
    for after in (0, 1, 7):
        broken_off(index, train[6000:], after)
        assert index.ids.tolist() == list(range(6000)) and index.digest() == digest
    assert index.add(train[6000:]).tolist() == list(range(6000, 9000))
    assert index.unreachable() == 0
    fresh = annlib.HNSWIndex.build(train, ef_construction=40)
    exact = nearest(train, queries, "l2", 10)[1]
    for ef in (20, 40, 80):
        ours, theirs = (
            recall(i.search(queries, k=10, ef_search=ef).distances, exact) for i in (index, fresh)
        )
        assert theirs - ours <= 0.01, ef
    own = index.search(train[6000:], k=1, ef_search=60).ids[:, 0]
    assert (own == np.arange(6000, 9000)).mean() >= 0.998
    index.compact()
    assert index.digest() == fresh.digest()


def test_an_insertion_that_is_broken_off_leaves_the_digest(kind: type[annlib.FlatIndex]) -> None:
    index = kind.build(vectors(6000, 16))
    digest = index.digest()
    broken_off(index, vectors(5900, 16, seed=1), 0)
    assert index.digest() == digest


@given(
    seed=st.integers(0, 1000),
    gone=st.integers(0, 1500),
    after=st.integers(0, 3),
    M=st.sampled_from([2, 4, 16]),
)
@settings(max_examples=8, deadline=None)
def test_an_insertion_that_is_broken_off_in_a_graph_with_gaps(
    seed: int, gone: int, after: int, M: int
) -> None:
    """Among dead nodes and in slots that are used again, too, searches answer as before."""
    rng = np.random.default_rng(seed)
    train = clustered(5000, 8, 20, seed)[0]
    index = annlib.HNSWIndex.build(train[:3000], M=M, ef_construction=30)
    index.delete(rng.permutation(3000)[:gone])
    before, dead, lost = (
        index.search(train, k=10, ef_search=20),
        index.stats()["deleted_in_graph"],
        index.unreachable(),
    )
    broken_off(index, train[3000 : 3000 + len(index) // 2], after)
    result = index.search(train, k=10, ef_search=20)
    np.testing.assert_array_equal(result.ids, before.ids)
    assert index.stats()["deleted_in_graph"] == dead and index.unreachable() == lost


@pytest.mark.parametrize("when", ["build", "add", "compact"])
def test_keyboard_interrupt(when: str) -> None:
    """Ctrl-C ends the work at once with KeyboardInterrupt, and the index is as it was."""
    script = f"""
import os, signal, sys, threading, time, numpy, annlib
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a process in the background ignores
train = numpy.random.default_rng(0).standard_normal((60_000, 64), dtype=numpy.float32)
index = annlib.HNSWIndex(64)
if {when!r} != "build":
    index.add(train[: 2_000 if {when!r} == "add" else 20_000], threads=2)
ids, digest = index.ids.tolist(), index.digest()
threading.Timer(0.4, os.kill, (os.getpid(), signal.SIGINT)).start()
start = time.monotonic()
try:
    index.compact() if {when!r} == "compact" else index.add(train[2_000:])
except KeyboardInterrupt:
    print("interrupted", time.monotonic() - start)
else:
    print("too fast to be interrupted")
assert index.ids.tolist() == ids and index.digest() == digest
assert len(index.add(train[:50], ids=range(10**6, 10**6 + 50))) == 50
assert index.search(train[3], k=1).ids[0] in (3, 10**6 + 3)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout.startswith("interrupted"), done.stdout + done.stderr


def test_memory_that_runs_out_leaves_the_index() -> None:
    script = """
import resource, numpy, annlib
train = numpy.random.default_rng(0).standard_normal((40_000, 256), dtype=numpy.float32)
index = annlib.HNSWIndex.build(train[:3000], ef_construction=20)
digest = index.digest()
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (24 << 20), resource.RLIM_INFINITY))
for work in (lambda: index.add(train), lambda: annlib.FlatIndex.build(train)):
    try:
        work()
    except MemoryError:
        print("refused")
assert index.digest() == digest and index.unreachable() == 0
assert index.search(train[:20], k=1).ids.ravel().tolist() == list(range(20))
"""
    if not os.path.exists("/proc/self/statm"):
        pytest.skip("needs /proc")
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout == "refused\nrefused\n", done.stdout + done.stderr
