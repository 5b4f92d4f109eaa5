"""Filter expressions: what every form of a filter comes down to, and `F`, which writes them in Python.

There are two truth values. A comparison with null is false, and a negation lets through exactly what its operand does
not: ``F.year != 2020`` passes where the year is null, as ``~(F.year == 2020)`` does.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from .. import ids as id_forms


class Operator(IntEnum):
    """What a leaf asks of a column; the numbers are those of the encoding."""

    LESS = 0
    AT_MOST = 1
    GREATER = 2
    AT_LEAST = 3
    IS_IN = 4  #: the value is one of several; of columns without lists
    ANY = 5  #: an element is one of several; of columns of lists
    HOLDS = 6  #: either, as the column is
    IS_NULL = 7


class Expression:
    """A condition on an item. Combine with ``&``, ``|`` and ``~``. Immutable."""

    #: As `encoding.encode` gave it, once it was asked.
    encoded: tuple[bytes | Items, ...] | None = None

    def __and__(self, other: Expression) -> Expression:
        return All(_joined(All, self, other)) if isinstance(other, Expression) else NotImplemented

    def __or__(self, other: Expression) -> Expression:
        return AnyOf(_joined(AnyOf, self, other)) if isinstance(other, Expression) else NotImplemented

    def __invert__(self) -> Expression:
        return Not(self)

    def __bool__(self) -> NoReturn:
        raise ValueError(
            "a filter expression is neither true nor false: combine with &, | and ~, not and, or, not"
        )


class Leaf(Expression):
    """One condition on one column. `position` is where it stands in the user's text; -1 if it stands in none."""

    def __init__(
        self, column: str, operator: Operator, values: Iterable[Any] = (), position: int = -1
    ) -> None:
        self.column = column
        self.operator = operator
        self.values = tuple(values)
        self.position = position

    def __repr__(self) -> str:
        field = f"F[{self.column!r}]"
        if self.operator == Operator.IS_NULL:
            return f"{field}.is_null()"
        symbol = {0: "<", 1: "<=", 2: ">", 3: ">="}.get(self.operator)
        if symbol is not None:
            return f"({field} {symbol} {self.values[0]!r})"
        name = {Operator.IS_IN: "isin", Operator.ANY: "any", Operator.HOLDS: "holds"}[self.operator]
        return f"{field}.{name}({list(self.values)!r})"


class Items(Expression):
    """The items that are listed, by ids or by a mask over ``index.ids``."""


class Ids(Items):
    """The items under `ids`, known or not, integers or strings as the index has them."""

    def __init__(self, ids: Any) -> None:
        listed, _ = id_forms.as_list(ids)
        self.ids = listed.copy() if isinstance(listed, np.ndarray) else listed

    def __repr__(self) -> str:
        return f"F.ids(<{len(self.ids)}>)"


class Mask(Items):
    """The items for which `rows` is true, by order of ``index.ids``."""

    def __init__(self, rows: Any) -> None:
        array = np.asarray(rows)
        if array.dtype != np.bool_ or array.ndim != 1:
            raise ValueError(
                f"a mask must be one-dimensional, of bool; got {array.dtype} of shape {array.shape}"
            )
        self.rows: NDArray[np.bool_] = array.copy()

    def __repr__(self) -> str:
        return f"F.mask(<{np.count_nonzero(self.rows)} of {len(self.rows)}>)"


class Not(Expression):
    """What its part does not let through."""

    def __init__(self, part: Expression) -> None:
        self.part = part

    def __repr__(self) -> str:
        return f"~{self.part!r}"


class All(Expression):
    """What all parts let through; everything if there are none."""

    def __init__(self, parts: Iterable[Expression]) -> None:
        self.parts = tuple(parts)

    def __repr__(self) -> str:
        return f"({' & '.join(map(repr, self.parts))})" if self.parts else "everything"


class AnyOf(Expression):
    """What some part lets through; nothing if there are none."""

    def __init__(self, parts: Iterable[Expression]) -> None:
        self.parts = tuple(parts)

    def __repr__(self) -> str:
        return f"({' | '.join(map(repr, self.parts))})" if self.parts else "nothing"


