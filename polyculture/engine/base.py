"""Engines: where work over many items runs. A worker is made once where it will work, then handed item after item."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Protocol, Self, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Engine(Protocol):
    """Runs a function over items. Engines are context managers: leaving one frees what it started."""

    @property
    def workers(self) -> int:
        """How many items are worked on at the same time."""

    def map(self, make_worker: Callable[[], Callable[[T], R]], items: Iterable[T]) -> Iterator[R]:
        """The result for each item, lazily and in the order of the items.

        Args:
            make_worker: called once a worker, where the work is done: it loads the model and gives back the function
                that is called with each item. An engine on other processes pickles it.
            items: read as they are needed, not all at once.

        Raises:
            Exception: whatever the worker raised, at the place of the item that caused it.
        """

    def close(self) -> None:
        """Free what the engine started. Closing twice is harmless, and a closed engine starts again when used."""

    def __enter__(self) -> Self:
        """The engine."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
