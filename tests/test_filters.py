"""Filters in all their forms, against plain numpy."""

from __future__ import annotations

import datetime
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from reference import INDEXES, nearest

import annlib
from annlib import F
from annlib.filters.expression import Expression

N = 600
YEAR = np.random.default_rng(1).integers(2000, 2020, N)
PRICE = np.where(np.arange(N) % 7 == 0, np.nan, np.random.default_rng(2).integers(0, 40, N) / 4)
LABEL = np.array([None if i % 11 == 0 else ("a", "b", "ba", "ü")[i % 4] for i in range(N)], object)
TAGS = [None if i % 13 == 0 else [f"t{j}" for j in range(6) if (i >> j) & 1] for i in range(N)]
CODES = [[i % 5, i % 3] for i in range(N)]
DAY = np.datetime64("2020-01-01") + (np.arange(N) * 7 % 400).astype("timedelta64[D]")
TIME = DAY.astype("datetime64[us]") + (np.arange(N) * 1_000_000_007 % 86_400_000_000).astype(
    "timedelta64[us]"
)
FLAG = np.arange(N) % 3 == 0
COLUMNS = {
    "year": YEAR,
    "price": PRICE,
    "label": LABEL,
    "tags": TAGS,
    "codes": CODES,
    "day": DAY,
    "time": TIME,
    "flag": FLAG,
}
VECTORS = np.random.default_rng(0).standard_normal((N, 8), dtype=np.float32)

_INDEX = annlib.FlatIndex.build(VECTORS, attributes=COLUMNS)
Mask = NDArray[np.bool_]


def passing(filter: Any, index: annlib.Index = _INDEX) -> Mask:
    """Which items a search finds under a filter, by row."""
    found = index.search(VECTORS[0], k=len(index), filter=filter)
    mask = np.zeros(len(index), np.bool_)
    mask[found.ids[: found.counts]] = True
    assert index.count(filter) == found.counts
    return mask


def rows(holds: Callable[[Any], bool], column: Any) -> Mask:
    return np.array([value is not None and holds(value) for value in column])


# -- against numpy -----------------------------------------------------------------------------------------------

_ORDERS = (operator.lt, operator.le, operator.gt, operator.ge, operator.eq)
_LITERALS: dict[str, Any] = {
    "year": st.one_of(st.integers(1998, 2021), st.floats(1998, 2021), st.sampled_from([2**70, -(2**70)])),
    "price": st.one_of(st.integers(-1, 11), st.floats(-1, 11), st.sampled_from([2.5, np.inf, -np.inf, -0.0])),
    "label": st.sampled_from(["", "a", "aa", "b", "ba", "c", "ü", "2020-01-01"]),
    "day": st.dates(datetime.date(2019, 12, 1), datetime.date(2021, 3, 1)),
    "time": st.datetimes(datetime.datetime(2019, 12, 1), datetime.datetime(2021, 3, 1)),
}


@st.composite
def leaves(draw: Any) -> tuple[Expression, Mask]:
    """A condition, and which rows it holds for, by numpy or Python."""
    column = draw(st.sampled_from([*_LITERALS, "tags", "codes", "flag", "null", "items"]))
    if column == "items":
        some = draw(st.sets(st.integers(0, N + 5)))
        mask = np.isin(np.arange(N), list(some))
        return (F.ids(some) if draw(st.booleans()) else F.mask(mask)), mask
    if column == "null":
        name = draw(st.sampled_from(["price", "label", "tags", "year"]))
        return F[name].is_null(), ~rows(lambda value: value == value, COLUMNS[name])
    if column == "flag":
        value = draw(st.booleans())
        return F.flag == value, value == FLAG
    if column in ("tags", "codes"):
        of = st.sampled_from(["t0", "t1", "t5", "x"]) if column == "tags" else st.integers(-1, 5)
        some = draw(st.lists(of, max_size=3))
        how = draw(st.sampled_from(["any", "all", "none"]))
        wanted = {
            "any": rows(lambda value: bool(set(some) & set(value)), COLUMNS[column]),
            "all": rows(lambda value: set(some) <= set(value), COLUMNS[column]),
            "none": ~rows(lambda value: bool(set(some) & set(value)), COLUMNS[column]),
        }
        return getattr(F[column], how)(some), wanted[how]
    values = COLUMNS[column]
    if draw(st.booleans()):
        some = draw(st.lists(_LITERALS[column], max_size=4))
        mask = np.zeros(N, np.bool_)
        for value in some:
            mask |= _compare(operator.eq, values, value)
        return F[column].isin(some), mask
    compare, literal = draw(st.sampled_from(_ORDERS)), draw(_LITERALS[column])
    return compare(F[column], literal), _compare(compare, values, literal)


