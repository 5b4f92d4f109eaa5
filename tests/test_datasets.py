"""annlib.datasets: the HDF5 layout, exact neighbours, vector files, downloads, the demo set."""

from __future__ import annotations

import http.server
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from annlib import _exact, datasets

pytest.importorskip("h5py", reason="HDF5 needs the extra annlib[data]")


def brute_force(train: np.ndarray, queries: np.ndarray, metric: str) -> np.ndarray:
    """All distances in float64, straight from the definitions."""
    x, q = train.astype(np.float64), queries.astype(np.float64)
    if metric == "l2":
        return ((q[:, None] - x) ** 2).sum(axis=2)
    dots = (q[:, None] * x).sum(axis=2)
    if metric == "ip":
        return -dots
    scale = np.linalg.norm(q, axis=1)[:, None] * np.linalg.norm(x, axis=1)
    return 1 - np.divide(dots, scale, out=np.zeros_like(dots), where=scale > 0)


@pytest.fixture
def small() -> datasets.Dataset:
    rng = np.random.default_rng(0)
    train = rng.standard_normal((50, 6)).astype(np.float32)
    attributes = {
        "title": [f"Über {i}" for i in range(50)],
        "year": np.arange(50, dtype=np.int32),
        "open": np.arange(50) % 2 == 0,
        "tags": [["a", "b"][: i % 3] for i in range(50)],
    }
    return datasets.make_dataset("small", train, train[:7] + 0.01, "l2", k=5, attributes=attributes)


def test_hdf5_round_trip(tmp_path: Path, small: datasets.Dataset) -> None:
    datasets.write_hdf5(tmp_path / "small.hdf5", small)
    read = datasets.read_hdf5(tmp_path / "small.hdf5")
    assert (read.name, read.metric) == ("small", "l2")
    for name in ("train", "test", "neighbors", "distances"):
        np.testing.assert_array_equal(getattr(read, name), getattr(small, name))
    assert read.attributes["title"].tolist() == small.attributes["title"]
    assert read.attributes["tags"] == small.attributes["tags"]
    np.testing.assert_array_equal(read.attributes["year"], small.attributes["year"])
    assert read.attributes["open"].dtype == bool
    assert set(read.attributes) == set(small.attributes)
    assert not read.test_attributes
    # and what was read can be written again
    datasets.write_hdf5(tmp_path / "again.hdf5", read)
    assert datasets.read_hdf5(tmp_path / "again.hdf5").attributes["tags"] == small.attributes["tags"]


def test_l2_distances_of_the_layout_are_roots(small: datasets.Dataset) -> None:
    true = np.sqrt(np.sort(brute_force(small.train, small.test, "l2"), axis=1)[:, :5])
    np.testing.assert_allclose(small.distances, true, rtol=1e-6)


def test_unknown_column_names_those_there_are(tmp_path: Path, small: datasets.Dataset) -> None:
    datasets.write_hdf5(tmp_path / "small.hdf5", small)
    attributes = datasets.read_hdf5(tmp_path / "small.hdf5").attributes
    assert "autor" not in attributes
    with pytest.raises(KeyError, match="title"):
        attributes["autor"]


def test_failed_write_leaves_the_old_file(tmp_path: Path, small: datasets.Dataset) -> None:
    path = tmp_path / "small.hdf5"
    datasets.write_hdf5(path, small)
    before = path.read_bytes()
    broken = datasets.Dataset(**{**small.__dict__, "attributes": {"year": object()}})
    with pytest.raises(TypeError):
        datasets.write_hdf5(path, broken)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_files_that_are_no_data_set(tmp_path: Path) -> None:
    import h5py

    with pytest.raises(OSError):
        datasets.read_hdf5(tmp_path / "none.hdf5")
    (tmp_path / "text.hdf5").write_text("no HDF5")
    with pytest.raises(OSError):
        datasets.read_hdf5(tmp_path / "text.hdf5")
    with h5py.File(tmp_path / "part.hdf5", "w") as file:
        file["train"] = np.zeros((2, 2))
    with pytest.raises(ValueError, match="test"):
        datasets.read_hdf5(tmp_path / "part.hdf5")
    with h5py.File(tmp_path / "bits.hdf5", "w") as file:
        for name in ("train", "test", "neighbors", "distances"):
            file[name] = np.zeros((2, 2))
        file.attrs["distance"] = "jaccard"
    with pytest.raises(ValueError, match=r"jaccard.*angular"):
        datasets.read_hdf5(tmp_path / "bits.hdf5")


