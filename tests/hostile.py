"""Forges index files with right checksums, and uses whatever of them loads. Run as a process of its own by test_index_hostile:

    python hostile.py INDEX.ann FIRST_SEED LAST_SEED

Prints a line for each kind of outcome, or dies, having named the seed at fault.
"""

from __future__ import annotations

import json
import resource
import signal
import struct
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from container_bytes import PAGE, entries, resized, seal

import annlib
from annlib.persistence import from_bytes, to_bytes

#: What a forged file of less than 100 kB may make the process ask for.
ROOM = 64 << 20


def forge(data: bytes, rng: np.random.Generator) -> bytes:
    """One to four changes to one of the sections, to the table, or to a section's length."""
    rows = entries(data)
    what = rng.random()
    if what < 0.1:
        forged = bytearray(data)
        entry = rows[rng.integers(len(rows))]
        field, form, values = [
            (48, "<B", rng.integers(0, 12, 1)),
            (49, "<B", rng.integers(0, 6, 1)),
            (56, "<Q", np.array([0, PAGE, entry.offset + PAGE, 2**63, 2**64 - PAGE], np.uint64)),
            (
                64,
                "<Q",
                np.array([0, entry.length + 1, entry.length // 2, 2**40, 2**63, 2**64 - 1], np.uint64),
            ),
            (
                72 + 8 * int(rng.integers(4)),
                "<Q",
                np.array([0, 1, 2, 2**31, 2**32, 2**62, 2**63, 2**64 - 1], np.uint64),
            ),
            (0, "<B", rng.integers(0, 256, 1)),
        ][rng.integers(6)]
        struct.pack_into(form, forged, entry.at + field, int(rng.choice(values)))
        return seal(forged)
    if what < 0.2:
        names = rng.choice([entry.name for entry in rows], int(rng.integers(1, 4)))
        longest = max(entry.shape[0] for entry in rows)
        return resized(
            data, {str(name): int(rng.choice([0, 1, 7, longest, longest + 1, 64])) for name in names}
        )
    forged = bytearray(data)
    changed = set()
    for _ in range(int(rng.integers(1, 5))):
        entry = rows[rng.integers(len(rows))]
        if entry.length == 0:
            continue
        changed.add(entry.name)
        if entry.name.endswith(".json"):
            text = forged[entry.offset : entry.offset + entry.length]
            mutate_text(text, rng)
            forged[entry.offset : entry.offset + entry.length] = text
            continue
        values = np.frombuffer(forged, "<" + entry.dtype, int(np.prod(entry.shape)), entry.offset)
        mutate(values, rng, len(data))
    return seal(forged, changed)


def mutate(values: np.ndarray, rng: np.random.Generator, size: int) -> None:
    at = rng.integers(0, len(values), int(rng.choice([1, 1, 2, 10, 100])))
    if values.dtype.kind == "f":
        values[at] = rng.choice(
            np.array([0, -1, 1e-30, 1e30, 3e38, np.inf, np.nan, 65504]).astype(values.dtype), len(at)
        )
        return
    bits = 8 * values.dtype.itemsize
    kind = rng.integers(5)
    if kind == 0:  # numbers that stand elsewhere: links that lead somewhere else, ids twice
        values[at] = values[rng.integers(0, len(values), len(at))]
    elif kind == 1:  # one off
        values[at] = (
            values[at] + values.dtype.type(1) if rng.random() < 0.5 else values[at] - values.dtype.type(1)
        )
    elif kind == 2:
        values[at] = rng.integers(0, 100, len(at)).astype(values.dtype)
    elif kind == 3:  # the ends of all ranges
        ends = np.array(
            [0, 1, size, 2**7, 2**8 - 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1, 2**63, 2**64 - 1], np.uint64
        )
        values[at] = (
            (rng.choice(ends, len(at)) & np.uint64(2**bits - 1)).astype(f"u{bits // 8}").view(values.dtype)
        )
    else:
        values[at] = np.frombuffer(rng.bytes(len(at) * bits // 8), values.dtype)


def mutate_text(text: bytearray, rng: np.random.Generator) -> None:
    """Numbers and letters of the JSON; its length stays."""
    for at in rng.integers(0, len(text), int(rng.integers(1, 6))):
        text[at] = int(rng.choice(list(b'0123456789-+.eE"[]{},: nulltrefas\\\0\xff')))
    if rng.random() < 0.1:
        deep = b"[" * len(text) if rng.random() < 0.5 else json.dumps([0.1] * len(text)).encode()[: len(text)]
        text[:] = deep


def known_ids(index: annlib.Index) -> list[object]:
    """A forged string may lie under a key that is not its hash, and is not found by its name then."""
    return [one for one in index.ids.tolist() if one in index]


def through_subgraphs(index: annlib.HNSWIndex, queries: np.ndarray, filter: dict[str, object]) -> None:
    """Of forged groups none may hold what is looked for."""
    index.search(queries, 3, filter=filter, threads=1)
    try:
        index.search(queries, 3, filter=filter, plan="subgraph", threads=1)
    except ValueError as error:
        if "needs a filter index" not in str(error):
            raise


def use(index: annlib.Index, rng: np.random.Generator) -> None:
    """Everything that an index can do. What was forged may be nonsense, but may not crash."""
    dim = index.dim
    queries = rng.standard_normal((3, dim)).astype(np.float32)
    for k, ef in ((1, 1), (5, 5), (len(index) + 3, 64)):
        options = {} if isinstance(index, annlib.FlatIndex) else {"ef_search": ef}
        index.search(queries, k, threads=1, **options)
    index.search(queries, 2, filter=np.arange(len(index)) % 2 == 0, threads=1)
    index.search_radius(queries, 5.0, threads=1)
    for name, column in index.attributes().items():
        value = next((v for v in column.tolist() if v is not None and v != []), None)
        for some in (0, 1, 2):  # by a scan, and sorted
            one = value[0] if isinstance(value, list) else value
            index.count({"$or": [{name: one}, *({name: None} for _ in range(some))]})
            index.count({"$and": [{name: {"$exists": True}}, {name: {"$ne": one}}]})
        if isinstance(index, annlib.HNSWIndex):
            through_subgraphs(index, queries, {name: one})
    ids = known_ids(index)
    repr(index), index.stats(), index.digest(), index.get(ids)
    if isinstance(index, annlib.HNSWIndex):
        index.unreachable()
        index.search(queries[0], 3, recall=0.9)
        index.search(queries, 3, filter=np.arange(len(index)) % 2 == 0, plan="two-hop", threads=1)
    names = [f"new {i}" for i in range(30)] if index.ids.dtype == object else None
    for _ in range(2):
        try:
            added = index.add(np.round(rng.standard_normal((30, dim)) * 3).clip(0, 9), ids=names, threads=1)
        except (KeyError, ValueError):  # a forged next id may be taken, or the last one
            break
        index.search(queries, 3, threads=1)
        for name in index.filter_indexes() if isinstance(index, annlib.HNSWIndex) else ():
            through_subgraphs(index, queries, {name: None})
        index.delete(added[rng.permutation(30)[:20]], threads=1)
        index.delete(known_ids(index)[: len(index) // 3], threads=1)
        for one in known_ids(index)[:1]:
            index.update(one, queries[0].round().clip(0, 9), threads=1)
        names = [f"newer {i}" for i in range(30)] if names else None
    index.search(queries, 3, threads=1)
    try:
        from_bytes(to_bytes(index))
    except annlib.CorruptIndexError as error:
        # A codec trained on vectors near the end of float32's range measures no finite error.
        if "codec" not in str(error):
            raise
    index.compact(threads=1)
    index.search(queries, 3, threads=1)


def main(path: str, first: int, last: int) -> None:
    data = Path(path).read_bytes()
    use(from_bytes(data), np.random.default_rng(0))  # and with that everything is imported and warm
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, resource.RLIM_INFINITY))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # what hangs is killed
    outcomes: Counter[str] = Counter()
    for seed in range(first, last):
        print(f"\rseed {seed} ", end="", file=sys.stderr, flush=True)
        rng = np.random.default_rng(seed)
        forged = forge(data, rng)
        signal.alarm(20)
        try:
            index = from_bytes(forged)
        except (annlib.CorruptIndexError, annlib.VersionError) as error:
            outcomes[type(error).__name__] += 1
        else:
            use(index, rng)
            outcomes["used"] += 1
        signal.alarm(0)
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
