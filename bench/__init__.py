"""Benchmark harness: sweeps operating points of vector-search libraries on one data set (see README.md)."""