def _joined(kind: type[All] | type[AnyOf], *operands: Expression) -> list[Expression]:
    """Operands as parts: chains of one operator stay flat."""
    parts: list[Expression] = []
    for operand in operands:
        parts.extend(operand.parts if isinstance(operand, kind) else (operand,))
    return parts


class Field:
    """A column in an expression: ``F.year``, or ``F["year"]`` for names that are no Python names."""

    __slots__ = ("_name",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, name: str) -> None:
        if not isinstance(name, str) or not name:
            raise ValueError(f"the name of an attribute must be a string, got {name!r}")
        self._name = name

    def _leaf(self, operator: Operator, *values: Any) -> Expression:
        return Leaf(self._name, operator, values)

    def __eq__(self, value: object) -> Expression:  # type: ignore[override]
        return self._leaf(Operator.IS_IN, value)

    def __ne__(self, value: object) -> Expression:  # type: ignore[override]
        return Not(self._leaf(Operator.IS_IN, value))

    def __lt__(self, value: object) -> Expression:
        return self._leaf(Operator.LESS, value)

    def __le__(self, value: object) -> Expression:
        return self._leaf(Operator.AT_MOST, value)

    def __gt__(self, value: object) -> Expression:
        return self._leaf(Operator.GREATER, value)

    def __ge__(self, value: object) -> Expression:
        return self._leaf(Operator.AT_LEAST, value)

    def between(self, low: Any, high: Any) -> Expression:
        """From `low` to `high`, both included."""
        return All([self._leaf(Operator.AT_LEAST, low), self._leaf(Operator.AT_MOST, high)])

    def isin(self, values: Iterable[Any]) -> Expression:
        """One of `values`; None among them stands for null."""
        return self._leaf(Operator.IS_IN, *_listed(values))

    def is_null(self) -> Expression:
        """There is no value."""
        return self._leaf(Operator.IS_NULL)

    def any(self, *values: Any) -> Expression:
        """Of a list: it holds one of `values` at least (one list of them, or several arguments)."""
        return self._leaf(Operator.ANY, *_arguments(values))

    def all(self, *values: Any) -> Expression:
        """Of a list that is not null: it holds all `values`."""
        return All([~self.is_null(), *(self._leaf(Operator.ANY, value) for value in _arguments(values))])

    def none(self, *values: Any) -> Expression:
        """Of a list: it holds none of `values`. The contrary of `any`."""
        return ~self.any(*values)

    def __repr__(self) -> str:
        return f"F[{self._name!r}]"


def _listed(values: Iterable[Any]) -> list[Any]:
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise ValueError(f"isin takes several values, got {values!r}")
    return values.tolist() if isinstance(values, np.ndarray) and values.dtype.kind != "M" else list(values)


def _arguments(values: tuple[Any, ...]) -> list[Any]:
    if len(values) == 1 and isinstance(values[0], Iterable) and not isinstance(values[0], (str, bytes)):
        return _listed(values[0])
    return list(values)


class _Fields:
    """Makes fields of names, and conditions of items. Columns named so are ``F["ids"]`` and ``F["mask"]``."""

    @staticmethod
    def ids(ids: Any) -> Expression:
        """The item is one of these: an array, list or set of ids, which are copied. Unknown ids match nothing."""
        return Ids(ids)

    @staticmethod
    def mask(rows: Any) -> Expression:
        """The item's row of a boolean array is true; by order of ``index.ids``, shape (len(index),), copied.

        It holds for one state of the index: after a change it is a ValueError if the length is another, and names
        other items if it is not. `Index.compile` makes ids of it, which last.
        """
        return Mask(rows)

    def __getattr__(self, name: str) -> Field:
        if name.startswith("__"):
            raise AttributeError(name)
        return Field(name)

    def __getitem__(self, name: str) -> Field:
        return Field(name)

    def __repr__(self) -> str:
        return "F"


#: ``F.year >= 2015``, ``F["first author"] == "x"``, ``F.tags.any("a", "b")``, ``F.ids([3, 4])``, ``F.mask(rows)``.
F = _Fields()
