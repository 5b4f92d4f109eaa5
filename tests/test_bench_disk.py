"""annlib bench --disk: data in blocks, worker processes, shares of memory, what is read, peers, the command."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("h5py", reason="the harness reads and writes HDF5")

from annlib import cli, datasets
from annlib_bench import metrics
from annlib_bench.disk import data, host, report, results, runner
from annlib_bench.disk.peers import DISK, select
from annlib_bench.disk.rows import write_rows
from annlib_bench.peers import Entry
from annlib_bench.sweeps import Sweep, grid

HERE = Path(__file__).parent
KEEP = {"quick": Sweep([{}], grid(keep=[5, 10]))}
N, DIM, QUERIES = 1200, 32, 40
RAW = 4 * N * DIM


def entry(name: str) -> Entry:
    return Entry("bench_disk_peers", name, "numpy", KEEP)


@pytest.fixture
def fake_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))


@pytest.fixture
def small(tmp_path: Path) -> data.DiskData:
    return data.synthetic(N, tmp_path, dim=DIM, queries=QUERIES, k=20)


def run(given: data.DiskData, peers: dict[str, Entry], **options: Any) -> runner.Outcome:
    options = {
        "sweep": "quick",
        "runs": 2,
        "timeout": 60.0,
        "memory": (0.25,),
        "search_threads": (1,),
        **options,
    }
    return runner.run(runner.Plan(given, list(peers), entries=peers, **options))


# Data


def test_rows_come_in_blocks_and_samples(tmp_path: Path) -> None:
    vectors = np.arange(3 * 5000 * 700, dtype=np.float32).reshape(-1, 700)
    blocks = np.array_split(vectors, 7)
    rows = write_rows(tmp_path / "rows.npy", vectors.shape, blocks)
    assert (rows.count, rows.dim, rows.nbytes) == (15000, 700, vectors.nbytes)
    read = list(rows.blocks())
    assert len(read) == 3 and (np.concatenate(read) == vectors).all()
    sample = rows.sample(100)
    numbers = sample[:, 0].astype(np.int64) // 700
    assert len(set(numbers)) == 100 and (np.diff(numbers) > 0).all() and (vectors[numbers] == sample).all()
    assert (rows.sample(100) == sample).all() and len(rows.sample(10**6)) == 15000


def test_synthetic_rows_have_exact_answers_and_are_made_once(tmp_path: Path) -> None:
    made = data.synthetic(9000, tmp_path, dim=16, queries=30, k=12)
    train, test = np.asarray(made.dataset.train), made.dataset.test
    neighbors, squares = datasets.exact_neighbors(train, test, "l2", 12)
    assert (made.dataset.neighbors == neighbors).all()
    np.testing.assert_allclose(made.dataset.distances, np.sqrt(squares), rtol=1e-6)
    written = made.rows.path.stat().st_mtime_ns
    again = data.synthetic(9000, tmp_path, dim=16, queries=30, k=12)
    assert again.rows.path.stat().st_mtime_ns == written and (again.dataset.neighbors == neighbors).all()
    # Their dimension is what an index on disk has to be measured with: neither noise nor a few points.
    ratio = made.dataset.distances[:, 11] / np.linalg.norm(train - test[0], axis=1).mean()
    assert 0.05 < ratio.mean() < 0.8


def test_fewer_rows_than_neighbours(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.npy", (3, 2), [np.array([[0, 0], [3, 4], [0, 1]], np.float32)])
    neighbors, distances = data.nearest(rows, np.zeros((1, 2), np.float32), 10)
    assert neighbors.tolist() == [[0, 2, 1]] and distances.tolist() == [[0, 1, 5]]


def test_rows_of_a_file_are_float32_and_unit_for_cosine(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.integers(0, 9, (60, 8)).astype(np.uint8)
    for metric in ("l2", "cosine"):
        path = tmp_path / f"{metric}.hdf5"
        datasets.write_hdf5(path, datasets.make_dataset(metric, vectors[:50], vectors[50:], metric, k=5))
        given = data.from_file(path, tmp_path)
        rows, queries = np.load(given.rows.path), np.load(given.queries)
        assert rows.dtype == queries.dtype == np.float32 and len(queries) == 10
        if metric == "l2":
            assert (rows == vectors[:50]).all()
        else:
            np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-6)
        assert data.from_file(path, tmp_path).rows.path == given.rows.path


# The system


def test_what_is_dropped_is_read_again(tmp_path: Path) -> None:
    if host.read_bytes() is None or host.device_reads(tmp_path) is None:
        pytest.skip("the system does not say what it reads, or the folder is on no device")
    path, size = tmp_path / "file", 4 << 20
    path.write_bytes(np.random.default_rng(0).bytes(size))
    host.drop_page_cache(tmp_path)
    before, device = host.read_bytes(), host.device_reads(tmp_path)
    path.read_bytes()
    between = host.read_bytes()
    path.read_bytes()
    assert between - before >= size and host.read_bytes() == between
    assert host.device_reads(tmp_path) > device


# Runs


@pytest.mark.usefixtures("fake_peers")
def test_every_setting_is_measured_at_every_share(small: data.DiskData) -> None:
    peers = {"all": entry("Exact"), "each": entry("ByMemory")}
    options = {"memory": (0.1, 0.25), "search_threads": (1, 2), "warm": 10}
    outcome = run(small, peers, **options)
    assert not outcome.failures
    assert len(outcome.records) == 2 * 2 * 2 * 2  # peers, settings, shares, threads
    for record in outcome.records:
        assert record.recall == record.search["keep"] / 10
        assert (record.asked, record.run_count) == (QUERIES - 10, 2)
        assert record.reads == record.search["keep"]  # those that warmed up do not count
        assert record.memory_limit == int(record.memory_share * RAW)
        assert record.mode == ("single" if record.threads == 1 else "batch")
        assert record.qps == pytest.approx(1e3 / record.mean_ms)
        assert record.version == np.__version__
        # The index's copy of the rows and its file of `memory` bytes; the first share's where one is for all.
        share = record.memory_share if record.peer == "each" else 0.1
        assert 0 < record.index_bytes - RAW - int(share * RAW) < 1000
    assert {record.dataset for record in outcome.records} == {
        f"synthetic-{N}-{DIM}-euclidean/memory {share:g}, {threads}"
        for share in (0.1, 0.25)
        for threads in ("1 thread", "2 threads")
    }


@pytest.mark.usefixtures("fake_peers")
def test_indexes_are_kept(small: data.DiskData) -> None:
    first = run(small, {"a": entry("Exact")}, runs=1)
    again = run(small, {"a": entry("Exact")}, runs=1)
    assert first.records[0].build_seconds == again.records[0].build_seconds > 0


@pytest.mark.usefixtures("fake_peers")
def test_memory_is_that_of_searching(small: data.DiskData) -> None:
    outcome = run(small, {"big": entry("Holding"), "small": entry("Exact")}, runs=1)
    held = {record.peer: record.memory_bytes / 2**20 for record in outcome.records}
    assert 60 < held["big"] < 90
    assert held["small"] < 30


@pytest.mark.usefixtures("fake_peers")
def test_little_time_asks_fewer_queries(small: data.DiskData) -> None:
    outcome = run(small, {"a": entry("Exact")}, runs=1, seconds=1e-9, search_threads=(1, 2), warm=0)
    assert {(record.threads, record.asked) for record in outcome.records} == {(1, 1), (2, QUERIES)}
    assert {record.recall for record in outcome.records} == {0.5, 1.0}


@pytest.mark.usefixtures("fake_peers")
def test_a_peer_that_fails_is_named_and_the_others_go_on(small: data.DiskData) -> None:
    outcome = run(small, {"failing": entry("Failing"), "exact": entry("Exact")})
    assert {record.peer for record in outcome.records} == {"exact"}
    assert outcome.failures == {"failing memory=0.25": "visit: ValueError: too many"}


def test_half_of_the_queries_are_asked_at_least(small: data.DiskData) -> None:
    assert [runner.Plan(small, [], warm=warm).asked for warm in (0, 10, 500)] == [40, 30, 20]
    assert runner.Plan(small, [], queries=7).asked == 7


def test_bad_plans(small: data.DiskData) -> None:
    with pytest.raises(ValueError, match="1 to 20"):
        run(small, {}, k=21)
    with pytest.raises(ValueError, match="grids"):
        run(small, {}, grids={"annlib": {}})


def test_figures_are_of_the_fastest_round(small: data.DiskData) -> None:
    limits = metrics.thresholds(small.dataset, QUERIES, 10)
    record = results.DiskRecord("p", {}, {}, "d/x", "l2", 10, "single", 1, 0.0, 0, 0, "0")
    # 30 queries of 1 to 30 ms, of 10 found answers 8 are right.
    answers = small.dataset.neighbors[:30, :10].astype(np.int64)
    answers[:, 8:] = -1
    times = np.arange(1, 31) / 1e3
    names = ("memory_bytes", "reads", "read_bytes", "device_reads", "cores")
    for factor, number in ((2, 7.0), (1, 3.0), (3, 9.0)):
        arrays = {"neighbors": answers, "times": factor * times}
        record.visited(small.dataset, limits, arrays, dict.fromkeys(names, number))
    assert (record.recall, record.asked, record.run_count) == (0.8, 30, 3)
    assert (record.reads, record.read_bytes, record.device_reads, record.memory_bytes) == (3, 3, 3, 3)
    assert record.qps == pytest.approx(1 / times.mean()) and record.mean_ms == pytest.approx(15.5)
    figures = (record.p50_ms, record.p95_ms, record.p99_ms)
    assert figures == pytest.approx(np.percentile(times * 1e3, [50, 95, 99]))


# Peers


def most(name: str) -> dict[str, Any]:
    """A grid of the greatest effort alone."""
    return {name: {"search": DISK[name].sweeps["quick"].search[-1:]}}


@pytest.mark.parametrize("name", sorted(DISK))
def test_every_installed_peer(name: str, small: data.DiskData) -> None:
    if not DISK[name].installed:
        pytest.skip(f"{DISK[name].requires} is not installed")
    outcome = run(small, {name: DISK[name]}, search_threads=(1, 2), runs=1, warm=5, grids=most(name))
    assert not outcome.failures
    single, several = (record.recall for record in outcome.records)
    assert single == several > 0.95
    assert all(record.index_bytes > RAW for record in outcome.records)


def test_a_peer_by_another_interpreter(small: data.DiskData) -> None:
    pytest.importorskip("faiss", reason="a library that is there by this interpreter's own packages")
    options = {"runs": 1, "grids": most("faiss")}
    here = run(small, {"faiss": DISK["faiss"]}, **options)
    there = run(small, {"faiss": DISK["faiss"]}, pythons={"faiss": sys.executable}, **options)
    assert not there.failures
    assert [record.recall for record in there.records] == [record.recall for record in here.records]


def test_select_asks_the_interpreter_that_is_named() -> None:
    absent = {"here": Entry("x", "X", "no_such_library_anywhere", KEEP), "there": entry("Exact")}
    assert select(["there", "here"], {}, absent) == (["there"], ["here"])
    assert select(["there", "here"], {"here": sys.executable}, absent) == (["there"], ["here"])
    assert select(["there"], {"there": sys.executable}, absent) == (["there"], [])
    with pytest.raises(ValueError, match="nowhere"):
        select(["there"], {"nowhere": sys.executable}, absent)
    with pytest.raises(OSError, match="no/python"):
        select(["there"], {"there": "no/python"}, absent)


# Tables, plots, the command


def record(peer: str, recall: float, qps: float, **figures: Any) -> results.DiskRecord:
    made = results.DiskRecord(peer, {}, {}, "set/x", "l2", 10, "single", 1, 60.0, 5 * 10**6, 7 * 10**6, "0")
    made.memory_share, made.memory_limit = 0.1, 10**6
    for name, value in {"recall": recall, "qps": qps, **figures}.items():
        setattr(made, name, value)
    return made


def test_table_interpolates_and_shows_what_is_read() -> None:
    records = [
        record("annlib", 0.8, 4000.0),
        record("annlib", 0.9, 1000.0, reads=4.0, read_bytes=0.0, p99_ms=2.0),
        record("annlib", 1.0, 10.0, reads=8.5, read_bytes=34816.0, p99_ms=3.0, memory_bytes=2_000_000),
        record("other", 0.95, 50.0),
    ]
    ((title, group),) = report.groups(records).items()
    assert title == "set, k = 10, 10% of the vectors in memory, one thread, one query a call"
    columns, rows = report.table(group, "other")
    own, other = (dict(zip(columns, row, strict=True)) for row in rows)
    assert (own["QPS@0.90"], own["QPS@0.95"]) == (1000.0, pytest.approx(100.0))
    assert own["ratio@0.95"] == pytest.approx(2.0) and other["QPS@0.99"] is None
    assert own["memory MB"] == 2.0
    assert (own["limit MB"], own["disk MB"], own["build s"], own["build peak MB"]) == (1.0, 5.0, 60.0, 7.0)
    columns, rows = report.reading(group)
    lines = [dict(zip(columns, row, strict=True)) for row in rows]
    assert [(line["index"], line["recall"]) for line in lines] == [
        (name, target) for name in ("annlib", "other") for target in (0.90, 0.95, 0.99)
    ]
    exact, half, _, _, above, missed = lines
    assert (exact["QPS"], exact["reads"], exact["KB read"], exact["p99 ms"]) == (1000.0, 4.0, 0.0, 2.0)
    assert half["QPS"] == pytest.approx(100.0) and half["p99 ms"] == pytest.approx(2.5)
    assert (half["reads"], half["KB read"]) == (pytest.approx(6.25), pytest.approx(17.408))
    assert (above["QPS"], above["reads"]) == (50.0, None)
    assert (missed["QPS"], missed["p99 ms"]) == (None, None)


@pytest.mark.usefixtures("fake_peers")
def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib", reason="the plot needs matplotlib")
    monkeypatch.setitem(DISK, "fake", entry("Exact"))  # type: ignore[index]
    monkeypatch.setitem(DISK, "absent", Entry("x", "X", "no_such_library_anywhere", KEEP))  # type: ignore[index]
    out = tmp_path / "out"
    arguments = ["bench", "--disk", "--data", str(tmp_path), "--out", str(out), "--quiet", "--sweep", "quick"]
    wanted = [
        "--synthetic",
        "1500",
        "--peers",
        "fake,absent",
        "--memory",
        "0.2",
        "--runs",
        "1",
        "--queries",
        "20",
    ]
    assert cli.main([*arguments, *wanted, "--ratio-to", "fake"]) == 0
    printed = capsys.readouterr()
    assert "skipped: absent is not installed" in printed.err
    assert "20% of the vectors in memory, 2 threads, one call" in printed.out
    summary = json.loads((out / "disk.json").read_text())
    assert {record["memory_limit"] for record in summary["records"]} == {int(0.2 * 1500 * 512)}
    plots = [out / f"synthetic-1500-128-euclidean-k10-disk-0.2-{threads}.png" for threads in (1, 2)]
    for plot in plots:
        assert plot.read_bytes().startswith(b"\x89PNG")
        plot.unlink()
    assert cli.main([*arguments, "--from", str(out), "--ratio-to", "fake"]) == 0
    assert all(plot.exists() for plot in plots)
    # The same tables, with rows in the order of the files.
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(printed.out.splitlines()[1:])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--peers", "numpi"], "unknown peer numpi"),
        (["--memory", "0"], "--memory must be above 0"),
        (["--memory", "much"], "much"),
        (["--search-threads", "-1"], "--search-threads"),
        (["--synthetic", "0"], "--synthetic"),
        (["--synthetic", "5", "--dataset", "demo"], "two data sets"),
        (["--seconds", "0"], "--seconds"),
        (["--runs", "0"], "--runs"),
        (["--queries", "0"], "--queries"),
        (["--warm", "-1"], "--warm"),
        (["--python", "faiss"], "PEER=PATH"),
        (["--from", "no/such"], "no folder"),
        (["--k", "0"], "k must be"),
    ],
)
def test_command_errors(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--data", str(tmp_path), "--out", str(tmp_path), "--peers", "faiss", *options]
    if "--synthetic" not in options:
        given += ["--synthetic", "100"]
    assert cli.main(["bench", "--disk", *given]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
