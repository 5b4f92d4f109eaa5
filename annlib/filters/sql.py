"""Filters as the conditions of SQL: ``year >= 2015 AND 'cs.LG' IN categories``.

    or         and (OR and)*
    and        not (AND not)*
    not        NOT not | ( or ) | TRUE | FALSE | condition
    condition  column (= | == | != | <> | < | <= | > | >=) literal, or the other way round
               column [NOT] BETWEEN literal AND literal
               column [NOT] IN ( literal, ... )
               literal [NOT] IN column                  of a column of lists
               column IS [NOT] NULL
    column     name, "name" or `name`
    literal    'text' ('' is a quote), number, TRUE, FALSE, DATE 'text', TIMESTAMP 'text'

Unlike in SQL, where comparisons with null are neither true nor false, they are false, and NOT is the contrary.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple, NoReturn

from .encoding import instant_of_text
from .expression import All, AnyOf, Expression, Leaf, Not, Operator

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<text>'(?:[^']|'')*')
    | (?P<quoted>"(?:[^"]|"")*"|`(?:[^`]|``)*`)
    | (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
    | (?P<name>[^\W\d]\w*(?:\.\w+)*)
    | (?P<symbol><=|>=|<>|!=|==|[=<>(),])
    | (?P<end>$)
    )""",
    re.VERBOSE,
)
_RESERVED = frozenset(["AND", "OR", "NOT", "IN", "BETWEEN", "IS", "NULL", "TRUE", "FALSE"])
_ORDERS = {
    "<": Operator.LESS,
    "<=": Operator.AT_MOST,
    ">": Operator.GREATER,
    ">=": Operator.AT_LEAST,
}
_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_DEEPEST = 200


class _Token(NamedTuple):
    kind: str  #: as the groups of the pattern, or "keyword"
    text: str
    position: int


class _Column(NamedTuple):
    name: str
    position: int


def parse_sql(text: str) -> Expression:
    """The expression of a condition; ValueError naming the position (from 0) of what cannot be read."""
    return _Parser(text).parse()


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0
        self._depth = 0

    def parse(self) -> Expression:
        expression = self._or()
        if self._next.kind != "end":
            self._expected("AND, OR or the end")
        return expression

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self, *texts: str) -> str | None:
        """The next token's text where it is one of these keywords or symbols, which is then behind us."""
        token = self._next
        if token.kind not in ("keyword", "symbol") or token.text not in texts:
            return None
        self._at += 1
        return token.text

    def _need(self, text: str) -> None:
        if self._take(text) is None:
            self._expected(text)

    def _expected(self, what: str) -> NoReturn:
        token = self._next
        got = "the end" if token.kind == "end" else repr(token.text)
        raise ValueError(f"at position {token.position} of the filter: expected {what}, got {got}")

    def _or(self) -> Expression:
        parts = [self._and()]
        while self._take("OR"):
            parts.append(self._and())
        return parts[0] if len(parts) == 1 else AnyOf(parts)

    def _and(self) -> Expression:
        parts = [self._not()]
        while self._take("AND"):
            parts.append(self._not())
        return parts[0] if len(parts) == 1 else All(parts)

    def _not(self) -> Expression:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ValueError(f"a filter may be nested {_DEEPEST} deep, and this one is deeper")
        try:
            if self._take("NOT"):
                return Not(self._not())
            if self._take("("):
                inner = self._or()
                self._need(")")
                return inner
            return self._condition()
        finally:
            self._depth -= 1

    def _condition(self) -> Expression:
        if self._next.kind in ("name", "quoted") and not self._is_typed_literal():
            return self._of_column(self._column())
        start = self._at
        value = self._literal("a column, a value, NOT or (")
        negated = self._take("NOT") is not None
        if self._take("IN"):
            column = self._column()
            return _maybe_not(negated, Leaf(column.name, Operator.ANY, [value], column.position))
        if negated:
            self._expected("IN")
        if isinstance(value, bool) and self._next.text not in ("=", "==", "!=", "<>", *_ORDERS):
            return All([]) if value else AnyOf([])  # TRUE and FALSE as conditions
        symbol = self._comparison(f"IN or a comparison behind {self._tokens[start].text}")
        return _compared(self._column(), _FLIPPED.get(symbol, symbol), value)

    def _of_column(self, column: _Column) -> Expression:
        if self._take("IS"):
            negated = self._take("NOT") is not None
            self._need("NULL")
            return _maybe_not(negated, Leaf(column.name, Operator.IS_NULL, (), column.position))
        negated = self._take("NOT") is not None
        if self._take("IN"):
            return _maybe_not(negated, Leaf(column.name, Operator.IS_IN, self._literals(), column.position))
        if self._take("BETWEEN"):
            low = self._literal("a value")
            self._need("AND")
            between = [_compared(column, ">=", low), _compared(column, "<=", self._literal("a value"))]
            return _maybe_not(negated, All(between))
        if negated:
            self._expected("IN or BETWEEN")
        symbol = self._comparison("a comparison, IN, BETWEEN or IS")
        return _compared(column, symbol, self._literal("a value"))

    def _comparison(self, expected: str) -> str:
        symbol = self._take("=", "==", "!=", "<>", *_ORDERS)
        if symbol is None:
            self._expected(expected)
        return symbol

    def _column(self) -> _Column:
        token = self._next
        if token.kind not in ("name", "quoted"):
            self._expected("a column")
        self._at += 1
        if token.kind == "name":
            return _Column(token.text, token.position)
        quote = token.text[0]
        return _Column(token.text[1:-1].replace(2 * quote, quote), token.position)

    def _literals(self) -> list[Any]:
        self._need("(")
        values = [self._literal("a value")]
        while self._take(","):
            values.append(self._literal("a value"))
        self._need(")")
        return values

    def _is_typed_literal(self) -> bool:
        return self._next.text.upper() in ("DATE", "TIMESTAMP") and self._tokens[self._at + 1].kind == "text"

    def _literal(self, expected: str) -> Any:
        if self._take("NULL"):
            self._at -= 1
            self._expected(f"{expected}; use IS NULL")
        boolean = self._take("TRUE", "FALSE")
        if boolean:
            return boolean == "TRUE"
        typed = self._is_typed_literal()
        self._at += typed
        token = self._next
        if token.kind == "text":
            value: Any = token.text[1:-1].replace("''", "'")
            if typed and instant_of_text(value) is None:
                self._expected("an ISO 8601 date")
        elif token.kind == "number":
            value = _number(token.text)
        else:
            self._expected(expected)
        self._at += 1
        return value


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while not tokens or tokens[-1].kind != "end":
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            at += len(text[at:]) - len(text[at:].lstrip())
            raise ValueError(f"at position {at} of the filter: cannot read {text[at : at + 20]!r}")
        kind, at = match.lastgroup, match.end()
        token = _Token(kind, match.group(kind), match.start(kind))
        if kind == "name" and token.text.upper() in _RESERVED:
            token = _Token("keyword", token.text.upper(), token.position)
        tokens.append(token)
    return tokens


def _number(text: str) -> int | float:
    return float(text) if any(c in text for c in ".eE") else int(text)


def _maybe_not(negated: bool, expression: Expression) -> Expression:
    return Not(expression) if negated else expression


def _compared(column: _Column, symbol: str, value: Any) -> Expression:
    if symbol in _ORDERS:
        return Leaf(column.name, _ORDERS[symbol], [value], column.position)
    return _maybe_not(symbol in ("!=", "<>"), Leaf(column.name, Operator.IS_IN, [value], column.position))