def _compare(compare: Any, values: Any, literal: Any) -> Mask:
    if isinstance(literal, datetime.date):
        literal = np.datetime64(literal)
    if values.dtype == object:
        return rows(lambda value: compare(value.encode(), literal.encode()), values)
    return np.asarray(compare(values, literal), np.bool_)


_TREES = st.recursive(
    leaves(),
    lambda inner: st.one_of(
        inner.map(lambda one: (~one[0], ~one[1])),
        st.tuples(inner, inner).map(lambda two: (two[0][0] & two[1][0], two[0][1] & two[1][1])),
        st.tuples(inner, inner).map(lambda two: (two[0][0] | two[1][0], two[0][1] | two[1][1])),
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(_TREES)
def test_against_numpy(tree: tuple[Expression, Mask]) -> None:
    expression, mask = tree
    assert _INDEX.count(expression) == mask.sum(), expression
    assert (passing(expression) == mask).all(), expression


@settings(max_examples=60, deadline=None)
@given(leaves())
def test_scans_and_orders_agree(leaf: tuple[Expression, Mask]) -> None:
    expression, mask = leaf
    fresh = annlib.FlatIndex.build(VECTORS, attributes=COLUMNS)
    # The first evaluation of a column scans it, the second sorts it; a conjunction keeps the bitmap from being reused.
    for again in (F.flag.is_null() | expression, expression | (F.year == 0), expression | (F.year == 1)):
        assert fresh.count(again) == mask.sum(), expression


# -- forms -------------------------------------------------------------------------------------------------------

#: The same condition as an expression, as a dict and as a string.
FORMS: list[tuple[Expression, dict[str, Any] | None, str | None]] = [
    (F.year == 2010, {"year": 2010}, "year = 2010"),
    (F.year == 2010, {"year": {"$eq": 2010}}, "2010 == year"),
    (F.year != 2010, {"year": {"$ne": 2010}}, "year <> 2010"),
    (F.year > 2010, {"year": {"$gt": 2010}}, "2010 < year"),
    (F.year > 2010, {"year": {"$gte": 2011}}, "NOT year <= 2010"),
    (F.year.between(2005, 2010), {"year": {"$between": [2005, 2010]}}, "year BETWEEN 2005 AND 2010"),
    (F.year.between(2005, 2010), {"year": {"$gte": 2005, "$lte": 2010}}, "year >= 2005 and year <= 2010"),
    (
        ~F.year.between(2005, 2010),
        {"$not": {"year": {"$between": (2005, 2010)}}},
        "year not between 2005 and 2010",
    ),
    (F.year.isin([2003, 2004]), {"year": {"$in": [2003, 2004]}}, "year IN (2003, 2004)"),
    (F.year.isin([2003, 2004]), {"$or": [{"year": 2004}, {"year": 2003}]}, "year = 2003 OR year = 2004"),
    (~F.year.isin([2003]), {"year": {"$nin": [2003]}}, "year NOT IN (2003)"),
    (F.price.is_null(), {"price": None}, "price IS NULL"),
    (~F.price.is_null(), {"price": {"$exists": True}}, "price IS NOT NULL"),
    (F.price <= 2.5, {"price": {"$lte": 2.5}}, "price<=2.5e0"),
    (F.label == "ü", {"label": "ü"}, "label = 'ü'"),
    (F.label >= "b", {"label": {"$gte": "b"}}, "\"label\" >= 'b'"),
    (F.flag == True, {"flag": True}, "flag = TRUE"),  # noqa: E712
    (F.tags.any("t1"), {"tags": "t1"}, "'t1' IN tags"),
    (F.tags.any("t1", "t2"), {"tags": {"$in": ["t1", "t2"]}}, "'t1' IN tags OR 't2' IN tags"),
    (F.tags.all(["t1", "t2"]), {"tags": {"$all": ["t1", "t2"]}}, "'t1' IN tags AND 't2' IN `tags`"),
    (F.tags.none("t1"), {"tags": {"$nin": ["t1"]}}, "'t1' NOT IN tags"),
    (F.codes.any(4), {"codes": {"$contains": 4}}, "4 IN codes"),
    (F.day >= datetime.date(2020, 6, 1), {"day": {"$gte": "2020-06-01"}}, "day >= DATE '2020-06-01'"),
    (
        F.time < np.datetime64("2020-06-01T12"),
        {"time": {"$lt": "2020-06-01T12:00Z"}},
        "time < '2020-06-01 14:00:00+02:00'",
    ),
    (
        (F.year >= 2010) & (F.label == "a") | ~F.tags.any("t0"),
        {"$or": [{"$and": [{"year": {"$gte": 2010}}, {"label": "a"}]}, {"tags": {"$ne": "t0"}}]},
        "year >= 2010 AND label = 'a' OR NOT ('t0' IN tags)",
    ),
    (
        (F.year >= 2010) & (F.label == "a"),
        {"year": {"$gte": 2010}, "label": "a"},
        "(((year >= 2010)) AND label='a')",
    ),
    (~((F.year > 2010) | (F.label == "a")), {"$nor": [{"year": {"$gt": 2010}}, {"label": "a"}]}, None),
    (F.year > 2010, {"year": {"$not": {"$lte": 2010}}}, None),
    (F.year.isin([]) | (F.year > 2010), None, "FALSE OR year > 2010"),
]


@pytest.mark.parametrize(("expression", "as_dict", "as_text"), FORMS, ids=lambda value: None)
def test_forms_agree(expression: Expression, as_dict: Any, as_text: str | None) -> None:
    mask = passing(expression)
    assert mask.any() and not mask.all()
    for form in (
        as_dict,
        as_text,
        mask,
        np.flatnonzero(mask),
        np.flatnonzero(mask).tolist(),
        _INDEX.compile(expression),
    ):
        if form is not None:
            assert (passing(form) == mask).all(), form


def test_arrow_expressions() -> None:
    pa = pytest.importorskip("pyarrow")
    pc = pytest.importorskip("pyarrow.compute")
    f = pc.field
    for arrow, same in [
        (f("year") >= 2010, F.year >= 2010),
        (pc.scalar(2010) > f("year"), F.year < 2010),
        (f("year") > 2010.5, F.year > 2010.5),
        (f("price") > 2, F.price > 2),
        ((f("price") < 2.5) & (f("label") == "it's") | (f("label") != "a"), (F.price < 2.5) & (F.label == "it's") | (F.label != "a")),
        (~f("label").is_null(), ~F.label.is_null()),
        (f("price").is_valid(), ~F.price.is_null()),
        (f("year").isin([2003, 2004]), F.year.isin([2003, 2004])),
        (f("day") < datetime.date(2020, 6, 1), F.day < datetime.date(2020, 6, 1)),
        (f("time") >= datetime.datetime(2020, 6, 1, 3), F.time >= datetime.datetime(2020, 6, 1, 3)),
        (f("flag"), F.flag == True),  # noqa: E712
        (~f("flag") & pc.scalar(True), F.flag == False),  # noqa: E712
    ]:  # fmt: skip
        assert (passing(arrow) == passing(same)).all(), arrow
    for bad in (f("nothing") > 1, f("year") + 1 > 2, f("year") > f("price")):
        with pytest.raises(ValueError, match=r"pyarrow|no attribute"):
            _INDEX.count(bad)
    assert isinstance(f("year") > 1, pa.compute.Expression)


def test_literals_beyond_all_values() -> None:
    for low in (-(2**70), -np.inf, -1e300):
        for again in range(3):
            assert _INDEX.count((F.year < low) | (F.flag.is_null() & (F.year == again))) == 0
            assert _INDEX.count((F.year >= low) & (F.year != again)) == N
    assert _INDEX.count(F.year > 2**63 - 1) == _INDEX.count(F.price > np.inf) == 0
    assert _INDEX.count(F.year <= 2**63 - 1) == N


def test_empty_forms() -> None:
    assert _INDEX.count(None) == _INDEX.count({}) == _INDEX.count("TRUE") == N
    assert _INDEX.count([]) == _INDEX.count("FALSE") == _INDEX.count(F.year.isin([])) == 0
    assert _INDEX.count(F.tags.all([])) == sum(tags is not None for tags in TAGS)


def test_one_filter_for_each_query() -> None:
    queries = VECTORS[:6] + 0.01
    each = [F.year >= 2010, None, {"label": "a"}, F.year >= 2010, [1, 2, 3], "year < 2005"]
    for index_type in INDEXES:
        index = index_type.build(VECTORS, attributes=COLUMNS)
        found = index.search(queries, k=5, filter=each)
        for query, one, ids, distances, count in zip(
            queries, each, found.ids, found.distances, found.counts, strict=True
        ):
            alone = index.search(query, k=5, filter=one)
            assert ids.tolist() == alone.ids.tolist() and count == alone.counts
            assert distances.tolist() == alone.distances.tolist()
        assert found.ids[4].tolist() == [*sorted([1, 2, 3], key=found.ids[4].tolist().index), -1, -1]


@pytest.mark.parametrize("index_type", INDEXES)
def test_nearest_of_those_that_pass(index_type: type[annlib.Index]) -> None:
    index = index_type(8)
    index.add(VECTORS, attributes=COLUMNS)
    kept = np.flatnonzero(YEAR >= 2012)
    rows_, distances = nearest(VECTORS[kept], VECTORS[:20], "l2", 5)
    found = index.search(VECTORS[:20], k=5, filter=F.year >= 2012)
    assert found.ids.tolist() == kept[rows_].tolist()
    radius = float(distances.max())
    lims, ids, _ = index.search_radius(VECTORS[:20], radius, filter="year >= 2012")
    for i in range(20):
        inside = {int(j) for j in kept if ((VECTORS[j] - VECTORS[i]) ** 2).sum() <= radius}
        assert set(ids[lims[i] : lims[i + 1]].tolist()) == inside


# -- errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filter", "message"),
    [
        (F.yeer > 3, r"no attribute 'yeer'; there are: codes \(list of ints\), day \(date\)"),
        ("price > 1 AND yeer > 3", r"no attribute 'yeer' \(at position 14\); there are: "),
        (F.tags > "x", "'tags' holds list of strings, for which there is no '>'; there are any, all, none"),
        (F.tags == "x", "'tags' holds list of strings, for which there is no '=='"),
        (F.year.any(3), "'year' holds int, for which there is no 'any'"),
        (F.flag > True, "'flag' holds bool, for which there is no '>'"),
        (F.year == "x", "'year' holds int, and cannot be compared with a string"),
        ("year = 'x'", r"'year' holds int, and cannot be compared with a string \(at position 0\)"),
        (F.label == 3, "'label' holds string, and cannot be compared with an int"),
        (F.year == True, "'year' holds int, and cannot be compared with a bool"),  # noqa: E712
        (F.day == "soon", "'day' holds date, and cannot be compared with a string that is no ISO 8601 date"),
        (F.price > float("nan"), "NaN"),
        (F.year > None, "cannot be ordered against null"),
        (F.year == 3j, "of type complex"),
        (F.year, "a filter is a condition"),
        ({"year": {"$foo": 3}}, r"unknown operator '\$foo' for attribute 'year'; there are: \$lt"),
        ({"$foo": 3}, r"unknown operator '\$foo'; there are: \$and"),
        ({"year": [1, 2]}, r"use \$in or \$all"),
        ({"$and": {"year": 3}}, r"\$and takes a list"),
        ({3: 3}, "names of attributes"),
        ("year >", "at position 6 of the filter: expected a value, got the end"),
        ("year > 3 label", "at position 9 of the filter: expected AND, OR or the end, got 'label'"),
        ("year = NULL", "at position 7 of the filter: expected a value; use IS NULL, got 'NULL'"),
        ("year IN 3", r"at position 8 of the filter: expected \(, got '3'"),
        ("year ; 3", "at position 5 of the filter: cannot read '; 3'"),
        ("year = 'x", 'at position 7 of the filter: cannot read "\'x"'),
        ("day > DATE 'soon'", "at position 11 of the filter: expected an ISO 8601 date"),
        ("", "at position 0 of the filter: expected a column"),
        ("(" * 300 + "TRUE" + ")" * 300, "nested"),
        (lambda: True, "a filter is a condition"),
        (np.ones((2, 2)), "one-dimensional"),
    ],
)
def test_errors_say_what_and_where(filter: Any, message: str) -> None:
    for call in (_INDEX.count, _INDEX.compile, lambda one: _INDEX.search(VECTORS[0], filter=one)):
        with pytest.raises(ValueError, match=message):
            call(filter)


def test_deep_expressions_are_refused() -> None:
    deep = F.year > 1
    for _ in range(2000):
        deep = ~deep
    with pytest.raises(ValueError, match="nested"):
        _INDEX.count(deep)
    wide = F.year == 0
    for year in range(1, 3000):
        wide = wide | (F.year == year)
    assert _INDEX.count(wide) == N


def test_expressions_have_no_truth() -> None:
    with pytest.raises(ValueError, match="&"):
        bool(F.year > 3)
    with pytest.raises(ValueError, match="several values"):
        F.label.isin("abc")
    assert repr((F.year > 3) & ~F.tags.any("x")) == "((F['year'] > 3) & ~F['tags'].any(['x']))"


def test_a_compiled_mask_stands_for_its_items() -> None:
    index = annlib.FlatIndex.build(VECTORS[:100], attributes={"year": YEAR[:100]})
    first = index.compile(np.arange(100) < 10)
    index.delete([0, 1])
    index.add(VECTORS[100:200])
    assert index.count(first) == 8
    with pytest.raises(ValueError, match="mask"):
        index.compile(np.ones(3, np.bool_))


def test_bitmaps_follow_the_index() -> None:
    index = annlib.HNSWIndex.build(VECTORS, attributes=COLUMNS)
    filter = (F.year >= 2010) & (F.label == "a")
    mask = passing(filter)
    for _ in range(3):
        assert index.count(filter) == mask.sum()
    index.delete(np.flatnonzero(mask)[:5])
    assert index.count(filter) == mask.sum() - 5
    index.add(VECTORS[:2] + 5, ids=[5000, 5001], attributes={"year": [2015, 2015], "label": ["a", "b"]})
    assert index.count(filter) == mask.sum() - 4
    index.set_attributes({"label": ["a"]}, [5001])
    assert index.count(filter) == mask.sum() - 3
    index.compact()
    assert index.count(filter) == mask.sum() - 3
