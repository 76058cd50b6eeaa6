"""Polyculture beside the peers a user would pick: ``python -m benchmarks --write docs/benchmarks.md``."""
