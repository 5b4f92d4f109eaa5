"""Filtered search: predicates by selectivity and correlation, other libraries, tables and plots (see ../README.md)."""
