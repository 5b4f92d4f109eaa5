"""Vector data sets: the ann-benchmarks HDF5 layout, exact neighbours, downloads and the demo set.

The layout (https://github.com/erikbern/ann-benchmarks) is one HDF5 file with ``train`` (n, d), ``test``
(q, d), ``neighbors`` (q, k) int32 row numbers of ``train``, ``distances`` (q, k) float32, and a file
attribute ``distance``. ``distances`` are true Euclidean distances for "euclidean" and 1 - cos for "angular",
where annlib's own "l2" is the squared distance. Two optional groups, ``attributes`` and ``test_attributes``,
hold one column per name, or a group of ``values`` and ``offsets`` for a column of lists.

HDF5 needs the extra ``annlib[data]``; everything else needs numpy only.
"""

from __future__ import annotations

import functools
import itertools
import os
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._exact import exact_neighbors, metric_name, pair_distances
from ._progress import Progress
from ._vector_files import (
    Array,
    StrPath,
    file_metric,
    import_h5py,
    read_bvecs,
    read_fvecs,
    read_ivecs,
    read_vectors,
)

__all__ = [
    "KNOWN_DATASETS",
    "Columns",
    "Dataset",
    "demo_path",
    "download",
    "exact_neighbors",
    "file_metric",
    "load_demo",
    "make_dataset",
    "pair_distances",
    "read_bvecs",
    "read_fvecs",
    "read_hdf5",
    "read_ivecs",
    "read_vectors",
    "write_hdf5",
]

_DISTANCE_OF = {"l2": "euclidean", "cosine": "angular", "ip": "ip"}

#: The public ann-benchmarks sets that :func:`download` knows: those with a metric that annlib has.
KNOWN_DATASETS = (
    "deep-image-96-angular",
    "fashion-mnist-784-euclidean",
    "gist-960-euclidean",
    "glove-25-angular",
    "glove-50-angular",
    "glove-100-angular",
    "glove-200-angular",
    "lastfm-64-dot",
    "mnist-784-euclidean",
    "nytimes-256-angular",
    "sift-128-euclidean",
)
BASE_URL = "https://ann-benchmarks.com"
_DEMO = "arxiv-10k-384-angular"
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


class Columns(Mapping[str, Any]):
    """Named columns that are read when they are first asked for.

    A value is an array of n numbers or booleans, an object array of n ``str``, or a list of n lists of
    ``str`` or ``int``. Safe to read from several threads; two of them may read the same column twice.
    """

    def __init__(self, readers: Mapping[str, Callable[[], Any]]) -> None:
        self._readers = dict(readers)
        self._read: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        """The column ``name``; raises KeyError with the names there are."""
        if name not in self._read:
            if name not in self._readers:
                raise KeyError(f"no attribute {name!r}; there are {sorted(self._readers)}")
            self._read[name] = self._readers[name]()
        return self._read[name]

    def __contains__(self, name: object) -> bool:
        return name in self._readers

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)

    def __repr__(self) -> str:
        return f"Columns({', '.join(self._readers)})"


@dataclass(frozen=True, eq=False)
class Dataset:
    """Vectors to index, queries, and the exact answers.

    Attributes
    ----------
    name : str
        Also the name of the file without ``.hdf5``.
    train, test : ndarray, shapes (n, d) and (q, d)
        In the type that the file stores.
    neighbors : ndarray of int32, shape (q, k)
        Rows of ``train``, nearest first, equal distances by row number.
    distances : ndarray of float32, shape (q, k)
        As the layout defines them (see the module): the root, not the square, for "l2".
    metric : str
        "l2", "cosine" or "ip".
    attributes, test_attributes : Mapping
        Columns with a value for every row of ``train`` and of ``test``; read from the file on first use.
    """

    name: str
    train: Array
    test: Array
    neighbors: NDArray[np.int32]
    distances: NDArray[np.float32]
    metric: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    test_attributes: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        size = "{} x {}".format(*self.train.shape)
        return f"Dataset({self.name!r}, {size} {self.train.dtype}, {len(self.test)} queries, {self.metric!r})"


def read_hdf5(path: StrPath) -> Dataset:
    """Read a file in the ann-benchmarks layout.

    Vectors and neighbours are read at once, attribute columns on first use, from the same path.

    Raises
    ------
    OSError
        The file is not there or is no HDF5 file.
    ValueError
        It lacks one of the layout's arrays, or its distance is none of annlib's.
    ImportError
        h5py is not installed.
    """
    h5py, path = import_h5py(), Path(path)
    with h5py.File(path, "r") as file:
        missing = [key for key in ("train", "test", "neighbors", "distances") if key not in file]
        if missing:
            raise ValueError(f"{path}: not in the ann-benchmarks layout, lacks {missing}")
        return Dataset(
            name=path.name.removesuffix(".hdf5"),
            train=file["train"][:],
            test=file["test"][:],
            neighbors=file["neighbors"][:].astype(np.int32, copy=False),
            distances=file["distances"][:].astype(np.float32, copy=False),
            metric=metric_name(str(file.attrs.get("distance", "no attribute 'distance'"))),
            attributes=_columns(path, file, "attributes"),
            test_attributes=_columns(path, file, "test_attributes"),
        )


def _columns(path: Path, file: Any, group: str) -> Columns:
    names = list(file[group]) if group in file else []
    return Columns({name: functools.partial(_read_column, path, f"{group}/{name}") for name in names})


