"""The libraries that the harness can measure, by name; each is imported only where it is measured."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast

from ..sweeps import ANNG, EXACT, HNSW, IVFPQ, LISTS, SCANN, VAMANA, Params, Sweeps
from .base import Peer


@dataclass(frozen=True)
class Entry:
    """Where a peer's class is, the module it needs, its sweeps, and the parameters that its name fixes.

    ``adapter`` is a module of this package, ".name", or any other that can be imported.
    """

    adapter: str
    cls: str
    requires: str
    sweeps: Sweeps
    fixed: Params = field(default_factory=dict)

    @property
    def installed(self) -> bool:
        """Whether the library is there, without importing it."""
        return importlib.util.find_spec(self.requires) is not None

    def load(self) -> type[Peer]:
        """Import the library and return the adapter."""
        return cast("type[Peer]", getattr(importlib.import_module(self.adapter, __package__), self.cls))


PEERS: Mapping[str, Entry] = {
    "annlib": Entry(".annlib", "AnnlibHNSW", "annlib", HNSW),
    "annlib-plain": Entry(".annlib", "AnnlibHNSW", "annlib", HNSW, {"layout": "plain"}),
    "annlib-float32": Entry(".annlib", "AnnlibHNSW", "annlib", HNSW, {"codec": "float32"}),
    "annlib-float32-plain": Entry(
        ".annlib", "AnnlibHNSW", "annlib", HNSW, {"codec": "float32", "layout": "plain"}
    ),
    "annlib-float16": Entry(".annlib", "AnnlibHNSW", "annlib", HNSW, {"codec": "float16"}),
    "annlib-int8": Entry(".annlib", "AnnlibHNSW", "annlib", HNSW, {"codec": "int8"}),
    "annlib-spann": Entry(".annlib", "AnnlibSPANN", "annlib", LISTS),
    "annlib-flat": Entry(".annlib", "AnnlibFlat", "annlib", EXACT),
    "faiss-flat": Entry(".faiss", "FaissFlat", "faiss", EXACT),
    "faiss-hnsw": Entry(".faiss", "FaissHNSW", "faiss", HNSW, {"storage": "Flat"}),
    "faiss-hnsw-sq8": Entry(".faiss", "FaissHNSW", "faiss", HNSW, {"storage": "SQ8"}),
    "faiss-ivfpq": Entry(".faiss", "FaissIVFPQ", "faiss", IVFPQ),
    "hnswlib": Entry(".hnswlib", "Hnswlib", "hnswlib", HNSW),
    "usearch": Entry(".usearch", "USearch", "usearch", HNSW, {"dtype": "f32"}),
    "usearch-i8": Entry(".usearch", "USearch", "usearch", HNSW, {"dtype": "i8"}),
    "voyager": Entry(".voyager", "Voyager", "voyager", HNSW),
    "svs": Entry(".svs", "Svs", "svs", VAMANA, {"bits": (0, 0)}),
    "svs-lvq": Entry(".svs", "Svs", "svs", VAMANA, {"bits": (4, 8)}),
    "vsag": Entry(".vsag", "Vsag", "pyvsag", HNSW, {"codec": "sq8"}),
    "scann": Entry(".scann", "Scann", "scann", SCANN),
    "ngt": Entry(".ngt", "Ngt", "ngtpy", ANNG),
}


def select(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """The installed and the missing ones of `names`; ValueError for a name that no peer has."""
    return select_from(PEERS, names)


def select_from(entries: Mapping[str, Entry], names: Iterable[str]) -> tuple[list[str], list[str]]:
    """:func:`select` of other entries than ``PEERS``."""
    chosen = list(dict.fromkeys(names))
    unknown = [name for name in chosen if name not in entries]
    if unknown:
        raise ValueError(f"unknown peer {', '.join(unknown)}; there are {', '.join(entries)}")
    return [n for n in chosen if entries[n].installed], [n for n in chosen if not entries[n].installed]
