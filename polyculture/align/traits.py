"""What a loss says of itself that the names of its arguments can't."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

Loss = Callable[..., Tensor]
"""A function of the inputs it names that gives one loss an example; see :mod:`polyculture.align.objective`."""


@dataclass(frozen=True)
class Traits:
    """What a loss says of itself besides its arguments.

    Args:
        rewards: from the loss's inputs and hyper-parameters, the implicit rewards (chosen, rejected) to log.
        of_difference: whether it depends on a pair only through the difference of the two sides' scores, so that
            whatever is the same for both answers to a prompt cancels.
        per: "pair", or "token": the losses are sums over tokens, to be divided by the number of chosen tokens.
        batch_coupled: whether a loss depends on the batch's other examples (a sort, a mean), so that examples can't be
            weighted one by one.
        metrics: from the loss's inputs and hyper-parameters, more to log by name, (B,) each; the names may depend on
            the hyper-parameters only.
        batch_means: options that are means over the batch unless they are given, each with what it is the mean of, (n,)
            from the loss's inputs and hyper-parameters; trainers take the batches of all processes together.
        running_means: the same, over all examples that were trained on; see :mod:`polyculture.align.pooled`.
    """

    rewards: Callable[..., tuple[Tensor, Tensor]] | None = None
    of_difference: bool = False
    per: Literal["pair", "token"] = "pair"
    batch_coupled: bool = False
    metrics: Callable[..., Mapping[str, Tensor]] | None = None
    batch_means: Mapping[str, Callable[..., Tensor]] = field(default_factory=dict)
    running_means: Mapping[str, Callable[..., Tensor]] = field(default_factory=dict)


def traits(
    *,
    rewards: Callable[..., tuple[Tensor, Tensor]] | None = None,
    of_difference: bool = False,
    per: Literal["pair", "token"] = "pair",
    batch_coupled: bool = False,
    metrics: Callable[..., Mapping[str, Tensor]] | None = None,
    batch_means: Mapping[str, Callable[..., Tensor]] | None = None,
    running_means: Mapping[str, Callable[..., Tensor]] | None = None,
) -> Callable[[Loss], Loss]:
    """Mark a loss with its :class:`Traits`.

    Args:
        rewards: see Traits, as for all the others.
        of_difference: as above.
        per: as above.
        batch_coupled: as above.
        metrics: as above.
        batch_means: as above.
        running_means: as above.
    """
    found = Traits(rewards, of_difference, per, batch_coupled, metrics, batch_means or {}, running_means or {})

    def mark(loss: Loss) -> Loss:
        loss.traits = found  # type: ignore[attr-defined]
        return loss

    return mark
