"""Save, load, map and pickle: the same index comes back, and a failure leaves the old file."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from container_bytes import PAGE, crc32c, entries, seal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference import DTYPES, METRICS, vectors

import annlib


@st.composite
def indexes(draw: st.DrawFn) -> annlib.Index:
    """Indexes of all kinds, with deletions, changes and duplicates in them."""
    dim, count = draw(st.integers(1, 70)), draw(st.integers(0, 120))
    metric, dtype = draw(st.sampled_from(METRICS)), draw(st.sampled_from(DTYPES))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    index: annlib.Index
    if draw(st.booleans()):
        index = annlib.FlatIndex(dim, metric, dtype if draw(st.booleans()) else None)
    else:
        index = annlib.HNSWIndex(
            dim, metric, M=draw(st.integers(2, 20)), ef_construction=draw(st.integers(1, 40)),
            codec=draw(st.sampled_from(annlib.list_codecs())), seed=draw(st.integers(0, 2**64 - 1)),
        )  # fmt: skip
    train = vectors(count, dim, dtype, seed=int(rng.integers(2**32)))
    if count and draw(st.booleans()):
        train[rng.integers(0, count, count // 2)] = train[0]
    ids: Any = rng.choice(2**62, count, replace=False)
    if draw(st.booleans()):
        ids = [draw(st.text(max_size=3)) + f"/{i}" for i in range(count)]
    for part in np.array_split(np.arange(count), draw(st.integers(1, 4))):
        index.add(train[part], ids=[ids[i] for i in part])
    if count and draw(st.booleans()):
        index.delete(index.ids[rng.random(count) < draw(st.sampled_from([0.1, 0.5, 1.0]))])
    if len(index) and draw(st.booleans()):
        some = index.ids[: len(index) // 3]
        index.update(some, vectors(len(some), dim, dtype, seed=1))
    if len(index) and isinstance(index, annlib.HNSWIndex) and draw(st.booleans()):
        index.calibrate(k=draw(st.integers(1, 5)))
    return index


def assert_same(one: annlib.Index, two: annlib.Index) -> None:
    assert type(one) is type(two) and repr(one) == repr(two) and one.digest() == two.digest()
    assert one.ids.tolist() == two.ids.tolist() and one.ids.dtype == two.ids.dtype
    ours, theirs = one.stats(), two.stats()
    assert {k: v for k, v in ours.items() if "bytes" not in k} == {
        k: v for k, v in theirs.items() if "bytes" not in k
    }
    queries = vectors(5, one.dim, seed=3)
    for k, options in ((1, {"ef_search": 1}), (4, {}), (3, {"filter": one.ids[::2]})):
        a, b = one.search(queries, k, **options), two.search(queries, k, **options)  # type: ignore[arg-type]
        assert a.ids.tolist() == b.ids.tolist() and a.distances.tobytes() == b.distances.tobytes()
        assert a.stats == b.stats
    np.testing.assert_array_equal(one.get(one.ids), two.get(one.ids))


def assert_goes_on(one: annlib.Index, two: annlib.Index) -> None:
    """Both are written to alike, and hold the same items afterwards."""
    fresh = vectors(7, one.dim, str(one.dtype), seed=4)
    names = [f"new {i}" for i in range(7)] if one.ids.dtype == object else None
    for index in (one, two):
        assert len(index.add(fresh, ids=names)) == 7
        index.delete(index.ids[:2])
        index.compact()
    assert one.ids.tolist() == two.ids.tolist() and one.digest() == two.digest()


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(index=indexes())
def test_round_trips(index: annlib.Index, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("round") / "x.ann"
    index.save(path)
    assert annlib.verify(path) == []
    loaded = {
        "load": annlib.load(path),
        "mmap": annlib.load(path, mmap=True),
        "unverified mmap": annlib.load(path, mmap=True, verify=False),
        "pickle": pickle.loads(pickle.dumps(index)),
        "deepcopy": copy.deepcopy(index),
    }
    for other in loaded.values():
        assert_same(index, other)
    info = annlib.info(path)
    assert (info["kind"], info["size"], info["format_version"]) == (index.kind, len(index), 1)
    assert info["file_bytes"] == path.stat().st_size
    # equal indexes are equal files
    again = path.with_name("again.ann")
    loaded["mmap"].save(again)
    assert again.read_bytes() == path.read_bytes() == index.__reduce__()[1][0]
    before = path.read_bytes()
    for name in ("load", "mmap", "pickle"):
        assert_goes_on(copy.copy(index), loaded[name])
    assert path.read_bytes() == before  # what is written to a mapped index stays in memory


def test_the_file_is_as_documented(tmp_path: Path) -> None:
    """Checksums, pages and sections, by a reader of our own that knows the documentation only."""
    assert crc32c(b"123456789") == 0xE3069283
    annlib.HNSWIndex.build(vectors(100, 33), ids=[f"{i}" for i in range(100)]).save(tmp_path / "x.ann")
    data = (tmp_path / "x.ann").read_bytes()
    assert data[:8] == b"\x89ANN\r\n\x1a\n" and data[16:32].rstrip(b"\0") == b"hnsw"
    assert len(data) % PAGE == 0 and int.from_bytes(data[56:64], "little") == len(data)
    assert seal(bytearray(data)) == data
    position = 2 * PAGE
    for entry in entries(data):
        assert entry.offset == position
        assert entry.length == np.prod(entry.shape) * np.dtype(entry.dtype).itemsize
        padded = data[entry.offset : entry.offset + entry.length + -entry.length % PAGE]
        assert not any(padded[entry.length :])
        position += len(padded)
    assert position == len(data)
    documented = Path(__file__).parents[1] / "docs" / "file-format.md"
    if documented.exists():
        missing = [entry.name for entry in entries(data) if f"`{entry.name}`" not in documented.read_text()]
        assert not missing, f"sections that docs/file-format.md does not name: {missing}"


def test_saving_over_and_beside(tmp_path: Path, kind: type[annlib.FlatIndex]) -> None:
    path = tmp_path / "x.ann"
    one, two = kind.build(vectors(50, 4)), kind.build(vectors(60, 4, seed=1))
    one.save(path)
    mapped = annlib.load(path, mmap=True)
    two.save(str(path))  # a path of either kind
    assert mapped.digest() == one.digest()  # who has the old file mapped keeps it
    mapped.save(path)  # an index over its own file
    assert annlib.load(path).digest() == mapped.digest() == one.digest()
    assert os.listdir(tmp_path) == ["x.ann"]
    for missing in (tmp_path / "no" / "x.ann", tmp_path):
        with pytest.raises(OSError, match=r"no/x\.ann|Is a directory|" + tmp_path.name):
            one.save(missing)
    with pytest.raises(FileNotFoundError, match="nothing"):
        annlib.load(tmp_path / "nothing.ann")
    assert os.listdir(tmp_path) == ["x.ann"]


@pytest.mark.parametrize("name", ["Ünï cødé 日本.ann", os.fsdecode(b"no \xff\xfe utf-8.ann")])
def test_names_of_files(tmp_path: Path, name: str, kind: type[annlib.FlatIndex]) -> None:
    path, index = tmp_path / name, kind.build(vectors(9, 3))
    with pytest.raises(FileNotFoundError) as raised:
        annlib.load(path)
    assert raised.value.filename == str(path)
    index.save(path)
    assert os.listdir(tmp_path) == [name]
    assert annlib.load(os.fsencode(path)).digest() == index.digest()  # type: ignore[arg-type]
    assert annlib.verify(path) == [] and annlib.info(path)["size"] == 9
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(annlib.CorruptIndexError):
        annlib.load(path)
    assert annlib.verify(path)
    with pytest.raises(ValueError, match="NUL"):
        index.save(f"{tmp_path}/a\0b")


def run(script: str, *arguments: object) -> str:
    """A Python process of its own; its output."""
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True, text=True, timeout=300, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_a_mapping_is_shared_between_processes(tmp_path: Path) -> None:
    """Pages of the file that a search has touched belong to the page cache, not to the process."""
    train = vectors(8000, 64)
    annlib.HNSWIndex.build(train, ef_construction=20).save(tmp_path / "x.ann")
    script = """
