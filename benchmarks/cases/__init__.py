"""The benchmark cases of the engine: `python -m benchmarks --case NAME` runs one (see `--help`)."""
