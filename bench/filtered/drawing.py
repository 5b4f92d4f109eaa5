"""Predicates for the queries of a data set: over its own attributes where it has some, and over drawn columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from annlib.datasets import Dataset

from .predicate import And, AnyTag, Array, Between, Columns, Equal, Not, Or, Predicate

#: Shares of the rows that windows let through.
SHARES = (1e-4, 1e-3, 1e-2, 0.1, 0.5)
_RANGES = (1e-3, 1e-2, 0.1, 0.5)
_LEAF = 32
_BLOCK = 64


@dataclass(frozen=True, eq=False)
class Drawn:
    """Queries (rows of ``test``) and a predicate for each; `share` is "" where their selectivity is the data's own."""

    kind: str
    correlation: str
    share: str
    rows: Array
    predicates: Sequence[Predicate]

    def taking(self, at: Array, share: str) -> Drawn:
        """Some of them, under another name of their share."""
        chosen = [self.predicates[i] for i in at]
        return Drawn(self.kind, self.correlation, share, self.rows[at], chosen)


class Distances:
    """Distances by products in float32: right to rounding, in the order of the data set's metric."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        rows = dataset.train.astype(np.float32)
        self._squares = np.einsum("ij,ij->i", rows, rows)
        if dataset.metric == "cosine":
            rows /= np.sqrt(np.where(self._squares > 0, self._squares, 1))[:, None]
        self._rows = rows

    def of(self, queries: Sequence[int]) -> Iterator[tuple[int, Array]]:
        """Each of the queries, rows of ``test``, with what grows with the distance of every row, shape (n,)."""
        for start in range(0, len(queries), _BLOCK):
            part = list(queries[start : start + _BLOCK])
            block = -(self._dataset.test[part].astype(np.float32) @ self._rows.T)
            if self._dataset.metric == "l2":
                block = self._squares + 2 * block
            yield from zip(part, block, strict=True)


def synthetic_columns(dataset: Dataset) -> dict[str, Array]:
    """Columns that any data has: "random", a random order of the rows, and "place", one in which near rows are near."""
    rng = np.random.default_rng(0)
    return {"random": rng.permutation(len(dataset.train)), "place": _places(dataset.train, rng)}


def _places(vectors: Array, rng: np.random.Generator) -> Array:
    """The rank of each row in the leaves of a tree that halves the rows across the line through two of them."""
    order, pending = [], [np.arange(len(vectors))]
    while pending:
        rows = pending.pop()
        if len(rows) <= _LEAF:
            order.append(rows)
            continue
        a, b = vectors[rng.choice(rows, 2, replace=False)].astype(np.float32)
        ranked = rows[np.argsort(vectors[rows].astype(np.float32) @ (a - b), kind="stable")]
        pending += [ranked[: len(rows) // 2], ranked[len(rows) // 2 :]]
    places = np.empty(len(vectors), np.int64)
    places[np.concatenate(order)] = np.arange(len(vectors))
    return places


@dataclass(frozen=True, eq=False)
class Pool:
    """Queries that predicates are drawn for, each with a row near to it and one far from it.

    ``near`` is the nearest row, ``far`` one of the farthest tenth.
    """

    dataset: Dataset
    columns: Columns
    rows: Array
    near: Array
    far: Array

    @classmethod
    def of(cls, dataset: Dataset, columns: Columns, most: int) -> Pool:
        """The first `most` queries of `dataset`."""
        rows = np.arange(min(most, len(dataset.test)))
        rng = np.random.default_rng(1)
        first = len(columns) - max(1, len(columns) // 10)
        far = [
            rng.choice(np.argpartition(line, first)[first:])
            for _, line in Distances(dataset).of(rows.tolist())
        ]
        return cls(dataset, columns, rows, dataset.neighbors[rows, 0], np.array(far))


def attribute_roles(dataset: Dataset) -> dict[str, str]:
    """Names of attributes that both rows and queries have, by role: "label", "tags", "number"; those that there are.

    The first column of lists of strings; of the columns of strings in which a value has 16 rows on average the one
    with the fewest values; of those of integers the one with the most.
    """
    columns = {
        name: dataset.attributes[name] for name in dataset.attributes if name in dataset.test_attributes
    }
    tags = [name for name, column in columns.items() if isinstance(column, list) and _holds_strings(column)]
    arrays = {name: column for name, column in columns.items() if not isinstance(column, list)}
    values = {
        name: len(set(column.tolist())) for name, column in arrays.items() if column.dtype.kind in "Oiu"
    }
    labels = [n for n in values if arrays[n].dtype == object and 1 < values[n] <= len(dataset.train) // 16]
    numbers = [n for n in values if arrays[n].dtype != object and values[n] > 1]
    found = {"tags": tags[:1], "label": sorted(labels, key=values.__getitem__)[:1]}
    found["number"] = sorted(numbers, key=values.__getitem__)[-1:]
    return {role: names[0] for role, names in found.items() if names}


def _holds_strings(column: Sequence[Sequence[object]]) -> bool:
    return any(isinstance(tag, str) for row in column[:1000] for tag in row)


def draw(pool: Pool) -> list[Drawn]:
    """All kinds: windows of drawn columns, and what the data's own attributes have."""
    return [*_windows(pool), *_over_attributes(pool)]


