"""Files made to deceive: right checksums over wrong contents. Nothing of them crashes, hangs or eats memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from container_bytes import resized, section, with_section
from reference import vectors

import annlib
from annlib.persistence import from_bytes, to_bytes

NO_SLOT = 0xFFFFFFFF


def graph(**options: object) -> annlib.HNSWIndex:
    """60 rows with twins, dead nodes, free rows and upper layers."""
    train = vectors(64, 8)
    train[50:60] = train[3]
    index = annlib.HNSWIndex.build(train, M=3, **options)  # type: ignore[arg-type]
    index.delete(np.arange(4, 26))  # more than a fifth: their rows become free
    index.delete([30, 31])
    return index


def filter_indexes() -> annlib.HNSWIndex:
    """60 rows under labels and in windows, of which some have changed and some are gone."""
    train = vectors(66, 4)
    train[50:54] = train[3]
    columns = {"s": [f"s{i % 3}" for i in range(66)], "n": [i * i for i in range(66)]}
    index = annlib.HNSWIndex.build(train, attributes=columns, M=2)
    index.create_filter_index("s", min_items=5)
    index.create_filter_index("n", kind="range", min_items=5, memory_budget=1 << 20)
    index.set_attributes({"s": ["s0"], "n": [7]}, ids=[1])
    index.delete([30, 31, 3, 50])
    return index


INDEXES = {
    "graph": lambda: graph(),
    "filter indexes": filter_indexes,
    "codes and strings": lambda: annlib.HNSWIndex.build(
        vectors(40, 12), ids=[f"s{i}" for i in range(40)], metric="cosine", codec="int8", M=2, target=0.9
    ),
    "half codes": lambda: graph(codec="float16", metric="ip", seed=3),
    "bytes": lambda: annlib.HNSWIndex.build(vectors(40, 7, "uint8"), M=2),
    "attributes": lambda: annlib.FlatIndex.build(
        vectors(40, 4),
        attributes={
            "a": [None if i % 9 == 0 else i for i in range(40)],
            "s": [None if i % 7 == 0 else f"s{i % 5}" for i in range(40)],
            "t": [[f"t{j}" for j in range(i % 4)] for i in range(40)],
            "i": [[i % 3, i % 5] for i in range(40)],
            "f": [float("nan") if i % 8 == 0 else i / 7 for i in range(40)],
            "b": [i % 2 == 0 for i in range(40)],
        },
    ),
    "posting lists": lambda: annlib.SPANNIndex.build(None, vectors(40, 6), list_size=4),
    "posting lists of products": lambda: annlib.SPANNIndex.build(
        None, vectors(40, 6, "uint8"), metric="ip", list_size=4, replicas=3, ids=[f"s{i}" for i in range(40)]
    ),
    "flat": lambda: annlib.FlatIndex.build(
        vectors(40, 5, "float16"), metric="cosine", ids=[f"s{i}" for i in range(40)]
    ),
}


@pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="the limit on memory is set by what /proc tells"
)
@pytest.mark.parametrize("name", INDEXES)
def test_thousands_of_forgeries(name: str, tmp_path: Path) -> None:
    INDEXES[name]().save(tmp_path / "x.ann")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(Path(__file__).with_name("hostile.py")), str(tmp_path / "x.ann"), "0", "1000"],
        capture_output=True, text=True, timeout=280,
        # One arena: a second thread's would be 64 MiB of addresses, as many as the limit leaves, whenever it wakes.
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONFAULTHANDLER": "1", "MALLOC_ARENA_MAX": "1"},
    )  # fmt: skip
    tail = f"{done.stdout}\n{done.stderr[-3000:]}"
    assert done.returncode == 0, tail
    outcomes = json.loads(done.stdout)
    # Both must come about, else the forger has lost its touch.
    assert outcomes["CorruptIndexError"] > 300 and outcomes["used"] > 80, tail


def refuse(data: bytes, says: str) -> None:
    with pytest.raises(annlib.CorruptIndexError, match=says):
        from_bytes(data)


def test_graph_that_does_not_fit_together() -> None:
    index = graph()
    data = to_bytes(index)
    base, level = (section(data, f"graph.{name}") for name in ("base", "level"))
    twins, free = section(data, "graph.twins"), section(data, "table.free")
    n = len(level)
    assert len(free) and len(twins) and level.max() > 0

    def forged(name: str, where: object, value: object) -> bytes:
        values = section(data, name)
        values[where] = value  # type: ignore[index]
        return with_section(data, name, values)

    node = int(np.flatnonzero(base[:, 0] != NO_SLOT)[0])
    refuse(forged("graph.base", (node, 0), n), "link")
    refuse(forged("graph.base", (node, 0), NO_SLOT - 1), "link")
    refuse(forged("graph.level", node, 16), "level")
    refuse(forged("graph.level", int(np.argmax(level)), level.max() + 1), "upper|row|link")
    refuse(forged("graph.at", int(np.argmax(level)), 2**31), "upper")
    refuse(forged("params", 6, NO_SLOT), "entry")
    refuse(forged("params", 6, n), "entry")
    refuse(forged("params", 6, int(free[0])), "entry")
    refuse(forged("graph.twins", 0, n), "equal")
    refuse(forged("graph.twins", 1, twins.ravel()[0]), "equal")
    refuse(forged("table.free", 0, free[1] if len(free) > 1 else n), "free")
    refuse(forged("table.free", 0, n), "free")
    refuse(forged("table.ids", int(twins.ravel()[0]), -1), "id")
    refuse(forged("table.ids", int(twins.ravel()[0]), section(data, "table.ids")[twins.ravel()[1]]), "twice")
    refuse(resized(data, {"graph.twins": twins.size - 1}), "equal")
    for name in ("graph.base", "graph.at", "graph.level", "table.ids", "table.vectors", "table.arrival"):
        refuse(resized(data, {name: n - 1}), "length|fit|differ")
    refuse(resized(data, {"graph.upper": 0}), "upper|row")
    refuse(resized(data, {"params": 6}), "param")


def test_links_into_rows_that_are_free_or_twins() -> None:
    """Such a row may be given to another node later, whose upper rows are not where the link expects them."""
    data = to_bytes(graph())
    base, free = section(data, "graph.base"), section(data, "table.free")
    twins = section(data, "graph.twins").ravel()
    node = int(np.flatnonzero(base[:, 0] != NO_SLOT)[0])
    for target in (int(free[0]), int(twins[1])):
        forged = base.copy()
        forged[node, 0] = target
        refuse(with_section(data, "graph.base", forged), "link")


def test_filter_indexes_that_do_not_fit_together() -> None:
    index = filter_indexes()
    data = to_bytes(index)
    assert {name: one["changes"] for name, one in index.filter_indexes().items()} == {"n": 5, "s": 5}

    def forged(name: str, where: object, value: object) -> bytes:
        values = section(data, name)
        values[where] = value  # type: ignore[index]
        return with_section(data, name, values)

    slots = len(section(data, "table.ids"))
    refuse(forged("filters", 0, 2), "no attribute")
    refuse(forged("filters", 5, 0), "two filter indexes|needs int")
    refuse(forged("filters", 6, 2), "no kind")
    refuse(forged("filters", 6, 1), "needs int, float, date or datetime")
    refuse(forged("filters", 2, 0), "no kind")
    refuse(forged("filters", 4, 2**62), "no kind")
    groups = section(data, "filter.0.groups")
    size = int(groups[1] - groups[0])
    for i in (0, 1):
        refuse(forged(f"filter.{i}.members", 3, slots), "no slot")
        refuse(forged(f"filter.{i}.changed", 1, 2**63), "of no slot")
        refuse(forged(f"filter.{i}.groups", 0, 0), "ascend")
        refuse(forged(f"filter.{i}.groups", 0, 10**6), "ascend")
        refuse(forged(f"filter.{i}.groups", -1, 10**6), "differ")
        refuse(forged(f"filter.{i}.ends", 1, 10**6), "ascend")
        refuse(forged(f"filter.{i}.ends", -1, 10**6), "differ")
        refuse(resized(data, {f"filter.{i}.links": 3}), "length")
        for part in ("members", "changed", "open", "ends", "texts", "groups"):
            refuse(resized(data, {f"filter.{i}.{part}": 1}), "length|differ|ascend|order")
    refuse(forged("filter.0.links", (int(groups[0]), 0), size), "out of a sub-graph")
    refuse(forged("filter.1.texts", 0, 255), "out of order")
    refuse(resized(data, {"filters": 4}), "list of filter indexes")


def test_values_that_are_no_numbers() -> None:
    index = annlib.HNSWIndex.build(vectors(40, 32), codec="int8", metric="cosine")
    data = to_bytes(index)
    rows = section(data, "table.vectors")
    for value in (np.nan, np.inf):
        forged = rows.copy()
        forged[5, 8:12] = np.frombuffer(np.float32(value).tobytes(), np.uint8)
        refuse(with_section(data, "table.vectors", forged), "5")
        norms = section(data, "table.norms")
        norms[7] = value
        refuse(with_section(data, "table.norms", norms), "7")
        numbers = section(data, "codec.params")
        numbers[3] = value
        refuse(with_section(data, "codec.params", numbers), "codec")


def test_string_ids_that_do_not_fit() -> None:
    data = to_bytes(annlib.FlatIndex.build(vectors(5, 3), ids=list("abcde")))
    keys, offsets, text = (section(data, f"ids.{name}") for name in ("keys", "offsets", "text"))
    twice, other = keys.copy(), keys.copy()
    twice[0], other[0] = keys[1], keys[0] + 1
    backwards, beyond = offsets.copy(), offsets.copy()
    backwards[1], beyond[-1] = 3, 100
    same, broken = text.copy(), text.copy()
    same[0], broken[0] = text[1], 0xFF
    for name, values in (
        ("keys", twice), ("keys", other), ("offsets", backwards), ("offsets", beyond), ("text", same), ("text", broken),
    ):  # fmt: skip
        refuse(with_section(data, f"ids.{name}", values), "description|string|makes no sense")
