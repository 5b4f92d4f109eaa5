"""annlib_bench: figures, worker processes, result files, tables, and the ann-benchmarks module."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

h5py = pytest.importorskip("h5py", reason="the harness reads and writes HDF5")

from annlib import cli, datasets  # noqa: E402
from annlib_bench import command, compression, metrics, report, results, runner, scale  # noqa: E402
from annlib_bench.peers import PEERS, Entry, select  # noqa: E402
from annlib_bench.sweeps import Sweep, grid  # noqa: E402

HERE = Path(__file__).parent
MODULE = HERE.parent / "bench" / "ann_benchmarks" / "annlib"
KEEP = {"quick": Sweep([{}], grid(keep=[5, 10]))}


def entry(name: str) -> Entry:
    return Entry("bench_peers", name, "numpy", KEEP)


@pytest.fixture
def fake_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))


@pytest.fixture(scope="module")
def data_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    vectors = rng.integers(0, 255, (620, 16)).astype(np.uint8)
    path = tmp_path_factory.mktemp("data") / "tiny-16-euclidean.hdf5"
    datasets.write_hdf5(path, datasets.make_dataset("tiny", vectors[:600], vectors[600:], k=20))
    return path


def run(path: Path, peers: dict[str, Entry], **options: Any) -> runner.Outcome:
    options = {"sweep": "quick", "runs": 2, "timeout": 60.0, **options}
    return runner.run(runner.Plan(path, list(peers), entries=peers, **options))


# Figures


def test_recall_counts_ties_and_not_repeats() -> None:
    # Rows 1 and 2 are equal, so either is a right second answer.
    train = np.array([[0.0], [1.0], [1.0], [5.0]])
    data = datasets.make_dataset("ties", train, np.array([[0.0]]), k=2)
    limits = metrics.thresholds(data, 1, 2)

    def recall(*ids: int) -> float:
        answer = metrics.without_repeats(np.array([ids]))
        return metrics.recall(metrics.answer_distances(data, answer), limits)

    assert recall(0, 1) == recall(0, 2) == recall(2, 0) == recall(1, 2) == 1.0
    assert recall(0, 3) == recall(0, 0) == recall(0, -1) == recall(0, 99) == 0.5
    assert recall(3, -1) == 0.0


def test_recall_forgives_rounding_but_not_more() -> None:
    train = np.array([[1.0, 0], [1.0, 4e-4], [1.0, 2e-2], [0, 1]])
    data = datasets.make_dataset("near", train, np.array([[1.0, 0]]), "cosine", k=1)
    limits = metrics.thresholds(data, 1, 1)
    distances = metrics.answer_distances(data, np.array([[1], [2]])[:1])
    assert metrics.recall(distances, limits) == 1.0
    assert metrics.recall(metrics.answer_distances(data, np.array([[2]])), limits) == 0.0


def test_recall_does_not_depend_on_the_scale() -> None:
    train = np.arange(1.0, 6.0)[:, None]
    for factor in (1e-6, 1.0, 1e6):
        data = datasets.make_dataset("scaled", train * factor, np.zeros((1, 1)), k=2)
        distances = metrics.answer_distances(data, np.array([[0, 3]]))
        assert metrics.recall(distances, metrics.thresholds(data, 1, 2)) == 0.5


def test_pareto_front_and_interpolation() -> None:
    points = [(0.8, 1000.0), (0.7, 900.0), (0.9, 100.0), (0.9, 90.0), (1.0, 10.0)]
    assert metrics.pareto(points) == [(0.8, 1000.0), (0.9, 100.0), (1.0, 10.0)]
    assert metrics.qps_at(points, 0.9) == 100.0
    assert metrics.qps_at(points, 0.95) == pytest.approx(10**1.5)
    assert metrics.qps_at(points, 0.5) == 1000.0  # nothing is extrapolated
    assert metrics.qps_at(points[:2], 0.9) is None
    assert metrics.qps_at([], 0.9) is None


def test_latency() -> None:
    figures = metrics.latency(np.arange(1, 101) / 1e3)
    assert figures["qps"] == pytest.approx(1 / 0.0505)
    assert (figures["p50_ms"], figures["p99_ms"]) == (pytest.approx(50.5), pytest.approx(99.01))


# Worker processes


@pytest.mark.usefixtures("fake_peers")
@pytest.mark.parametrize("interleave", [False, True])
def test_run_measures_every_setting(data_file: Path, interleave: bool) -> None:
    outcome = run(data_file, {"a": entry("Exact"), "b": entry("Exact")}, interleave=interleave)
    assert not outcome.failures
    assert len(outcome.records) == 2 * 2 * 2  # peers, settings, modes
    for record in outcome.records:
        assert record.recall == record.search["keep"] / 10
        assert record.neighbors.shape == (20, 10)
        assert record.times.shape == (20,)
        assert record.run_count == 2
        assert record.qps == pytest.approx(1e3 / record.mean_ms)
        assert record.p50_ms <= record.p95_ms <= record.p99_ms
        assert record.index_bytes == 600 * 16 * 4
        assert record.distance_computations == 600
        assert record.version == np.__version__


@pytest.mark.usefixtures("fake_peers")
def test_native_types_only_where_taken(data_file: Path) -> None:
    peers = {"takes": entry("ExactNative"), "not": entry("Exact")}
    outcome = run(data_file, peers, native=True, modes=["batch"], runs=1)
    sizes = {record.peer: record.index_bytes for record in outcome.records}
    assert sizes == {"takes": 600 * 16, "not": 600 * 16 * 4}
    assert {record.recall for record in outcome.records} == {0.5, 1.0}


@pytest.mark.usefixtures("fake_peers")
def test_peak_memory_is_that_of_the_build(data_file: Path) -> None:
    outcome = run(data_file, {"big": entry("Allocating"), "small": entry("Exact")}, runs=1, modes=["batch"])
    peaks = {record.peer: record.peak_rss_bytes / 2**20 for record in outcome.records}
    assert 60 < peaks["big"] < 90
    assert peaks["small"] < 20


@pytest.mark.usefixtures("fake_peers")
def test_a_peer_that_fails_is_named_and_the_others_go_on(data_file: Path) -> None:
    peers = {name.lower(): entry(name) for name in ("Failing", "Dying", "Hanging", "Exact")}
    outcome = run(data_file, peers, timeout=5.0, interleave=True)
    assert {record.peer for record in outcome.records} == {"exact"}
    assert "dimension not supported" in outcome.failures["failing"]
    assert "SIGSEGV" in outcome.failures["dying"]
    assert "last words" in outcome.failures["dying"]
    assert "more than 5 s" in outcome.failures["hanging"]


@pytest.mark.usefixtures("fake_peers")
def test_own_grids_and_bad_plans(data_file: Path) -> None:
    peers = {"exact": entry("Exact")}
    grids = {"exact": {"search": [{"keep": 3}]}}
    outcome = run(data_file, peers, grids=grids, modes=["batch"], runs=1, queries=7, k=3)
    assert [(r.search, r.recall, len(r.neighbors)) for r in outcome.records] == [({"keep": 3}, 1.0, 7)]
    with pytest.raises(ValueError, match="1 to 20"):
        run(data_file, peers, k=21)
    with pytest.raises(ValueError, match="exakt"):
        run(data_file, peers, grids={"exakt": {}})
    with pytest.raises(ValueError, match="quick"):
        run(data_file, peers, sweep="slow")


def test_select_skips_what_is_not_installed() -> None:
    assert select(["annlib-int8", "annlib-int8"]) == (["annlib-int8"], [])
    with pytest.raises(ValueError, match=r"hnsw1ib.*hnswlib"):
        select(["hnsw1ib"])
    assert not Entry("x", "X", "no_such_library_anywhere", KEEP).installed


@pytest.mark.parametrize("name", sorted(PEERS))
def test_every_installed_peer(name: str, tmp_path: Path) -> None:
    if not PEERS[name].installed:
        pytest.skip(f"{PEERS[name].requires} is not installed")
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((30, 32)) * 2
    vectors = (centres[rng.integers(0, 30, 1020)] + rng.standard_normal((1020, 32))).astype(np.float32)
    path = tmp_path / "clusters.hdf5"
    datasets.write_hdf5(path, datasets.make_dataset("c", vectors[:1000], vectors[1000:], "cosine", k=10))
    outcome = run(path, {name: PEERS[name]}, runs=1)
    assert not outcome.failures
    assert max(record.recall for record in outcome.records) > 0.85
    single, batch = (
        {json.dumps(r.search): r.recall for r in outcome.records if r.mode == mode} for mode in runner.MODES
    )
    for setting, reached in single.items():
        assert batch[setting] == pytest.approx(reached, abs=0.1)
    assert all(record.index_bytes > 1000 for record in outcome.records)


# Files, tables, plots


@pytest.fixture(scope="module")
def outcome(
    data_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, runner.Outcome]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE))
        measured = run(data_file, {"a": entry("Exact"), "b": entry("Exact")})
    root = tmp_path_factory.mktemp("results")
    results.write(root, measured.records, {"c": "reason"}, ["d"])
    yield root, measured


def test_result_files_have_the_layout_of_ann_benchmarks(outcome: tuple[Path, runner.Outcome]) -> None:
    root, measured = outcome
    files = sorted(root.rglob("*.hdf5"))
    assert len(files) == len(measured.records)
    assert {file.relative_to(root).parts[:3] for file in files} == {
        ("tiny-16-euclidean", "10", algo) for algo in ("a", "a-batch", "b", "b-batch")
    }
    record = measured.records[0]
    with h5py.File(results.result_path(root, record)) as file:
        assert file["neighbors"].shape == file["distances"].shape == (20, 10)
        assert (file["neighbors"].dtype, file["distances"].dtype) == (np.int32, np.float32)
        np.testing.assert_allclose(file["times"][:], record.times, rtol=1e-6)
        np.testing.assert_allclose(file["distances"][:], np.sqrt(record.distances), rtol=1e-6)
        attributes = dict(file.attrs)
    assert attributes["best_search_time"] == pytest.approx(record.times.mean())
    assert attributes["candidates"] == record.search["keep"]
    assert attributes["dist_comps"] == 600 * 20 * 2
    expected = {
        "algo": "a",
        "dataset": "tiny-16-euclidean",
        "distance": "euclidean",
        "count": 10,
        "run_count": 2,
    }
    assert {name: attributes[name] for name in expected} == expected
    assert {"batch_mode", "build_time", "index_size", "name", "expect_extra"} <= set(attributes)


def test_summary_and_reading_back(outcome: tuple[Path, runner.Outcome]) -> None:
    root, measured = outcome
    summary = json.loads((root / "summary.json").read_text())
    assert (summary["failures"], summary["not_installed"]) == ({"c": "reason"}, ["d"])
    assert summary["records"] == [record.summary() for record in measured.records]
    read = [record.summary() for record in results.read(root)]
    assert sorted(map(json.dumps, read)) == sorted(map(json.dumps, summary["records"]))


def test_reading_results_of_ann_benchmarks_itself(
    outcome: tuple[Path, runner.Outcome], data_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root, measured = outcome
    shutil.copytree(root, tmp_path / "theirs")
    for path in (tmp_path / "theirs").rglob("*.hdf5"):
        with h5py.File(path, "r+") as file:
            del file.attrs["annlib_record"]
    read = results.read(tmp_path / "theirs", datasets.read_hdf5(data_file))
    assert {(r.peer, r.mode, r.recall) for r in read} == {
        (r.peer, r.mode, r.recall) for r in measured.records
    }
    assert {r.distance_computations for r in read} == {600.0}
    assert results.read(tmp_path / "theirs") == []
    assert "data set" in caplog.text
    with pytest.raises(OSError, match="no folder"):
        results.read(tmp_path / "nowhere")


def test_table_and_ratios(outcome: tuple[Path, runner.Outcome]) -> None:
    records = [record for record in outcome[1].records if record.mode == "single"]
    columns, rows = report.table(records, "b")
    table = {row[0]: dict(zip(columns, row, strict=True)) for row in rows}
    assert set(table) == {"a", "b"}
    for target in ("0.90", "0.95", "0.99"):
        assert table["b"][f"ratio@{target}"] == 1.0
        ratio = table["a"][f"QPS@{target}"] / table["b"][f"QPS@{target}"]
        assert table["a"][f"ratio@{target}"] == pytest.approx(ratio)
    assert table["a"]["best recall"] == 1.0
    assert table["a"]["distances"] == 600
    with pytest.raises(ValueError, match="'a', 'b'"):
        report.table(records, "c")


def test_table_where_no_setting_reaches_the_recall(outcome: tuple[Path, runner.Outcome]) -> None:
    records = [record for record in outcome[1].records if record.recall < 0.9]
    for mode, latency in (("single", True), ("batch", False)):
        columns, rows = report.table([record for record in records if record.mode == mode])
        row = dict(zip(columns, rows[0], strict=True))
        assert row["QPS@0.90"] is None and row["distances"] is None
        assert ("p99 ms" in row) == latency
        assert row.get("p99 ms") is None


def test_command_measures_and_draws(
    data_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="the plot needs matplotlib")
    monkeypatch.setitem(PEERS, "absent", Entry("x", "X", "no_such_library_anywhere", KEEP))  # type: ignore[index]
    arguments = ["bench", "--dataset", str(data_file), "--peers", "annlib-float32,annlib-flat,absent"]
    options = ["--sweep", "quick", "--runs", "1", "--quiet", "--out", str(tmp_path)]
    assert cli.main([*arguments, *options, "--ratio-to", "annlib-flat"]) == 0
    printed = capsys.readouterr()
    assert "skipped: absent is not installed" in printed.err
    assert "ratio@0.95" in printed.out and "annlib-float32" in printed.out
    plots = [tmp_path / f"tiny-16-euclidean-k10-{mode}.png" for mode in runner.MODES]
    assert all(plot.read_bytes().startswith(b"\x89PNG") for plot in plots)
    for plot in plots:
        plot.unlink()
    assert cli.main(["bench", "--from", str(tmp_path), "--out", str(tmp_path)]) == 0
    assert "annlib-flat" in capsys.readouterr().out
    assert all(plot.exists() for plot in plots)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--peers", "hnsw1ib"], "unknown peer"),
        (["--dataset", "no/such.hdf5"], "such.hdf5"),
        (["--dataset", "sift1m"], "unknown data set"),
        (["--ratio-to", "hnswlib", "--peers", "annlib-flat"], "--ratio-to hnswlib"),
        (["--from", "no/such"], "no folder"),
        (["--runs", "0"], "--runs"),
        (["--k", "0"], "k must be"),
    ],
)
def test_command_errors(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.main(["bench", "--peers", "annlib-flat", "--out", str(tmp_path), *options]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_scale(capsys: pytest.CaptureFixture[str]) -> None:
    options = "--rows 3000 --dim 40 --M 3 --queries 30 --ef-search 5 300 --rounds 1 --k 5"
    scale.main(options.split())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("rows: 3,000 x 40 float32") and lines[1].startswith("built: ")
    (ef, low, _), (_, high, _) = (
        [float(word.replace(",", "")) for word in line.split()] for line in lines[3:5]
    )
    assert ef == 5
    assert low < high and high > 0.95


def test_rows_of_a_cluster_spread_over_few_dimensions() -> None:
    rows = scale.clustered_source(20, 1, 6)(3000)
    spread = np.linalg.eigvalsh(np.cov(rows.T))
    assert (spread[:14] < 0.01).all() and (spread[14:] > 0.02).all()


def test_dataset_names(tmp_path: Path) -> None:
    assert command.dataset_path("demo", tmp_path).name == "arxiv-10k-384-angular.hdf5"
    (tmp_path / "sift-128-euclidean.hdf5").touch()
    assert command.dataset_path("sift-128-euclidean", tmp_path).parent == tmp_path


# ann-benchmarks

BASE = '''
class BaseANN:
    """What ann-benchmarks's base class offers, as far as its runner calls it."""
    def done(self): pass
    def get_memory_usage(self): return 0.0
    def get_additional(self): return {}
    def __str__(self): return self.name