def _windows(pool: Pool) -> Iterator[Drawn]:
    n = len(pool.columns)
    place = pool.columns.given["place"]
    centres = {
        "positive": ("place", place[pool.near]),
        "none": ("random", np.random.default_rng(2).integers(0, n, len(pool.rows))),
        "negative": ("place", place[pool.far]),
    }
    for correlation, (column, middle) in centres.items():
        # Everything correlates with nothing.
        for share in (*SHARES, 1.0) if correlation == "none" else SHARES:
            width = max(1, round(share * n))
            low = np.clip(middle - width // 2, 0, n - width)
            predicates = [Between(column, start, start + width - 1) for start in low.tolist()]
            yield Drawn("window", correlation, f"{share:.4g}", pool.rows, predicates)


def _over_attributes(pool: Pool) -> Iterator[Drawn]:
    names = attribute_roles(pool.dataset)
    own = {role: pool.dataset.test_attributes[name] for role, name in names.items()}
    theirs = {role: pool.dataset.attributes[name] for role, name in names.items()}

    def kind(name: str, correlation: str, predicates: Iterable[Predicate], share: str = "") -> Drawn:
        return Drawn(name, correlation, share, pool.rows, list(predicates))

    def labels(values: Any, at: Array) -> list[Predicate]:
        return [Equal(names["label"], str(values[i])) for i in at]

    def tags(values: Any, at: Array) -> list[Predicate]:
        return [AnyTag(names["tags"], tuple(values[i])) for i in at]

    ranges = dict(zip(_RANGES, _ranges(pool, names, own), strict=False))
    if "label" in names:
        mine, foreign = labels(own["label"], pool.rows), labels(theirs["label"], pool.far)
        yield kind("label", "positive", mine)
        yield kind("label", "negative", foreign)
        yield kind("not", "negative", map(Not, mine))
    if "tags" in names:
        yield kind("tags", "positive", tags(own["tags"], pool.rows))
        yield kind("tags", "negative", tags(theirs["tags"], pool.far))
    for share, width in ranges.items():
        yield kind("range", "none", width, f"{share:.4g}")
    if "label" in names and ranges:
        wide, narrow = ranges[0.1], ranges[0.01]
        yield kind("range and label", "positive", map(And, zip(wide, mine, strict=True)))
        yield kind("range and label", "negative", map(And, zip(wide, foreign, strict=True)))
        yield kind("or", "positive", map(Or, zip(narrow, mine, strict=True)))
        yield kind("range and not", "negative", map(And, zip(wide, map(Not, mine), strict=True)))


def _ranges(pool: Pool, names: dict[str, str], own: dict[str, Any]) -> Iterator[list[Predicate]]:
    """For every share, numbers no farther from the query's own than lets that share through for the median query."""
    if "number" not in names:
        return
    column, values = pool.columns.given[names["number"]].astype(np.int64), own["number"]
    away = np.array([np.sort(np.abs(column - int(values[row]))) for row in pool.rows[:_BLOCK]])
    for share in _RANGES:
        width = int(np.median(away[:, min(round(share * len(column)), len(column) - 1)]))
        numbers = [int(values[row]) for row in pool.rows]
        yield [Between(names["number"], number - width, number + width) for number in numbers]
