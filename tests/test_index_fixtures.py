"""Files of format version 1 are read for ever. How they were made: tests/fixtures/make_v1.py, make_v1_lists.py."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import annlib
from annlib import F

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    texts = [(FIXTURES / name).read_text() for name in ("v1.json", "v1-lists.json")]
    return {kind: told for text in texts for kind, told in json.loads(text).items()}


def assert_answers(index: annlib.Index, truth: dict[str, Any]) -> None:
    assert index.ids.tolist() == truth["ids"] and len(index) == len(truth["ids"])
    np.testing.assert_array_equal(index.get(truth["ids"]).astype(float), truth["vectors"])
    result = index.search(np.array(truth["queries"], np.float32), k=5)
    np.testing.assert_allclose(result.distances, truth["distances"], rtol=1e-4, atol=1e-5)
    # Other instruction sets round in other ways: only what lies apart has one right order.
    apart = np.diff(np.array(truth["distances"]), prepend=-1, append=np.inf) > 1e-4
    sure = apart[:, :-1] & apart[:, 1:]
    sure[:, -1] = False
    assert sure.sum() >= 10
    assert result.ids[sure].tolist() == np.array(truth["found"])[sure].tolist()


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("kind", ["hnsw", "flat", "spann"])
def test_version_1(kind: str, mmap: bool, told: dict[str, Any]) -> None:
    path, truth = FIXTURES / f"v1-{kind}.ann", told[kind]
    assert annlib.verify(path) == [] and annlib.info(path)["format_version"] == 1
    index = annlib.load(path, mmap=mmap)
    assert (index.kind, index.digest()) == (kind, truth["digest"])
    assert index.stats().get("calibrated_k") == truth.get("calibrated_k", [] if kind == "spann" else None)
    assert_answers(index, truth)


@pytest.mark.parametrize("cache", ["0B", "1MiB"])
def test_a_directory_of_version_1(tmp_path: Path, cache: str, told: dict[str, Any]) -> None:
    folder = tmp_path / "x"
    shutil.copytree(FIXTURES / "v1-spann-disk", folder)
    assert annlib.verify(folder) == []
    with annlib.SPANNIndex.open(folder, cache=cache) as index:
        assert index.digest() == told["spann-disk"]["digest"]
        assert_answers(index, told["spann-disk"])
        assert index.count(F.year == 1999) == 1 and index.stats()["fresh"] == 2
        index.flush()
        assert_answers(index, told["spann-disk"])


@pytest.mark.parametrize("kind", ["hnsw", "flat"])
def test_version_1_goes_on_living(kind: str) -> None:
    index = annlib.load(FIXTURES / f"v1-{kind}.ann")
    one = index.ids[0]
    vector = index.get(one)
    index.delete(one)
    names = [one, "ünknown"] if kind == "hnsw" else [one, 1000]
    index.add(np.stack([vector, vector]), ids=names)
    assert set(names) <= set(index.search(vector, k=20).ids.tolist())
    index.compact()
    assert pickle.loads(pickle.dumps(index)).digest() == index.digest()
    if isinstance(index, annlib.HNSWIndex):
        assert index.unreachable() == 0