'''


@pytest.fixture
def algorithm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module where ann-benchmarks expects it, beside a stub of its base class."""
    algorithms = tmp_path / "ann_benchmarks" / "algorithms"
    (algorithms / "base").mkdir(parents=True)
    (algorithms / "base" / "module.py").write_text(BASE)
    shutil.copytree(MODULE, algorithms / "annlib")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("ann_benchmarks.algorithms.annlib.module")
    for name in [name for name in sys.modules if name.split(".")[0] == "ann_benchmarks"]:
        del sys.modules[name]


@pytest.mark.parametrize("metric", ["euclidean", "angular"])
def test_ann_benchmarks_module(algorithm: Any, metric: str) -> None:
    rng = np.random.default_rng(2)
    train, queries = (rng.standard_normal((n, 12)).astype(np.float32) for n in (500, 20))
    algo = algorithm.Annlib(metric, {"M": 16, "ef_construction": 100, "codec": "int8"})
    algo.fit(train)
    algo.set_query_arguments(*[200])
    true, _ = datasets.exact_neighbors(train, queries, metric, 10)
    found = [algo.query(query, 10) for query in queries]
    assert np.mean([np.isin(t, f).mean() for t, f in zip(true, found, strict=True)]) > 0.95
    assert algo.get_additional()["dist_comps"] > 0
    algo.batch_query(queries, 10)
    for one, many in zip(found, algo.get_batch_results(), strict=True):
        assert list(one) == list(many)
    algo.set_query_arguments(10)
    assert algo.get_additional()["dist_comps"] == 0
    assert "ef_search=10" in str(algo) and "M=16" in str(algo)
    algo.done()


def test_ann_benchmarks_returns_only_what_is_there(algorithm: Any) -> None:
    algo = algorithm.Annlib("euclidean", {"M": 4, "ef_construction": 10, "codec": "float32"})
    algo.fit(np.eye(3, dtype=np.float32))
    algo.set_query_arguments(10)
    assert sorted(algo.query(np.zeros(3, np.float32), 10)) == [0, 1, 2]
    algo.batch_query(np.zeros((2, 3), np.float32), 10)
    assert [len(row) for row in algo.get_batch_results()] == [3, 3]


def test_ann_benchmarks_config(algorithm: Any) -> None:
    yaml = pytest.importorskip("yaml", reason="reading config.yml needs PyYAML")
    config = yaml.safe_load((MODULE / "config.yml").read_text())
    names = [definition["name"] for definition in config["float"]["any"]]
    assert len(names) == len(set(names))
    for definition in config["float"]["any"]:
        assert hasattr(algorithm, definition["constructor"])
        assert definition["module"] == "ann_benchmarks.algorithms.annlib"
        assert definition["base_args"] == ["@metric"]
        for group in definition["run_groups"].values():
            assert set(group["arg_groups"][0]) == {"M", "ef_construction", "codec"}
            assert len(group["query_args"]) == 1


def test_compression_finds_more_with_more_bits(capsys: pytest.CaptureFixture[str]) -> None:
    data = datasets.load_demo()
    few = datasets.Dataset(
        data.name, data.train, data.test[:50], data.neighbors[:50], data.distances[:50], data.metric
    )
    rows = {row.method: row for row in compression.measure(few)}
    by_bits = [rows[f"annlib rabitq:{bits}"] for bits in (1, 2, 4, 8)]
    assert [row.bytes for row in by_bits] == [
        384 * bits // 8 + (4 if bits <= 2 else 8) for bits in (1, 2, 4, 8)
    ]
    assert all(row.recall > least for row, least in zip(by_bits, (0.72, 0.86, 0.94, 0.98), strict=True))
    assert compression.main(["--queries", "5"]) == 0
    assert "annlib int8" in capsys.readouterr().out