def _read_column(path: Path, key: str) -> Any:
    h5py = import_h5py()
    with h5py.File(path, "r") as file:
        if not isinstance(file[key], h5py.Group):
            return _decoded(file[key][:])
        values, offsets = _decoded(file[key]["values"][:]).tolist(), file[key]["offsets"][:].tolist()
    return [values[start:stop] for start, stop in itertools.pairwise(offsets)]


def _decoded(column: Array) -> Array:
    if column.dtype.kind not in "SO":
        return column
    return np.array([value.decode("utf-8") for value in column.tolist()] + [None], dtype=object)[:-1]


def write_hdf5(path: StrPath, dataset: Dataset) -> None:
    """Write `dataset` in the ann-benchmarks layout; a failure leaves what was at `path` as it was."""
    h5py = import_h5py()

    def write(temporary: str) -> None:
        with h5py.File(temporary, "w") as file:
            file.attrs["distance"] = _DISTANCE_OF[dataset.metric]
            file.attrs["dimension"] = dataset.train.shape[1]
            file.attrs["type"] = "dense"
            kind = dataset.train.dtype
            file.attrs["point_type"] = "float" if kind.kind == "f" else str(kind)
            for name in ("train", "test", "neighbors", "distances"):
                file[name] = getattr(dataset, name)
            for group in ("attributes", "test_attributes"):
                for name, column in getattr(dataset, group).items():
                    _write_column(file.require_group(group), name, column)

    _publish(Path(path), write)


def _write_column(group: Any, name: str, column: Any) -> None:
    if isinstance(column, list) and column and isinstance(column[0], list):
        inner = group.create_group(name)
        inner["values"] = _encoded(np.array([value for row in column for value in row]))
        inner["offsets"] = np.cumsum([0] + [len(row) for row in column], dtype=np.int64)
    else:
        group[name] = _encoded(np.asarray(column))


def _encoded(column: Array) -> Array:
    if column.dtype.kind in "iufb":
        return column
    return np.array([str(value).encode("utf-8") for value in column.tolist()], dtype=np.bytes_)


def _publish(path: Path, write: Callable[[str], None]) -> None:
    """Call ``write(temporary)`` beside `path`, then rename: a failure leaves what was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=path.name, suffix=".part", dir=path.parent)
    os.close(handle)
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def make_dataset(
    name: str,
    train: ArrayLike,
    test: ArrayLike,
    metric: str = "l2",
    *,
    k: int = 100,
    attributes: Mapping[str, Any] | None = None,
    test_attributes: Mapping[str, Any] | None = None,
    progress: Progress = False,
) -> Dataset:
    """Make a data set from arrays; see :func:`exact_neighbors` for how its answers are computed.

    `attributes` and `test_attributes` are columns by name: n (or q) numbers, booleans, strings or lists.
    """
    metric, rows, queries = metric_name(metric), np.asarray(train), np.asarray(test)
    neighbors, distances = exact_neighbors(rows, queries, metric, k, progress=progress)
    for count, columns in ((len(rows), attributes), (len(queries), test_attributes)):
        for column, values in (columns or {}).items():
            if len(values) != count:
                raise ValueError(f"attribute {column!r} has {len(values)} values for {count} rows")
    shown = np.sqrt(distances) if metric == "l2" else distances
    return Dataset(
        name=name,
        train=rows,
        test=queries,
        neighbors=neighbors,
        distances=shown.astype(np.float32),
        metric=metric,
        attributes=dict(attributes or {}),
        test_attributes=dict(test_attributes or {}),
    )


def download(name: str, directory: StrPath = ".", *, base_url: str = BASE_URL, timeout: float = 30.0) -> Path:
    """Fetch ``base_url/name.hdf5`` into `directory`, unless it is there; returns its path.

    Raises
    ------
    ValueError
        `name` is none of ``KNOWN_DATASETS``.
    OSError
        No network, an error from the server, a download cut short, or something that is no HDF5 file;
        nothing is left behind.
    """
    if name not in KNOWN_DATASETS:
        raise ValueError(f"unknown data set {name!r}; there are {', '.join(KNOWN_DATASETS)}")
    path, url = Path(directory) / f"{name}.hdf5", f"{base_url}/{name}.hdf5"
    if path.exists():
        return path

    def fetch(temporary: str) -> None:
        with urllib.request.urlopen(url, timeout=timeout) as response, open(temporary, "wb") as file:
            shutil.copyfileobj(response, file, 1 << 20)
            expected = response.headers.get("Content-Length")
        size = os.path.getsize(temporary)
        if expected is not None and size != int(expected):
            raise OSError(f"got {size} of {expected} bytes")
        with open(temporary, "rb") as file:
            if file.read(len(_HDF5_MAGIC)) != _HDF5_MAGIC:
                raise OSError("what came is no HDF5 file")

    try:
        _publish(path, fetch)
    except OSError as error:
        reason = getattr(error, "reason", None) or error
        raise OSError(f"cannot download {url}: {reason}; a copy placed at {path} is used as it is") from error
    return path


def load_demo() -> Dataset:
    """The set that annlib carries: 10,000 arXiv abstracts, queried by 500 titles of other papers; needs h5py.

    Embeddings by all-MiniLM-L6-v2, 384-d float16, cosine; attributes ``title``, ``primary_category``,
    ``categories``, ``created_day`` (days since 1970-01-01) and others. arXiv metadata is CC0.
    """
    return read_hdf5(demo_path())


def demo_path() -> Path:
    """The file of :func:`load_demo`, inside the installed package."""
    return Path(__file__).parent / "data" / f"{_DEMO}.hdf5"
