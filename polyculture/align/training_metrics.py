"""What a step says of itself besides its loss: rewards, accuracy, likelihoods, as means over all its examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from polyculture.align.mixture import Mixture
from polyculture.align.objective import Objective

LOGGED = {"policy": "logps", "mean": "logps_per_token", "kl": "kl"}


class MetricSums:
    """Sums and counts of metrics since they were last read."""

    def __init__(self) -> None:
        self._sums: dict[str, list[float]] = {}

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
            held = self._sums.setdefault(name, [0.0, 0.0])
            held[0] += float(values.detach().double().sum())
            held[1] += values.numel()

    def means(self, accelerator: Any) -> dict[str, float]:
        """The means over all processes; the sums begin anew. Every process must ask, and have the same metrics.

        Args:
            accelerator: of the trainer.
        """
        names = sorted(self._sums)
        if not names:
            return {}
        flat = torch.tensor([self._sums[name] for name in names], dtype=torch.float32, device=accelerator.device)
        if accelerator.num_processes > 1:
            flat = accelerator.reduce(flat, reduction="sum")
        self._sums.clear()
        rows = zip(names, flat.tolist(), strict=True)
        return {name: total / count for name, (total, count) in rows if count}
