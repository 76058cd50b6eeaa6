"""What a step says of itself besides its loss: rewards, accuracy, likelihoods, as means over all its examples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from polyculture.align.mixture import Mixture
from polyculture.align.objective import Objective

LOGGED = {"policy": "logps", "mean": "logps_per_token", "kl": "kl"}
LOSS = "loss of part"


class MetricSums:
    """Sums and counts of metrics since they were last read, which stay on their device until then."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def add(self, objective: Objective | Mixture, given: Mapping[str, Tensor]) -> None:
        """Add a batch.

        Args:
            objective: whose implicit rewards are measured.
            given: the inputs of the batch.
        """
        found: dict[str, Tensor] = {}
        rewards = objective.rewards(given)
        if rewards is not None:
            chosen, rejected = rewards
            found = {
                "rewards/chosen": chosen,
                "rewards/rejected": rejected,
                "rewards/margins": chosen - rejected,
                "rewards/accuracies": (chosen > rejected).float(),
            }
        if isinstance(objective, Objective):
            found |= objective.metrics(given)
        for kind, shown in LOGGED.items():
            for side in ("chosen", "rejected"):
                if f"{kind}_{side}" in given:
                    found[f"{shown}/{side}"] = given[f"{kind}_{side}"]
        if "policy" in given:
            wanted = given["desirable"].bool()
            found |= {"logps/desirable": given["policy"][wanted], "logps/undesirable": given["policy"][~wanted]}
        for name, values in found.items():
            self._add(name, values, values.numel())

    def add_losses(
        self, objective: Objective | Mixture, given: Mapping[str, Tensor], own: int, weights: Tensor | None = None
    ) -> None:
        """Add the losses of a batch, for the ``loss`` of :meth:`means`: the mean over all examples of all batches.

        Args:
            objective: whose losses.
            given: the inputs of the batch.
            own: how many examples it has; there may be none, so that every process has the same metrics.
            weights: (B,) what each example's losses are multiplied by.
        """
        for number, (weight, part) in enumerate(
            objective.parts if isinstance(objective, Mixture) else [(1, objective)]
        ):
            losses = weight * part(given) if own else next(iter(given.values())).new_zeros(0)
            count = given["tokens_chosen"].sum() if part.traits.per == "token" else own
            self._add(f"{LOSS}{number}", losses if weights is None else losses * weights, count)

    def add_mean(self, name: str, mean: Tensor, count: int) -> None:
        """Add what is a mean already.

        Args:
            name: of the metric.
            mean: a scalar.
            count: of how many examples it is.
        """
        self._add(name, mean * count, count)

    def means(self, accelerator: Any) -> dict[str, float]:
        """The means over all processes; the sums begin anew. Every process must ask, and have the same metrics.

        Args:
            accelerator: of the trainer.
        """
        names = sorted(self._sums)
        if not names:
            return {}
        flat = torch.stack([self._sums[name].to(accelerator.device) for name in names]).float()
        if accelerator.num_processes > 1:
            flat = accelerator.reduce(flat, reduction="sum")
        self._sums.clear()
        found = {name: total / count for name, (total, count) in zip(names, flat.tolist(), strict=True) if count}
        parts = [found.pop(name) for name in names if name.startswith(LOSS) and name in found]
        return {"loss": math.fsum(parts), **found} if parts else found

    def _add(self, name: str, values: Tensor, count: Tensor | int) -> None:
        wide = torch.float32 if values.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
        total = values.detach().to(wide).sum()
        pair = torch.stack((total, torch.as_tensor(count, dtype=wide, device=total.device)))
        self._sums[name] = self._sums[name] + pair if name in self._sums else pair


def counts(batches: Sequence[Mapping[str, Any]]) -> Tensor:
    """(2,) float64: the examples of batches, and the tokens of their first completions.

    Args:
        batches: that a layout made; of one with ``own`` only so many examples count, the first ones.
    """
    own = [batch.get("own", len(batch["index"])) for batch in batches]
    tokens = sum(int(batch["mask"][:n].sum()) for n, batch in zip(own, batches, strict=True))
    return torch.tensor([sum(own), tokens], dtype=torch.float64)


def own_examples(accelerator: Any, size: int) -> int:
    """How many of a batch's examples are new: accelerate fills an epoch's last one up with some that have been.

    Args:
        accelerator: of the trainer, in the midst of its batches.
        size: examples of the batch.
    """
    state, processes = accelerator.gradient_state, accelerator.num_processes
    if not state.end_of_dataloader or processes == 1 or state.active_dataloader._drop_last:
        return size
    # Not the state's own remainder: in the epoch that a training is resumed in, it is not known.
    remainder = len(state.active_dataloader.dataset) % (size * processes)
    return min(max(remainder - accelerator.process_index * size, 0), size) if remainder else size