def test_without_h5py_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"annlib\[data\]"):
        datasets.read_hdf5(tmp_path / "any.hdf5")


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8", "int8"])
def test_exact_neighbors(metric: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_exact, "_BLOCK_BYTES", 4000)  # many blocks, the last of them short
    rng = np.random.default_rng(1)
    vectors = (rng.standard_normal((210, 9)) * 20).clip(-100, 100)
    vectors = (np.abs(vectors) if dtype == "uint8" else vectors).astype(dtype)
    train, queries = vectors[:200], vectors[200:]
    ids, distances = datasets.exact_neighbors(train, queries, metric, 12)
    true = brute_force(train, queries, metric)
    order = np.argsort(true, axis=1, kind="stable")[:, :12]
    np.testing.assert_allclose(distances, np.take_along_axis(true, order, axis=1), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(ids, order)


def test_exact_neighbors_breaks_ties_by_row() -> None:
    train = np.tile(np.random.default_rng(2).standard_normal((4, 37)).astype(np.float32), (30, 1))
    ids, _ = datasets.exact_neighbors(train, train[:4], "cosine", 40)
    for row in range(4):
        assert ids[row, :30].tolist() == list(range(row, 120, 4))


def test_exact_neighbors_far_from_the_origin() -> None:
    # |x|² - 2<x, q> + |q|² cancels here: only the second computation can order these rows.
    rng = np.random.default_rng(3)
    train = 1e6 + rng.standard_normal((300, 16))
    ids, distances = datasets.exact_neighbors(train, train[:5], "l2", 10)
    true = brute_force(train, train[:5], "l2")
    np.testing.assert_array_equal(ids, np.argsort(true, axis=1)[:, :10])
    assert (distances[:, 0] == 0).all()


def test_exact_neighbors_of_zero_vectors_and_few_rows() -> None:
    train = np.array([[0, 0], [1, 0], [-1, 0]], np.float32)
    ids, distances = datasets.exact_neighbors(train, np.array([[2, 0], [0, 0]]), "cosine", 10)
    np.testing.assert_allclose(distances, [[0, 1, 2], [1, 1, 1]])
    assert ids.tolist() == [[1, 0, 2], [0, 1, 2]]
    assert datasets.exact_neighbors(train[:0], train)[0].shape == (3, 0)
    assert datasets.exact_neighbors(train, train[:0])[0].shape == (0, 3)


def test_exact_neighbors_reports_progress_and_bad_input() -> None:
    seen: list[tuple[int, int]] = []
    vectors = np.eye(4)
    datasets.exact_neighbors(vectors, vectors, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (4, 4)
    with pytest.raises(ValueError, match=r"\(4, 4\) and \(2, 3\)"):
        datasets.exact_neighbors(vectors, np.zeros((2, 3)))
    with pytest.raises(ValueError, match="at least 1"):
        datasets.exact_neighbors(vectors, vectors, k=0)
    with pytest.raises(ValueError, match="hamming"):
        datasets.exact_neighbors(vectors, vectors, "hamming")
    with pytest.raises(ValueError, match=r"'year' has 3 values for 4 rows"):
        datasets.make_dataset("x", vectors, vectors, attributes={"year": [1, 2, 3]})


@pytest.mark.parametrize(("suffix", "dtype"), [(".fvecs", "<f4"), (".ivecs", "<i4"), (".bvecs", "u1")])
def test_vecs_files(tmp_path: Path, suffix: str, dtype: str) -> None:
    vectors = np.random.default_rng(4).integers(0, 200, (5, 3)).astype(dtype)
    path = tmp_path / f"vectors{suffix}"
    path.write_bytes(b"".join(np.int32(3).tobytes() + row.tobytes() for row in vectors))
    read = datasets.read_vectors(path)
    assert read.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(read, vectors)
    good = path.read_bytes()
    for broken in (b"", good[:2], good[:-1], b"\0\0\0\0" + good[4:], b"\xff\xff\xff\xff" + good[4:]):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match="whole number"):
            datasets.read_vectors(path)
    record = len(good) // 5
    path.write_bytes(good[: 2 * record] + np.int32(7).tobytes() + good[2 * record + 4 :])
    with pytest.raises(ValueError, match="vector 2 has dimension 7"):
        datasets.read_vectors(path)


def test_other_vector_files(tmp_path: Path, small: datasets.Dataset) -> None:
    np.save(tmp_path / "a.npy", small.train)
    np.testing.assert_array_equal(datasets.read_vectors(tmp_path / "a.npy"), small.train)
    datasets.write_hdf5(tmp_path / "a.hdf5", small)
    np.testing.assert_array_equal(datasets.read_vectors(tmp_path / "a.hdf5", "test"), small.test)
    assert datasets.file_metric(tmp_path / "a.hdf5") == "l2"
    assert datasets.file_metric(tmp_path / "a.npy") is None
    with pytest.raises(ValueError, match="train"):
        datasets.read_vectors(tmp_path / "a.hdf5", "tran")
    with pytest.raises(ValueError, match=r"\.fvecs"):
        datasets.read_vectors(tmp_path / "a.csv")
    np.save(tmp_path / "b.npy", np.array([object()]), allow_pickle=True)
    with pytest.raises(ValueError, match="objects"):
        datasets.read_vectors(tmp_path / "b.npy")


class _Server(http.server.BaseHTTPRequestHandler):
    """A data set, one that is cut short, and one that is a web page."""

    def do_GET(self) -> None:
        body = b"\x89HDF\r\n\x1a\n" + b"x" * 100
        if "mnist" in self.path:
            body = b"<html>moved</html>"
        missing = 10 if "glove" in self.path else 0
        self.send_response(404 if "gist" in self.path else 200)
        self.send_header("Content-Length", str(len(body) + missing))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Be silent."""


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()


def test_download(tmp_path: Path, server: str) -> None:
    path = datasets.download("sift-128-euclidean", tmp_path / "data", base_url=server)
    assert path == tmp_path / "data" / "sift-128-euclidean.hdf5"
    assert path.stat().st_size == 108
    path.write_bytes(b"already here")
    datasets.download("sift-128-euclidean", tmp_path / "data", base_url=server)
    assert path.read_bytes() == b"already here"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("glove-25-angular", "108 of 118 bytes"),
        ("mnist-784-euclidean", "no HDF5"),
        ("gist-960-euclidean", "Not Found|404"),
    ],
)
def test_failed_download_leaves_nothing(tmp_path: Path, server: str, name: str, reason: str) -> None:
    with pytest.raises(OSError, match=reason):
        datasets.download(name, tmp_path, base_url=server)
    assert not list(tmp_path.iterdir())


def test_download_without_network_or_by_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"cannot download.*sift-128-euclidean\.hdf5 is used"):
        datasets.download("sift-128-euclidean", tmp_path, base_url="http://127.0.0.1:1")
    with pytest.raises(ValueError, match=r"sift1m.*sift-128-euclidean"):
        datasets.download("sift1m", tmp_path)
    assert not list(tmp_path.iterdir())


def test_demo_set() -> None:
    demo = datasets.load_demo()
    assert demo.train.shape == (10_000, 384)
    assert demo.test.shape == (500, 384)
    assert (demo.train.dtype, demo.metric) == (np.float16, "cosine")
    assert len(demo.attributes["title"]) == len(demo.attributes["categories"]) == 10_000
    assert all(isinstance(tag, str) for tags in demo.attributes["categories"][:50] for tag in tags)
    assert len(demo.test_attributes["primary_category"]) == 500
    _, distances = datasets.exact_neighbors(demo.train, demo.test[:20], demo.metric, 100)
    np.testing.assert_allclose(demo.distances[:20], distances, atol=2e-6)
    assert "Columns(" in repr(demo.attributes)
    assert "10000 x 384 float16" in repr(demo)
