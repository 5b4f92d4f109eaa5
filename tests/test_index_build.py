"""What a build depends on, and what it does not: the set of (id, vector), the parameters and the seed alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reference import Array, vectors

import annlib

N, DIM = 1600, 16


def rebuilt(train: Array, ids: Any, order: Array, threads: int, **options: Any) -> str:
    names = np.asarray(ids)[order]
    return annlib.HNSWIndex.build(train[order], ids=names, threads=threads, **options).digest()


@pytest.mark.parametrize(
    "options",
    [
        {"metric": "l2", "codec": "float32"},
        {"metric": "cosine", "codec": "int8"},
        {"metric": "cosine", "codec": "rabitq", "bits": 2},
        {"metric": "ip", "codec": "float16", "M": 5},
        {"metric": "l2", "dtype": "float16", "seed": 11},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_order_and_threads_do_not_matter(options: dict[str, Any], rng: np.random.Generator) -> None:
    train = vectors(N, DIM)
    train[rng.integers(0, N, 200)] = train[rng.integers(0, N, 200)]  # some of them equal
    ids = rng.choice(10**12, N, replace=False)
    options |= {"ef_construction": 40}
    first = rebuilt(train, ids, np.arange(N), 1, **options)
    for threads in (1, 2, 3):
        assert rebuilt(train, ids, rng.permutation(N), threads, **options) == first
    # piece by piece, with deletions and changes on the way, then compact()
    for threads in (1, 2, 3):
        dim_options = {"dim": DIM, **options}
        index = annlib.HNSWIndex(**dim_options)
        order = rng.permutation(N)
        done = 0
        while done < N:
            part = order[done : done + int(rng.integers(1, 900))]
            done += len(part)
            index.add(train[part], ids=ids[part], threads=threads)
            index.add(vectors(50, DIM, seed=done), ids=10**13 + np.arange(50), threads=threads)
            index.update(ids[part[:5]], vectors(len(part[:5]), DIM, seed=done))
            index.delete(10**13 + rng.permutation(50))
            index.update(ids[part[:5]], train[part[:5]])
            if done > N // 2:
                index.delete(ids[part[-20:]])
                index.add(train[part[-20:]], ids=ids[part[-20:]])
        assert index.digest() != first  # its graph grew in another way, and that shows
        index.compact(threads=threads)
        assert index.digest() == first


def test_string_ids_in_any_order(rng: np.random.Generator) -> None:
    train = vectors(800, 6)
    names = np.array([f"https://example.org/{i}" for i in range(800)], dtype=object)
    first = rebuilt(train, names, np.arange(800), 1)
    assert rebuilt(train, names, rng.permutation(800), 2) == first
    index = annlib.HNSWIndex(6)
    for part in np.array_split(rng.permutation(800), 9):
        index.add(train[part], ids=names[part])
    index.compact()
    assert index.digest() == first


def test_what_the_build_does_depend_on() -> None:
    train = vectors(1000, 8)
    ids = np.arange(1000)
    other = train.copy()
    other[500, 3] = np.nextafter(other[500, 3], np.float32(9))
    base: dict[str, Any] = {"ef_construction": 40}
    digests = [
        annlib.HNSWIndex.build(train, ids=ids, **base).digest(),
        annlib.HNSWIndex.build(train, ids=ids, seed=1, **base).digest(),
        annlib.HNSWIndex.build(train, ids=ids, M=15, **base).digest(),
        annlib.HNSWIndex.build(train, ids=ids, ef_construction=41).digest(),
        annlib.HNSWIndex.build(train, ids=ids, metric="ip", **base).digest(),
        annlib.HNSWIndex.build(train, ids=ids, codec="int8", **base).digest(),
        annlib.HNSWIndex.build(train, ids=ids[::-1], **base).digest(),
        annlib.HNSWIndex.build(train, ids=[str(i) for i in ids], **base).digest(),
        annlib.HNSWIndex.build(train[:999], ids=ids[:999], **base).digest(),
        annlib.HNSWIndex.build(other, ids=ids, **base).digest(),
        annlib.HNSWIndex.build(train.astype(np.float16), ids=ids, **base).digest(),
        annlib.FlatIndex.build(train, ids=ids).digest(),
    ]
    assert len(set(digests)) == len(digests)


def test_one_add_is_a_bulk_build() -> None:
    train = vectors(1500, 8)
    index = annlib.HNSWIndex(8)
    index.add(train)
    assert index.digest() == annlib.HNSWIndex.build(train).digest()
    index.add(vectors(1500, 8, seed=1))  # at least doubles it: as good as a build
    both = np.concatenate([train, vectors(1500, 8, seed=1)])
    assert index.digest() == annlib.HNSWIndex.build(both).digest()
