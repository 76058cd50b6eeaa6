"""How long work says where it is: a callable that the caller passes in, and that costs nothing when it does not."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many units are done, and how many there are."""


def silent(what: str, done: int, total: int) -> None:
    """Say nothing."""
