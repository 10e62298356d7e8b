"""Benchmarks: one file per question, fixed seed and size; run as `python -m benchmarks.NAME`."""
