"""The command annlib: what it prints, writes, and returns."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import annlib
from annlib import cli, datasets

COMMANDS = ("build", "search", "info", "verify", "tune", "bench", "demo")


@pytest.fixture
def vectors() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((400, 12)).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path, vectors: np.ndarray) -> Path:
    np.save(tmp_path / "vectors.npy", vectors)
    np.save(tmp_path / "queries.npy", vectors[:5] + 0.01)
    return tmp_path


@pytest.fixture
def built(folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    path = folder / "x.ann"
    assert cli.main(["build", str(folder / "vectors.npy"), "-o", str(path), "--metric", "cosine"]) == 0
    assert "400" in capsys.readouterr().out
    return path


def failure(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of an error with exit status 1."""
    assert cli.main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("annlib") and error.count("\n") == 1
    return error


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main([command, "--help"])
    assert exit_.value.code == 0
    assert f"annlib {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [[], ["bild"], ["build"], ["search", "x.ann"], ["search", "x", "q", "--ef-search", "9", "--recall", "1"]],
)
def test_wrong_usage_is_one_line_and_status_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "--help" in error


def test_build_and_search_to_a_file(built: Path, folder: Path, vectors: np.ndarray) -> None:
    out = folder / "out.npz"
    queries = str(folder / "queries.npy")
    assert cli.main(["search", str(built), queries, "-k", "7", "--recall", "0.95", "-o", str(out)]) == 0
    true, distances = datasets.exact_neighbors(vectors, vectors[:5] + 0.01, "cosine", 7)
    with np.load(out) as found:
        assert np.mean([np.isin(t, f).mean() for t, f in zip(true, found["ids"], strict=True)]) > 0.9
        np.testing.assert_allclose(found["distances"][:, 0], distances[:, 0], atol=1e-5)
        assert found["counts"].tolist() == [7] * 5


def test_search_prints_a_table(built: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["search", str(built), str(folder / "queries.npy"), "-k", "3", "--ef-search", "50"]) == 0
    printed = capsys.readouterr().out
    for row in range(5):
        assert re.search(rf"{row}\W+{row} \(", printed)


@pytest.mark.parametrize("mask", [False, True])
def test_filter_by_ids_or_mask(built: Path, folder: Path, mask: bool) -> None:
    allowed = np.array([3, 100, 250])
    np.save(folder / "filter.npy", np.isin(np.arange(400), allowed) if mask else allowed)
    arguments = ["search", str(built), str(folder / "queries.npy"), "-k", "5", "-o", str(folder / "out.npz")]
    assert cli.main([*arguments, "--filter-ids", str(folder / "filter.npy")]) == 0
    with np.load(folder / "out.npz") as found:
        assert found["counts"].tolist() == [3] * 5
        assert {int(i) for i in found["ids"].ravel()} == {3, 100, 250, -1}