import sys, numpy, annlib
index = annlib.load(sys.argv[1], mmap=True)
found = index.search(numpy.load(sys.argv[2]), k=5)
own = file = 0
inside = False
for line in open("/proc/self/smaps"):
    if "-" in line.split()[0]:
        inside = line.rstrip().endswith("x.ann")
    elif inside and line.startswith(("Private_Dirty", "Anonymous")):
        own += int(line.split()[1])
    elif inside and line.startswith("Rss"):
        file += int(line.split()[1])
print(own, file, found.ids.tolist())
"""
    np.save(tmp_path / "q.npy", train[:50] + 0.01)
    if not Path("/proc/self/smaps").exists():
        pytest.skip("needs /proc")
    outputs = {run(script, tmp_path / "x.ann", tmp_path / "q.npy") for _ in range(2)}
    own, file, ids = next(iter(outputs)).split(maxsplit=2)
    assert len({output.split(maxsplit=2)[2] for output in outputs}) == 1
    assert ids.strip() == str(
        annlib.load(tmp_path / "x.ann").search(np.load(tmp_path / "q.npy"), k=5).ids.tolist()
    )
    assert int(file) > 1000 and int(own) <= 64  # kB


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.9, 0.999])
def test_a_full_disk_leaves_the_old_file(
    tmp_path: Path, kind: type[annlib.FlatIndex], fraction: float
) -> None:
    path = tmp_path / "x.ann"
    old = kind.build(vectors(30, 4))
    old.save(path)
    before = path.read_bytes()
    kind.build(vectors(3000, 40)).save(tmp_path / "size.ann")
    limit = int((tmp_path / "size.ann").stat().st_size * fraction)
    (tmp_path / "size.ann").unlink()
    script = f"""
