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
    """Sums and counts of metrics since they were last read; the sums stay on their device until then."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

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
            own = values.detach().double().sum()
            self._sums[name] = self._sums[name] + own if name in self._sums else own
            self._counts[name] = self._counts.get(name, 0) + values.numel()

    def means(self, accelerator: Any) -> dict[str, float]:
        """The means over all processes; the sums begin anew. Every process must ask, and have the same metrics.

        Args:
            accelerator: of the trainer.
        """
        names = sorted(self._sums)
        if not names:
            return {}
        sums = torch.stack([self._sums[name].to(accelerator.device) for name in names])
        counts = torch.tensor([self._counts[name] for name in names], dtype=sums.dtype, device=accelerator.device)
        flat = torch.stack((sums, counts), dim=1).float()
        if accelerator.num_processes > 1:
            flat = accelerator.reduce(flat, reduction="sum")
        self._sums.clear()
        self._counts.clear()
        rows = zip(names, flat.tolist(), strict=True)
        return {name: total / count for name, (total, count) in rows if count}