@pytest.mark.parametrize("kind", ["hnsw", "flat", "spann"])
def test_ids_of_a_file(kind: str, folder: Path, vectors: np.ndarray) -> None:
    np.save(folder / "ids.npy", np.arange(400) * 10)
    arguments = ["build", str(folder / "vectors.npy"), "-o", str(folder / "x.ann"), "--kind", kind]
    assert cli.main([*arguments, "--ids", str(folder / "ids.npy")]) == 0
    assert annlib.load(folder / "x.ann").search(vectors[7], 1).ids.tolist() == [70]


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_codes_alone(kind: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "x.ann"
    common = ["build", str(folder / "vectors.npy"), "-o", str(path), "--kind", kind, "--no-keep-vectors"]
    assert cli.main(common) == 0
    assert "codes only" in capsys.readouterr().out
    assert annlib.load(path).stats()["codec"] == "int8"
    assert cli.main([*common, "--codec", "rabitq:4"]) == 0
    stats = annlib.load(path).stats()
    assert (stats["codec"], stats["vector_bytes"]) == ("rabitq:4", 0)
    capsys.readouterr()
    assert "makes no codes" in failure([*common, "--codec", "float32"], capsys)


def test_string_ids(folder: Path) -> None:
    np.save(folder / "ids.npy", np.array([f"paper-{i}" for i in range(400)]))
    index, out = str(folder / "x.ann"), folder / "out.npz"
    build = ["build", str(folder / "vectors.npy"), "-o", index, "--ids", str(folder / "ids.npy")]
    assert cli.main(build) == 0
    assert cli.main(["search", index, str(folder / "queries.npy"), "-o", str(out)]) == 0
    with np.load(out, allow_pickle=False) as found:
        assert found["ids"][3, 0] == "paper-3"


def test_hdf5_brings_its_metric_and_queries(folder: Path, vectors: np.ndarray) -> None:
    pytest.importorskip("h5py", reason="HDF5 needs the extra annlib[data]")
    data = datasets.make_dataset("d", vectors, vectors[:3], "angular", k=5)
    datasets.write_hdf5(folder / "d.hdf5", data)
    index, out = folder / "x.ann", folder / "out.npz"
    assert cli.main(["build", str(folder / "d.hdf5"), "-o", str(index)]) == 0
    assert cli.main(["search", str(index), str(folder / "d.hdf5"), "-k", "5", "-o", str(out)]) == 0
    with np.load(out) as found:
        np.testing.assert_array_equal(found["ids"], data.neighbors)
        np.testing.assert_allclose(found["distances"], data.distances, atol=1e-5)


def test_parquet_and_members_of_files(folder: Path, vectors: np.ndarray) -> None:
    arrow = pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    from pyarrow import parquet

    parquet.write_table(
        arrow.table({"a": vectors.tolist(), "b": vectors[:, :5].tolist()}), folder / "v.parquet"
    )
    index = folder / "x.ann"
    assert cli.main(["build", f"{folder / 'v.parquet'}::b", "-o", str(index)]) == 0
    assert annlib.load(index).search(vectors[9, :5], 1).ids.tolist() == [9]


def test_the_metric_of_a_member_is_its_files(folder: Path, vectors: np.ndarray) -> None:
    pytest.importorskip("h5py", reason="HDF5 needs the extra annlib[data]")
    datasets.write_hdf5(folder / "d.hdf5", datasets.make_dataset("d", vectors, vectors[:30], "angular", k=5))
    index = folder / "x.ann"
    assert cli.main(["build", f"{folder / 'd.hdf5'}::test", "-o", str(index)]) == 0
    assert annlib.info(index)["metric"] == "cosine"
    assert len(annlib.load(index)) == 30


def test_info(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", str(built), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert cli.main(["info", str(built)]) == 0
    printed = capsys.readouterr().out
    assert str(content["format_version"]) in printed
    for section in content["sections"]:
        assert section["name"] in printed


def test_verify_names_the_damage(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", str(built)]) == 0
    assert "ok" in capsys.readouterr().out
    section = max(annlib.info(built)["sections"], key=lambda section: section["length"])
    content = bytearray(built.read_bytes())
    content[section["offset"] + section["length"] // 2] ^= 1
    built.write_bytes(content)
    assert cli.main(["verify", str(built)]) == 1
    error = capsys.readouterr().err
    assert str(built) in error and section["name"] in error
    queries = str(built.parent / "queries.npy")
    assert str(built) in failure(["search", str(built), queries], capsys)


def test_tune_stores_what_it_measured(built: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tune", str(built), "--queries", str(folder / "queries.npy"), "--k", "5"]) == 0
    printed = capsys.readouterr().out
    assert "0.95" in printed and "ef_search" in printed
    assert cli.main(["verify", str(built)]) == 0
    assert annlib.info(built)["calibrated_k"] == [5]
    flat = str(folder / "flat.ann")
    assert cli.main(["build", str(folder / "vectors.npy"), "-o", flat, "--kind", "flat"]) == 0
    assert "exact" in failure(["tune", flat], capsys)


def test_posting_lists(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "lists.ann"
    build = ["build", str(folder / "vectors.npy"), "-o", str(path), "--kind", "spann", "--list-size", "8"]
    assert "vectors" in failure([*build, "--codec", "int8"], capsys)
    assert cli.main(build) == 0
    assert cli.main(["tune", str(path), "--k", "3"]) == 0
    assert "nprobe" in capsys.readouterr().out
    index = annlib.load(path)
    assert isinstance(index, annlib.SPANNIndex)
    assert index.stats()["calibrated_k"] == [3] and index.stats()["list_size"] == 8
    assert "no graph" in failure(["report", str(path), str(folder / "queries.npy")], capsys)


def test_errors_are_one_line(built: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    queries, out = str(folder / "queries.npy"), str(folder / "y.ann")
    assert "none.npy" in failure(["build", str(folder / "none.npy"), "-o", out], capsys)
    assert ".fvecs" in failure(["build", str(folder / "x.ann"), "-o", out], capsys)
    assert "cosine" in failure(["build", queries, "-o", out, "--metric", "hamming"], capsys)
    assert "none.ann" in failure(["info", str(folder / "none.ann")], capsys)
    assert "none.ann" in failure(["verify", str(folder / "none.ann")], capsys)
    failure(["verify", queries], capsys)
    np.save(folder / "wide.npy", np.zeros((2, 13)))
    error = failure(["search", str(built), str(folder / "wide.npy")], capsys)
    assert "13" in error and "12" in error
    assert not (folder / "y.ann").exists()


def test_traceback_on_demand(folder: Path) -> None:
    with pytest.raises(OSError):
        cli.main(["--traceback", "info", str(folder / "none.ann")])


def test_as_a_process(folder: Path) -> None:
    run = [sys.executable, "-m", "annlib.cli"]
    done = subprocess.run([*run, "info", "none.ann"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "none.ann" in done.stderr and "Traceback" not in done.stderr
    assert subprocess.run([*run, "--help"], cwd=folder, capture_output=True, check=False).returncode == 0


def test_an_index_in_a_directory(
    folder: Path, vectors: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(folder / "rows.npy", vectors)
    rows, directory, out = str(folder / "rows.npy"), str(folder / "x"), str(folder / "found.npz")
    build = ["build", rows, "-o", directory, "--kind", "spann-disk", "--list-size", "16"]
    assert cli.main(build) == 0
    assert "DiskSPANNIndex" in capsys.readouterr().out
    for command in ("tune", "verify", "info"):
        assert cli.main([command, directory]) == 0
    assert cli.main(["search", directory, rows, "-k", "1", "--recall", "0.9", "-o", out]) == 0
    assert (np.load(out)["ids"][:, 0] == np.arange(len(vectors))).mean() >= 0.9
    assert "holds an index already" in failure(build, capsys)