import resource, sys, numpy, annlib
index = annlib.{kind.__name__}(40)
index.add(numpy.random.default_rng(0).standard_normal((3000, 40), dtype=numpy.float32))
digest = index.digest()
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))
try:
    index.save(sys.argv[1])
except OSError as error:
    assert error.errno and sys.argv[1] in str(error) or error.filename, error
    print("refused", error.errno)
assert index.digest() == digest
"""
    assert run(script, path).startswith("refused")
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["x.ann"]
    assert annlib.load(path).digest() == old.digest()


CODED = {
    "plain": lambda n, seed: vectors(n, 40, seed=seed),
    # clusters far smaller than the space they are strewn over
    "coarse": lambda n, seed: (
        np.repeat(1e4 * vectors(n // 20, 40, seed=seed), 20, 0) + vectors(n, 40, seed=seed + 9)
    ),
    "long": lambda n, seed: vectors(n, 40, seed=seed) * np.float32(1e25),
    "bytes": lambda n, seed: vectors(n, 40, "uint8", seed=seed),
    "halves": lambda n, seed: vectors(n, 40, "float16", seed=seed),
}


@pytest.mark.parametrize("data", CODED)
@pytest.mark.parametrize("codec", annlib.list_codecs())
def test_a_loaded_index_says_and_does_what_the_saved_one_would(tmp_path: Path, codec: str, data: str) -> None:
    """Whichever codec became of the one asked for; from empty on, and when it grows by little and by much."""
    kept, stored = (annlib.HNSWIndex(40, codec=codec, M=6, ef_construction=30) for _ in range(2))
    path = tmp_path / "x.ann"
    for seed, n in enumerate((0, 600, 100, 800)):
        if n:
            for index in (kept, stored):
                index.add(CODED[data](n, 20 * seed))
        stored.save(path)
        expected = kept.stats()
        assert expected["codec_asked"] == codec
        told = annlib.info(path)
        for index in (stored, annlib.load(path, mmap=True), pickle.loads(pickle.dumps(stored))):
            assert repr(index) == repr(kept)
            assert index.digest() == kept.digest()
            for key, value in index.stats().items():
                if key != "memory_bytes":  # what grew piece by piece has room to spare
                    assert value == told[key] == expected[key], key
        stored = annlib.load(path)
