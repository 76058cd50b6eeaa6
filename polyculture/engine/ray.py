"""Work on Ray: a pool of actors, on this machine or a cluster."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Self

from polyculture.engine.base import R, T
from polyculture.errors import BadInput, PolycultureError, need

IN_FLIGHT = 2
"""Items handed to an actor at a time: one in work, one waiting, so that it never idles between two."""


class _Actor:
    """Lives in a Ray worker process; makes its worker once."""

    def __init__(self, make_worker: Callable[[], Callable[[Any], Any]]) -> None:
        self._make = make_worker
        self._worker: Callable[[Any], Any] | None = None

    def work(self, item: Any) -> Any:
        # Made here, not in __init__: an error while loading the model then reaches the caller as itself.
        if self._worker is None:
            self._worker = self._make()
        return self._worker(item)


class RayEngine:
    """Runs items on a pool of Ray actors; results come in order.

    At most ``2 * IN_FLIGHT * workers`` items are out or waiting to be given back, so a long input never fills memory.
    Ray is started or joined at the first use. A Ray that this engine started is shut down by :meth:`close`, one that
    was there is left running.

    Args:
        address: "ray://host:port", "host:port", or "auto" for the one that runs here; None starts one on this machine.
        workers: actors; None makes one for each ``cpus`` processors of the Ray.
        cpus: processors an actor takes; numerical libraries in it use that many threads.
        gpus: GPUs an actor takes, fractions allowed.
    """

    def __init__(
        self, address: str | None = None, *, workers: int | None = None, cpus: float = 1, gpus: float = 0
    ) -> None:
        if workers is not None and workers < 1:
            raise BadInput(f"workers should be 1 or more, not {workers}")
        if cpus <= 0 or gpus < 0:
            raise BadInput(f"an actor needs cpus > 0 and gpus >= 0, not cpus = {cpus} and gpus = {gpus}")
        self.address = address
        self._wanted = workers
        self._cpus = cpus
        self._gpus = gpus
        self._joined = False
        self._ray = need("ray", "ray")

    @property
    def workers(self) -> int:
        """How many actors a map uses; starts or joins Ray to see how many processors there are."""
        if self._wanted is not None:
            return self._wanted
        self._start()
        return max(1, int(self._ray.cluster_resources().get("CPU", 1) // self._cpus))

    def map(self, make_worker: Callable[[], Callable[[T], R]], items: Iterable[T]) -> Iterator[R]:
        """The result for each item, in order.

        Raises:
            Exception: what the worker raised, caused by Ray's account of where it was.
            PolycultureError: a worker process died, for want of memory for example.
        """
        self._start()
        ray, source = self._ray, enumerate(items)
        remote = ray.remote(num_cpus=self._cpus, num_gpus=self._gpus)(_Actor)
        limit, made = self.workers, ray.put(make_worker)
        actors: list[Any] = []
        free: deque[Any] = deque()
        waiting: dict[Any, tuple[int, Any]] = {}
        done: dict[int, Any] = {}
        following, slots, exhausted = 0, 0, False
        try:
            while True:
                while not exhausted and len(waiting) + len(done) < 2 * IN_FLIGHT * limit:
                    if not free:
                        if slots == IN_FLIGHT * limit:
                            break
                        if slots < limit:  # actors are made as there is work for them, and each gets one item first
                            actors.append(remote.remote(made))
                        free.append(actors[slots % limit])
                        slots += 1
                    number, item = next(source, (-1, None))
                    if number < 0:
                        exhausted = True
                        break
                    actor = free.popleft()
                    waiting[actor.work.remote(item)] = (number, actor)
                if following in done:
                    reference = done.pop(following)
                    yield self._result(reference, following)
                    del reference  # lets Ray drop the result
                    following += 1
                elif waiting:
                    for reference in ray.wait(list(waiting), num_returns=1)[0]:
                        number, actor = waiting.pop(reference)
                        done[number] = reference
                        free.append(actor)
                else:
                    return
        finally:
            if ray.is_initialized():
                for actor in actors:
                    ray.kill(actor)

    def close(self) -> None:
        """Shut down the Ray that this engine started, or leave the one it joined."""
        if self._joined:
            self._joined = False
            self._ray.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self) -> None:
        if self._ray.is_initialized():
            return
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
        try:
            if self.address is None:
                # sched_getaffinity and not cpu_count: the processors this process may use.
                self._ray.init(num_cpus=len(os.sched_getaffinity(0)), include_dashboard=False, **quiet)
            else:
                self._ray.init(address=self.address, **quiet)
        except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
            where = self.address or "on this machine"
            raise BadInput(f"can't reach a Ray {where}: {error}; '--engine ray' starts one here") from error
        self._joined = True

    def _result(self, reference: Any, number: int) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(reference)
        except errors.RayTaskError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, Exception):
                raise cause from error
            raise
        except errors.RayActorError as error:
            raise PolycultureError(f"the Ray worker of item {number + 1} died: {error}") from error
