"""Predicates in a form that is no library's, and the columns they are over.

Each peer turns a predicate into its own form, within the time that is measured: annlib into an expression, most
others into a bitmap by way of :meth:`Columns.mask`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Equal:
    """The label in `column` is `value`."""

    column: str
    value: str


@dataclass(frozen=True)
class AnyTag:
    """One of the tags in `column` is among `values`."""

    column: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Between:
    """The number in `column` is at least `low` and at most `high`."""

    column: str
    low: int
    high: int


@dataclass(frozen=True)
class And:
    """All of the parts hold."""

    parts: tuple[Predicate, ...]


@dataclass(frozen=True)
class Or:
    """One of the parts holds."""

    parts: tuple[Predicate, ...]


@dataclass(frozen=True)
class Not:
    """The part does not hold."""

    part: Predicate


Predicate: TypeAlias = "Equal | AnyTag | Between | And | Or | Not"


def to_json(predicate: Predicate) -> list[Any]:
    """Lists of strings and numbers, for a file; :func:`from_json` reads them."""
    match predicate:
        case Equal(column, value):
            return ["equal", column, value]
        case AnyTag(column, values):
            return ["any", column, *values]
        case Between(column, low, high):
            return ["between", column, low, high]
        case Not(part):
            return ["not", to_json(part)]
    return ["and" if isinstance(predicate, And) else "or", *map(to_json, predicate.parts)]


def from_json(form: Sequence[Any]) -> Predicate:
    """What :func:`to_json` wrote; ValueError for anything else."""
    match form:
        case ["equal", str(column), str(value)]:
            return Equal(column, value)
        case ["any", str(column), *values]:
            return AnyTag(column, tuple(map(str, values)))
        case ["between", str(column), int(low), int(high)]:
            return Between(column, low, high)
        case ["not", part]:
            return Not(from_json(part))
        case ["and", *parts]:
            return And(tuple(map(from_json, parts)))
        case ["or", *parts]:
            return Or(tuple(map(from_json, parts)))
    raise ValueError(f"no predicate: {form!r}")


def sql(predicate: Predicate, any_tag: str) -> str:
    """For the libraries that take conditions as text; `any_tag` is a format of {column} and {values}."""
    match predicate:
        case Equal(column, value):
            return f"{column} = {_quoted(value)}"
        case AnyTag(column, values):
            return any_tag.format(column=column, values=", ".join(map(_quoted, values)))
        case Between(column, low, high):
            return f"({column} >= {low} AND {column} <= {high})"
        case Not(Equal(column, value)):
            return f"{column} != {_quoted(value)}"
        case Not(part):
            return f"(NOT {sql(part, any_tag)})"
    word = " AND " if isinstance(predicate, And) else " OR "
    return "(" + word.join(sql(part, any_tag) for part in predicate.parts) + ")"


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


class Columns:
    """Columns of n rows, held as a user of numpy would who filters often.

    Labels are integer codes and a dictionary, tags a list of rows for each, numbers arrays.

    Parameters
    ----------
    given : mapping of str to arrays of int, object arrays of str, or lists of lists of str
        All of one length.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.given = dict(given)
        self._count = len(next(iter(self.given.values())))
        self._numbers: dict[str, Array] = {}
        self._labels: dict[str, tuple[Array, dict[str, int]]] = {}
        self._tags: dict[str, dict[str, Array]] = {}
        for name, column in self.given.items():
            if isinstance(column, list):
                self._tags[name] = _postings(column)
            elif column.dtype == object:
                names, codes = np.unique(column.astype(str), return_inverse=True)
                self._labels[name] = codes.astype(np.int32), {v: i for i, v in enumerate(names.tolist())}
            else:
                self._numbers[name] = column

    def __len__(self) -> int:
        return self._count

    def mask(self, predicate: Predicate) -> Mask:
        """Which rows pass, shape (n,)."""
        match predicate:
            case Equal(column, value):
                codes, numbers = self._labels[column]
                return np.equal(codes, numbers.get(value, -1))
            case AnyTag(column, values):
                result = np.zeros(len(self), dtype=bool)
                for value in values:
                    result[self._tags[column].get(value, [])] = True
                return result
            case Between(column, low, high):
                numbers_ = self._numbers[column]
                return (numbers_ >= low) & (numbers_ <= high)
            case Not(part):
                return ~self.mask(part)
        join = np.logical_and if isinstance(predicate, And) else np.logical_or
        first, *rest = map(self.mask, predicate.parts)
        for other in rest:
            join(first, other, out=first)
        return first


def _postings(lists: Sequence[Sequence[str]]) -> dict[str, Array]:
    rows = np.repeat(np.arange(len(lists)), [len(tags) for tags in lists])
    names, codes = np.unique([tag for tags in lists for tag in tags], return_inverse=True)
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(names)))[:-1]
    return dict(zip(names.tolist(), np.split(rows[order], ends), strict=True))
