"""Filters as dicts in the manner of MongoDB, which are also the metadata filters of LangChain and others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .expression import All, AnyOf, Expression, Leaf, Not, Operator

_ORDERS = {
    "$lt": Operator.LESS,
    "$lte": Operator.AT_MOST,
    "$gt": Operator.GREATER,
    "$gte": Operator.AT_LEAST,
}
_OPERATORS = (*_ORDERS, "$eq", "$ne", "$in", "$nin", "$all", "$contains", "$between", "$exists", "$not")
_CONNECTIVES = ("$and", "$or", "$nor", "$not")


def parse_dict(filter: Mapping[str, Any]) -> Expression:
    """The expression of a dict: ``{"year": {"$gte": 2015}, "tags": "x", "$or": [...]}``; all its items must hold.

    A plain value equals the column's, or is an element of it where that holds lists. ValueError for operators that
    there are not, naming those that there are.
    """
    return All([_item(key, value) for key, value in filter.items()])


def _item(key: Any, value: Any) -> Expression:
    if not isinstance(key, str):
        raise ValueError(f"the keys of a filter are names of attributes and operators, got {key!r}")
    if key == "$not":
        return Not(_document(key, value))
    if key in _CONNECTIVES:
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"{key} takes a list of filters, got {value!r}")
        parts = [_document(key, part) for part in value]
        return All(parts) if key == "$and" else AnyOf(parts) if key == "$or" else Not(AnyOf(parts))
    if key.startswith("$"):
        raise ValueError(f"unknown operator {key!r}; there are: {', '.join(_CONNECTIVES)}")
    if isinstance(value, Mapping):
        return _conditions(key, value)
    return _one_of(key, [value])


def _document(operator: str, value: Any) -> Expression:
    if not isinstance(value, Mapping):
        raise ValueError(f"{operator} takes filters that are dicts, got {value!r}")
    return parse_dict(value)


def _conditions(column: str, conditions: Mapping[Any, Any]) -> Expression:
    if not conditions:
        raise ValueError(f"attribute {column!r} is given no condition")
    return All([_condition(column, operator, value) for operator, value in conditions.items()])


def _condition(column: str, operator: Any, value: Any) -> Expression:
    if operator in _ORDERS:
        return Leaf(column, _ORDERS[operator], [_scalar(column, value)])
    if operator in ("$eq", "$contains"):
        return _one_of(column, [value])
    if operator == "$ne":
        return Not(_one_of(column, [value]))
    if operator == "$in":
        return _one_of(column, _list(operator, value))
    if operator == "$nin":
        return Not(_one_of(column, _list(operator, value)))
    if operator == "$all":
        return All([_exists(column), *(_one_of(column, [one]) for one in _list(operator, value))])
    if operator == "$between":
        low, high = _pair(value)
        return All([Leaf(column, Operator.AT_LEAST, [low]), Leaf(column, Operator.AT_MOST, [high])])
    if operator == "$exists":
        return _exists(column) if value else Not(_exists(column))
    if operator == "$not":
        if not isinstance(value, Mapping):
            raise ValueError(f"$not of attribute {column!r} takes conditions in a dict, got {value!r}")
        return Not(_conditions(column, value))
    raise ValueError(
        f"unknown operator {operator!r} for attribute {column!r}; there are: {', '.join(_OPERATORS)}"
    )


def _exists(column: str) -> Expression:
    return Not(Leaf(column, Operator.IS_NULL))


def _one_of(column: str, values: list[Any]) -> Expression:
    return Leaf(column, Operator.HOLDS, [_scalar(column, value) for value in values])


def _scalar(column: str, value: Any) -> Any:
    if isinstance(value, (list, tuple, set, frozenset, Mapping)):
        raise ValueError(
            f"attribute {column!r} is compared with single values, got {value!r}; use $in or $all"
        )
    return value


def _list(operator: str, value: Any) -> list[Any]:
    if isinstance(value, (str, bytes, Mapping)) or not hasattr(value, "__iter__"):
        raise ValueError(f"{operator} takes a list of values, got {value!r}")
    return list(value)


def _pair(value: Any) -> tuple[Any, Any]:
    values = _list("$between", value)
    if len(values) != 2:
        raise ValueError(f"$between takes two values, got {len(values)}")
    return values[0], values[1]
