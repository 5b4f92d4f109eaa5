"""annlib: approximate nearest-neighbour search over vectors.

>>> import numpy as np, annlib
>>> vectors = np.random.default_rng(0).standard_normal((1000, 32), dtype=np.float32)
>>> index = annlib.HNSWIndex.build(vectors, metric="cosine")
>>> ids, distances = index.search(vectors[:5], k=3)
>>> ids[:, 0].tolist()
[0, 1, 2, 3, 4]
"""

from __future__ import annotations

from ._core import CorruptIndexError, VersionError
from .filters import F
from .flat import FlatIndex
from .hnsw import HNSWIndex
from .index import Index
from .machine import cpu_features, list_codecs, list_metrics, set_num_threads
from .persistence import info, load, verify
from .report import Report
from .results import RadiusResult, Repair, SearchResult
from .spann import SPANNIndex

__version__ = "0.1.0"

__all__ = [
    "CorruptIndexError",
    "F",
    "FlatIndex",
    "HNSWIndex",
    "Index",
    "RadiusResult",
    "Repair",
    "Report",
    "SPANNIndex",
    "SearchResult",
    "VersionError",
    "__version__",
    "cpu_features",
    "info",
    "list_codecs",
    "list_metrics",
    "load",
    "set_num_threads",
    "verify",
]
