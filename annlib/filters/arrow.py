"""Filters as pyarrow expressions: ``pyarrow.compute.field("year") >= 2015``.

An expression of pyarrow shows its parts nowhere but in the form in which it is pickled: a record batch with the
literals, whose metadata lists calls, references and ends of calls in prefix order. (Its Substrait form has them too,
but not where a cast is needed, as for ``field("price") > 2`` of a float column.)

What pyarrow says of nulls does not hold: comparisons with null are false, and ``~`` is the contrary, as everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from .expression import All, AnyOf, Expression, Leaf, Not, Operator

_PART = re.compile(r"^(\w+): '(.*?)'$(?=\n\w+: '|\Z)", re.MULTILINE | re.DOTALL)
_ORDERS = {
    "less": Operator.LESS,
    "less_equal": Operator.AT_MOST,
    "greater": Operator.GREATER,
    "greater_equal": Operator.AT_LEAST,
}
_FLIPPED = {
    "less": "greater",
    "less_equal": "greater_equal",
    "greater": "less",
    "greater_equal": "less_equal",
}
_JOINS: dict[str, Callable[[list[Expression]], Expression]] = {
    "and": All,
    "and_kleene": All,
    "or": AnyOf,
    "or_kleene": AnyOf,
}


def parse_arrow(filter: Any) -> Expression:
    """The expression of a pyarrow expression.

    ValueError for what is no comparison of a column with a value, no ``isin``, ``is_null`` or ``is_valid``, and no
    combination of these.
    """
    import pyarrow as pa

    try:
        _, (pickled,) = filter.__reduce__()
    except pa.ArrowException as error:
        raise ValueError(f"the pyarrow expression {filter} cannot be read: {error}") from None
    with pa.ipc.open_file(pickled) as file:
        literals = [column[0].as_py() for column in file.get_batch(0).columns]
        text = file.schema.to_string(truncate_metadata=False, element_size_limit=1 << 30)
    _, _, metadata = text.partition("-- schema metadata --\n")
    return _Reader(filter, _PART.findall(metadata), literals).expression()


class _Field(str):
    """The name of a column, among literals."""


class _Reader:
    def __init__(self, source: Any, parts: list[tuple[str, str]], literals: list[Any]) -> None:
        self._source = source
        self._parts = iter(parts)
        self._literals = literals

    def expression(self) -> Expression:
        return self._condition(self._part(*next(self._parts)))

    def _unreadable(self, what: str) -> ValueError:
        return ValueError(f"a filter cannot have {what} in it, as the pyarrow expression {self._source} has")

    def _part(self, kind: str, text: str) -> Any:
        """A column, a literal, or the expression of a call."""
        if kind == "field_ref":
            return _Field(text)
        if kind == "literal":
            return self._literals[int(text)]
        if kind != "call":
            raise self._unreadable(f"a {kind}")
        arguments, options = [], {}
        for inner, value in self._parts:
            if inner == "end":
                break
            if inner == "options":
                options = self._literals[int(value)]
            else:
                arguments.append(self._part(inner, value))
        return self._call(text, arguments, options)

    def _condition(self, part: Any) -> Expression:
        if isinstance(part, _Field):
            return Leaf(str(part), Operator.IS_IN, [True])
        if isinstance(part, bool):
            return All([]) if part else AnyOf([])
        if not isinstance(part, Expression):
            raise self._unreadable(f"{part!r} as a condition")
        return part

    def _call(self, name: str, arguments: list[Any], options: dict[str, Any]) -> Expression:
        if name in _JOINS:
            return _JOINS[name]([self._condition(argument) for argument in arguments])
        if name == "invert":
            return Not(self._condition(arguments[0]))
        if name in ("is_null", "is_valid"):
            null = Leaf(self._column(arguments[0]), Operator.IS_NULL)
            return null if name == "is_null" else Not(null)
        if name == "is_in":
            return Leaf(self._column(arguments[0]), Operator.IS_IN, options["value_set"])
        if name not in (*_ORDERS, "equal", "not_equal"):
            raise self._unreadable(f"the function {name!r}")
        left, right = arguments
        if not isinstance(left, _Field):
            left, right, name = right, left, _FLIPPED.get(name, name)
        if isinstance(right, (_Field, Expression)):
            raise self._unreadable("a comparison of columns with each other")
        if name in _ORDERS:
            return Leaf(self._column(left), _ORDERS[name], [right])
        equal = Leaf(self._column(left), Operator.IS_IN, [right])
        return equal if name == "equal" else Not(equal)

    def _column(self, part: Any) -> str:
        if not isinstance(part, _Field):
            raise self._unreadable("something else than a column there")
        return str(part)
