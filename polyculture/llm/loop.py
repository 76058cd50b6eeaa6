"""An event loop in a thread of its own, so that code without async can keep many requests in flight."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class BackgroundLoop:
    """An event loop in its own thread: calls work from any thread, and inside another loop, and share connections."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: asyncio.AbstractEventLoop | None = None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run ``work`` there and wait for it; an interrupt of the wait cancels it."""
        with self._lock:
            if self._running is None:
                self._running = asyncio.new_event_loop()
                threading.Thread(target=self._running.run_forever, daemon=True, name="polyculture-endpoint").start()
                weakref.finalize(self, self._running.call_soon_threadsafe, self._running.stop)
        future = asyncio.run_coroutine_threadsafe(work, self._running)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Stop the thread; the next ``run`` starts another."""
        with self._lock:
            if self._running is not None:
                self._running.call_soon_threadsafe(self._running.stop)
                self._running = None
