"""annlib demo: real titles, a filter that holds, and a fair comparison."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest

pytest.importorskip("h5py", reason="the demo set is an HDF5 file")

import annlib
from annlib import _tables, cli, datasets, demo


@pytest.fixture(scope="module")
def data() -> datasets.Dataset:
    return datasets.load_demo()


@pytest.fixture(scope="module")
def index(data: datasets.Dataset) -> annlib.HNSWIndex:
    return annlib.HNSWIndex.build(
        data.train, metric=data.metric, M=8, ef_construction=60, attributes=demo.attributes(data)
    )


def test_demo_command(capsys: pytest.CaptureFixture[str], data: datasets.Dataset) -> None:
    assert cli.main(["demo", "--queries", "1"]) == 0
    printed = capsys.readouterr().out
    assert "10,000 arXiv abstracts" in printed
    assert "exact (FlatIndex)" in printed and "annlib HNSW, ef_search=64" in printed
    (row,) = demo.chosen_queries(data, 1, None)
    assert data.test_attributes["title"][row] in printed


def test_answers_are_titles_and_the_filter_holds(
    capsys: pytest.CaptureFixture[str], data: datasets.Dataset, index: annlib.HNSWIndex
) -> None:
    (row,) = demo.chosen_queries(data, 1, "quantum")
    demo.show_query(data, index, row)
    everything, filtered = capsys.readouterr().out.split("filter category = '")
    first = data.attributes["title"][data.neighbors[row, 0]]
    assert first[:20] in everything
    category, year = re.match(r"([\w.-]+)' AND created >= '(\d+)-01-01'", filtered).groups()  # type: ignore[union-attr]
    lines = [line for line in filtered.splitlines() if " 0." in line]
    assert lines and all(category in line and year <= re.findall(r"\b\d{4}\b", line)[0] for line in lines)
    there = data.attributes["primary_category"] == category
    matches = there & (demo.years(data.attributes["created_day"]) >= int(year))
    assert f": {matches.sum():,} papers match" in filtered


def test_queries_by_word(data: datasets.Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    rows = demo.chosen_queries(data, 3, "QUANTUM")
    assert len(rows) == 3
    assert all("quantum" in data.test_attributes["title"][row].lower() for row in rows)
    assert demo.chosen_queries(data, 0, None) == []
    assert cli.main(["demo", "--match", "zyzzyva", "--no-compare"]) == 1
    assert "zyzzyva" in capsys.readouterr().err


def test_category_of_the_filter(data: datasets.Dataset) -> None:
    present = set(data.attributes["primary_category"])
    for row in range(len(data.test)):
        category = demo.filter_category(data, row, int(data.neighbors[row, 0]))
        assert category in present


def test_years() -> None:
    assert demo.years(np.array([0, 364, 365, 17897], dtype=np.int32)).tolist() == [1970, 1970, 1971, 2019]


def test_comparison_without_faiss(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    data: datasets.Dataset,
    index: annlib.HNSWIndex,
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    demo.compare(data, index, 1.0)
    printed = capsys.readouterr().out
    assert "faiss is not installed" in printed
    assert "times exact" in printed


def test_exact_search_of_the_comparison_is_exact(data: datasets.Dataset) -> None:
    exact = demo.exact_contender(data)
    assert demo.recall(exact.search(), data.neighbors[:, : demo.K]) > 0.999


def test_tables_with_and_without_rich(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [["a [b]", 1234567, 0.25], ["c", None, 1e6]]
    for _ in range(2):
        _tables.print_table(["name", "count", "share"], rows, "title")
        printed = capsys.readouterr().out
        for part in ("title", "name", "a [b]", "1,234,567", "0.25", "1,000,000"):
            assert part in printed
        monkeypatch.setitem(sys.modules, "rich.console", None)
    assert printed == (
        "title\nname       count      share\n-----  ---------  ---------\n"
        "a [b]  1,234,567       0.25\nc              -  1,000,000\n"
    )
