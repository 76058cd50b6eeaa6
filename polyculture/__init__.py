"""One workbench for quality and diversity in generative AI: measure the frontier of any pool, then push it out."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """``polyculture.Pool`` and ``polyculture.read_pool``, imported on first use: the command line starts fast."""
    if name == "Pool":
        from polyculture.pool import Pool

        return Pool
    if name == "read_pool":
        from polyculture.reading import read_pool

        return read_pool
    raise AttributeError(f"module 'polyculture' has no attribute '{name}'")
