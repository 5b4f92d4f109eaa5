"""Data that several test modules share, made once a session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from reference import ARXIV_EF, INDEXES, Data, clustered, nearest

import annlib
from annlib import datasets


@pytest.fixture(scope="session")
def arxiv() -> Data:
    """The demo set: 10,000 x 384, cosine, 500 queries of another kind than the vectors (titles and abstracts)."""
    pytest.importorskip("h5py", reason="the demo set is HDF5")
    demo = datasets.load_demo()
    return Data(demo.train, demo.test, demo.metric, demo.neighbors[:, :10], demo.distances[:, :10])


@pytest.fixture(scope="session")
def clusters() -> Data:
    """20,000 x 24 in 300 clusters, l2, 500 queries from the same clusters."""
    rows, _ = clustered(20_500, 24, 300)
    train, queries = rows[:20_000], rows[20_000:]
    neighbours, distances = nearest(train, queries, "l2", 10)
    return Data(train, queries, "l2", neighbours, distances)


@pytest.fixture(params=INDEXES, ids=lambda index: index.kind)
def kind(request: pytest.FixtureRequest) -> type[annlib.FlatIndex] | type[annlib.HNSWIndex]:
    """Each of the index classes."""
    return request.param


@pytest.fixture
def all_threads() -> Iterator[None]:
    """Puts the number of threads back to all cores."""
    yield
    annlib.set_num_threads(0)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(1234)


@pytest.fixture(scope="session")
def arxiv_bulk(arxiv: Data) -> annlib.HNSWIndex:
    """Not to be changed."""
    return annlib.HNSWIndex.build(arxiv.train, metric=arxiv.metric, ef_construction=ARXIV_EF)


@pytest.fixture(scope="session", autouse=True)
def away_from_the_checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Processes that tests start import from where they stand, and the checkout's annlib has no compiled core."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("away"))
    yield
    os.chdir(before)
