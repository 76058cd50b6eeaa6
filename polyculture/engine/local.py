"""Work in this process, one item after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Self

from polyculture.engine.base import R, T


class LocalEngine:
    """Runs each item when its result is asked for. No pickling: a worker may hold anything."""

    workers = 1

    def map(self, make_worker: Callable[[], Callable[[T], R]], items: Iterable[T]) -> Iterator[R]:
        """The result for each item, in order; the worker is made when the first is asked for."""
        worker = None
        for item in items:
            if worker is None:
                worker = make_worker()
            yield worker(item)

    def close(self) -> None:
        """Nothing was started."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None
