"""Work that the processes of a distributed training share, and what they must agree on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process among those of a training; one alone without torch.distributed.

    Args:
        rank: of this process, from 0.
        size: how many there are.
        shared: whether each does a part of the work. Where the model itself is in parts (FSDP, ZeRO 3) every process
            has to take part in every forward pass, so each does all of it, and all do the same.
    """

    rank: int = 0
    size: int = 1
    shared: bool = True

    @classmethod
    def here(cls, *, sharded: bool = False) -> Ranks:
        """The processes of this training.

        Args:
            sharded: whether the model is in parts.
        """
        import torch.distributed as dist

        if not (dist.is_available() and dist.is_initialized()):
            return cls()
        return cls(dist.get_rank(), dist.get_world_size(), not sharded)

    def part(self, n: int) -> range:
        """Which of n pieces of work this process does."""
        return range(self.rank, n, self.size) if self.shared else range(n)

    def gather(self, mine: Sequence[T], n: int) -> list[T]:
        """Results of all n pieces in order, on every process, from the results of each one's part."""
        if self.size == 1 or not self.shared:
            return list(mine)
        import torch.distributed as dist

        held: list[Any] = [None] * self.size
        dist.all_gather_object(held, list(mine))
        found: list[Any] = [None] * n
        for rank, results in enumerate(held):
            found[rank :: self.size] = results
        return found

    def agreed(self, value: T) -> T:
        """What the first process holds, on every process."""
        if self.size == 1:
            return value
        import torch.distributed as dist

        held = [value]
        dist.broadcast_object_list(held, src=0)
        return held[0]
