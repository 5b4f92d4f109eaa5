"""Filters: which items may be results, in all the forms in which users write them. See docs/filters.md."""

from .expression import Expression, F
from .forms import EVERYTHING, CompiledFilter, CoreFilter, Filter, is_one_per_query, lower

__all__ = [
    "EVERYTHING",
    "CompiledFilter",
    "CoreFilter",
    "Expression",
    "F",
    "Filter",
    "is_one_per_query",
    "lower",
]
