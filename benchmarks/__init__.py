"""Measures speed, always beside something on the same machine in the same run. See docs/benchmarks.md."""
