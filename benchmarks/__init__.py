"""Benchmarks; their results are in RESULTS.md."""
