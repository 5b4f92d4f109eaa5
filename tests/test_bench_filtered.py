"""annlib bench --filtered: predicates, buckets and their exact answers, peers, the command, tables."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("h5py", reason="the harness reads and writes HDF5")

from annlib import cli, datasets
from annlib_bench import metrics
from annlib_bench.filtered import report, results, runner, workload
from annlib_bench.filtered.peers import FILTERED, select
from annlib_bench.filtered.peers.annlib import expression
from annlib_bench.filtered.peers.base import over_fetched
from annlib_bench.filtered.predicate import (
    And,
    AnyTag,
    Between,
    Columns,
    Equal,
    Not,
    Or,
    Predicate,
    from_json,
    sql,
    to_json,
)

N, QUERIES = 1200, 40

ROWS = {
    "label": np.array(["a", "b", "a", "c"], dtype=object),
    "tags": [["x"], ["x", "y"], [], ["z"]],
    "day": np.array([5, 6, 7, 8]),
}
PREDICATES: list[tuple[Predicate, list[bool]]] = [
    (Equal("label", "a"), [True, False, True, False]),
    (Equal("label", "unknown"), [False] * 4),
    (AnyTag("tags", ("x", "z", "unknown")), [True, True, False, True]),
    (Between("day", 6, 7), [False, True, True, False]),
    (Not(Equal("label", "a")), [False, True, False, True]),
    (
        And((Between("day", 6, 7), Equal("label", "a"), Not(AnyTag("tags", ("x",))))),
        [False, False, True, False],
    ),
    (Or((Between("day", 6, 6), Equal("label", "c"))), [False, True, False, True]),
]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> datasets.Dataset:
    """Rows in 24 clusters; labels mostly by cluster, tags, and days that have nothing to do with them."""
    rng = np.random.default_rng(5)
    centres = rng.standard_normal((24, 16))
    cluster = rng.integers(0, 24, N + QUERIES)
    vectors = (centres[cluster] + 0.4 * rng.standard_normal((N + QUERIES, 16))).astype(np.float32)
    labels = np.array([f"label {i % 12}" for i in cluster], dtype=object)
    tags = [[f"tag {i % 12}", f"tag {i % 5}"] for i in cluster.tolist()]
    days = rng.integers(0, 5000, N + QUERIES).astype(np.int32)

    def part(rows: slice) -> dict[str, object]:
        return {"label": labels[rows], "tags": tags[rows], "day": days[rows]}

    data = datasets.make_dataset("small", vectors[:N], vectors[N:], k=20)
    data = replace(data, attributes=part(slice(N)), test_attributes=part(slice(N, None)))
    path = tmp_path_factory.mktemp("filtered") / "small-16-euclidean.hdf5"
    datasets.write_hdf5(path, data)
    return datasets.read_hdf5(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def work(small: datasets.Dataset, folder: Path) -> workload.Workload:
    return workload.read(small, workload.open_or_make(small, folder, 10, 20))


# Predicates


@pytest.mark.parametrize(("predicate", "passes"), PREDICATES)
def test_predicates_pass_what_they_say(predicate: Predicate, passes: list[bool]) -> None:
    assert Columns(ROWS).mask(predicate).tolist() == passes
    assert from_json(json.loads(json.dumps(to_json(predicate)))) == predicate


def test_other_forms_are_no_predicates() -> None:
    for form in (["like", "label", "a"], ["between", "day", "5", 6], "equal"):
        with pytest.raises(ValueError, match="no predicate"):
            from_json(form)


def test_sql() -> None:
    predicate = And((Not(Equal("label", "a's")), Not(Or((Between("day", 1, 2), AnyTag("tags", ("x", "y")))))))
    text = sql(predicate, "{column} HAS ({values})")
    assert text == "(label != 'a''s' AND (NOT ((day >= 1 AND day <= 2) OR tags HAS ('x', 'y'))))"


# Workloads


def test_buckets_have_the_selectivity_and_correlation_that_they_are_named_by(work: workload.Workload) -> None:
    windows = {(b.correlation, b.name.split()[-1]): b for b in work.buckets if b.kind == "window"}
    for (correlation, share), bucket in windows.items():
        assert (bucket.matches == max(1, round(float(share) * N))).all()
        if correlation == "positive":
            other = windows["negative", share]
            assert bucket.lift > 1 > other.lift or other.lift == 0
    kinds = {bucket.kind for bucket in work.buckets}
    assert {"label", "tags", "range", "range and label", "or", "not", "range and not"} <= kinds
    for bucket in work.buckets:
        if bucket.kind != "window" and "-" in bucket.name.split()[-1]:
            low, high = map(float, bucket.name.split()[-1].split("-"))
            assert (bucket.matches > low * N).all() and (bucket.matches <= high * N).all()


def test_answers_of_buckets_are_exact(small: datasets.Dataset, work: workload.Workload) -> None:
    for bucket, at in itertools.product(work.buckets, (0, -1)):
        mask = work.columns.mask(bucket.predicates[at])
        assert bucket.matches[at] == mask.sum() > 0
        query = small.test[bucket.rows[at]]
        distances = datasets.pair_distances(small.train[mask], query, "l2")
        expected = np.flatnonzero(mask)[np.argsort(distances, kind="stable")[:10]]
        assert bucket.neighbors[at].tolist() == expected.tolist() + [-1] * (10 - len(expected))


def test_workloads_are_made_once_and_again_the_same(
    small: datasets.Dataset, work: workload.Workload, folder: Path, tmp_path: Path
) -> None:
    path = workload.open_or_make(small, folder, 10, 20)
    written = path.stat().st_mtime_ns
    assert workload.open_or_make(small, folder, 10, 20) == path and path.stat().st_mtime_ns == written
    assert workload.open_or_make(small, folder, 5, 20) != path
    again = workload.read(small, workload.open_or_make(small, tmp_path, 10, 20))
    assert [b.predicates for b in again.buckets] == [b.predicates for b in work.buckets]


def test_data_without_attributes_has_windows(small: datasets.Dataset, tmp_path: Path) -> None:
    bare = replace(small, attributes={}, test_attributes={})
    buckets = workload.read(bare, workload.open_or_make(bare, tmp_path, 10, 5)).buckets
    assert {bucket.kind for bucket in buckets} == {"window"}
    assert {bucket.correlation for bucket in buckets} == {"positive", "none", "negative"}


# Judging


def test_only_what_passes_counts(small: datasets.Dataset, work: workload.Workload) -> None:
    bucket = next(bucket for bucket in work.buckets if bucket.name == "window none 0.01")
    assert bucket.matches[0] == 12
    truth = results.Truth(small, work.columns, bucket, 10)
    record = results.FilteredRecord("p", {}, {}, "d", "l2", 10, "single", 1, 0.0, 0, 0, "0")
    record.judge(truth, bucket.neighbors)
    assert (record.recall, record.returned, record.asked) == (1.0, 1.0, 20)
    # The nearest rows of all, which hardly ever pass, are no answers; nor is one that comes ten times.
    record.judge(truth, small.neighbors[bucket.rows, :10])
    assert record.recall == record.returned < 0.1
    record.judge(truth, np.repeat(bucket.neighbors[:5, :1], 10, axis=1))
    assert (record.recall, record.returned, record.asked) == (0.1, 0.1, 5)


def test_few_matches_are_all_that_is_wanted(small: datasets.Dataset, work: workload.Workload) -> None:
    bucket = next(bucket for bucket in work.buckets if bucket.name == "window none 0.0001")
    truth = results.Truth(small, work.columns, bucket, 10)
    assert (truth.wanted == 1).all() and np.isfinite(truth.limits).all()
    assert metrics.recall(truth.passing(bucket.neighbors)[1], truth.limits) == 0.1
    record = results.FilteredRecord("p", {}, {}, "d", "l2", 10, "single", 1, 0.0, 0, 0, "0")
    record.judge(truth, bucket.neighbors)
    assert (record.recall, record.returned) == (1.0, 1.0)


# Peers


def test_over_fetching_ends_with_all_that_is_wanted() -> None:
    mask = np.zeros(100, bool)
    mask[[40, 41, 99]] = True
    asked = []

    def search(queries: np.ndarray, count: int) -> np.ndarray:
        asked.append((len(queries), count))
        return np.array([np.argsort(np.abs(np.arange(100) - q))[:count] for q in queries])

    found = over_fetched(search, np.array([40, 0]), 2, mask)
    assert [ids.tolist() for ids in found] == [[40, 41], [40, 41]]
    assert asked == [(2, 67)]
    asked.clear()
    assert [ids.tolist() for ids in over_fetched(search, np.array([40, 0]), 3, mask)] == [[40, 41, 99]] * 2
    assert asked == [(2, 100)]
    assert over_fetched(search, np.array([1]), 3, np.zeros(100, bool))[0].size == 0


@pytest.mark.parametrize(("predicate", "passes"), PREDICATES)
def test_expressions_pass_the_same(predicate: Predicate, passes: list[bool]) -> None:
    import annlib

    index = annlib.FlatIndex(2)
    index.add(np.eye(4, 2, dtype=np.float32), attributes=ROWS)
    assert index.count(expression(predicate)) == sum(passes)


@pytest.mark.parametrize("name", sorted(FILTERED))
def test_every_installed_peer(
    name: str, small: datasets.Dataset, work: workload.Workload, folder: Path, tmp_path: Path
) -> None:
    if not FILTERED[name].entry.installed:
        pytest.skip(f"{FILTERED[name].entry.requires} is not installed")
    file = tmp_path / "small-16-euclidean.hdf5"
    datasets.write_hdf5(file, small)
    options = {"folder": folder, "queries": 20, "runs": 1, "timeout": 60.0}
    wide = {"only": ["window none 0.1", "window positive 0.5", "label positive"], **options}
    first = runner.run(runner.Plan(file, [name], **wide))
    assert not first.failures
    assert {record.run_count for record in first.records} == {2}
    assert min(record.recall for record in first.records) >= 0.95
    if name == "annlib":
        assert {record.returned for record in first.records} == {1.0}
    if name == "hnswlib":
        return  # It compiles its filter for every process, which takes seconds.
    # Now from what was kept.
    again = runner.run(runner.Plan(file, [name], **{**wide, "only": ["label positive"]}))
    known = {(r.dataset, r.peer): r.recall for r in first.records}
    assert not again.failures and again.records
    for record in again.records:
        assert record.recall == pytest.approx(known[record.dataset, record.peer], abs=0.03)


def test_select_names_what_is_missing_and_unknown() -> None:
    assert select(["numpy", "numpy"]) == (["numpy"], [])
    with pytest.raises(ValueError, match=r"numpi.*annlib, numpy"):
        select(["numpi"])


# Tables, plots, the command


def record(line: str, bucket: str, qps: float, recall: float = 1.0) -> results.FilteredRecord:
    made = results.FilteredRecord(line, {}, {}, f"set/{bucket}", "l2", 10, "single", 1, 0.0, 0, 0, "0")
    made.kind, made.correlation, made.selectivity = "window", bucket, 0.5
    made.qps, made.recall, made.returned = qps, recall, recall
    return made


def test_table_has_ratios_and_regret() -> None:
    lines = ("annlib", "annlib walk", "annlib scan", "numpy", "hnswlib")
    speeds = {
        "positive": (90, 100, 50, 30, 45),
        "none": (90, 1000, 50, 30, 45),
        "negative": (90, 100, 50, 30, 45),
    }
    records = [
        record(
            line,
            bucket,
            qps,
            0.9 if (line, bucket) in {("annlib walk", "none"), ("annlib", "negative")} else 1,
        )
        for bucket, column in speeds.items()
        for line, qps in zip(lines, column, strict=True)
    ]
    columns, rows = report.table(records)
    positive, none, negative = (dict(zip(columns, row, strict=True)) for row in rows)
    assert (positive["best other"], positive["ratio"]) == ("hnswlib", 2.0)
    assert (positive["best plan"], positive["regret"]) == ("walk", pytest.approx(0.1))
    # A plan that misses the recall is none; without an own result there is nothing to compare.
    assert (none["annlib walk"], none["best plan"], none["regret"]) == (None, "scan", pytest.approx(-0.8))
    assert (negative["annlib"], negative["ratio"], negative["regret"]) == (None, None, None)
    columns, rows = report.worst(records)
    worst = {row[0]: dict(zip(columns, row, strict=True)) for row in rows}
    assert (worst["annlib"]["worst recall"], worst["annlib"]["in"]) == (0.9, "negative")
    assert [worst[line]["recall >= 0.95"] for line in lines] == [2, 2, 3, 3, 3]


def test_a_peer_is_asked_what_it_can_answer(small: datasets.Dataset, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "small-16-euclidean.hdf5"
    datasets.write_hdf5(file, small)
    entries = {"numpy": replace(FILTERED["numpy"], kinds=("label",))}
    only = ["window none 0.1", "label positive"]
    plan = runner.Plan(file, ["numpy"], folder=folder, queries=20, runs=1, only=only, entries=entries)
    assert {record.kind for record in runner.run(plan).records} == {"label"}


def test_command(small: datasets.Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="the plot needs matplotlib")
    file, out = tmp_path / "small-16-euclidean.hdf5", tmp_path / "out"
    datasets.write_hdf5(file, small)
    options = ["--dataset", str(file), "--data", str(tmp_path), "--out", str(out), "--runs", "1", "--quiet"]
    wanted = ["--peers", "annlib,numpy", "--queries", "5", "--buckets", "window none 0.1,not negative"]
    assert cli.main(["bench", "--filtered", *options, *wanted]) == 0
    printed = capsys.readouterr().out
    assert "not negative 0.1-1" in printed and "regret" in printed and "least returned" in printed
    summary = json.loads((out / "filtered.json").read_text())
    assert {record["peer"] for record in summary["records"]} == set(
        [*FILTERED["annlib"].lines, *FILTERED["numpy"].lines]
    )
    plot = out / "small-16-euclidean-k10-filtered.png"
    plot.unlink()
    assert cli.main(["bench", "--filtered", "--from", str(out), "--out", str(out)]) == 0
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.partition("plot")[0] == printed.partition("\n")[2].partition("plot")[0]


def test_command_batch(small: datasets.Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("faiss", reason="the baseline is post-filtering by faiss")
    file = tmp_path / "small-16-euclidean.hdf5"
    datasets.write_hdf5(file, small)
    options = [
        "--dataset",
        str(file),
        "--data",
        str(tmp_path),
        "--out",
        str(tmp_path),
        "--runs",
        "1",
        "--quiet",
    ]
    peers = ["--peers", "annlib,numpy,faiss-hnsw"]
    assert cli.main(["bench", "--filtered", "--batch", "200", *peers, *options]) == 0
    printed = capsys.readouterr().out
    summary = json.loads((tmp_path / "filtered.json").read_text())
    records = {record["peer"]: record for record in summary["records"]}
    assert set(records) == {*FILTERED["annlib"].batch, *FILTERED["faiss-hnsw"].batch}
    assert all(line in printed for line in records)
    assert {record["mode"] for record in records.values()} == {"single", "batch"}
    assert all(record["recall"] >= 0.95 and record["asked"] == 200 for record in records.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--peers", "numpi"], "unknown peer numpi"),
        (["--buckets", "nowhere"], "no bucket"),
        (["--runs", "0"], "--runs"),
        (["--batch", "-1"], "--batch"),
        (["--from", "no/such"], "no folder"),
    ],
)
def test_command_errors(
    options: list[str],
    message: str,
    small: datasets.Dataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "small-16-euclidean.hdf5"
    datasets.write_hdf5(file, small)
    given = ["--dataset", str(file), "--data", str(tmp_path), "--peers", "numpy", "--queries", "5", *options]
    assert cli.main(["bench", "--filtered", "--out", str(tmp_path), *given]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
