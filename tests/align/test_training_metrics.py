"""Means of metrics over batches of different sizes."""

from types import SimpleNamespace

import torch

from polyculture.align.objective import Objective
from polyculture.align.training_metrics import MetricSums

ALONE = SimpleNamespace(device="cpu", num_processes=1)


def given(chosen: list[float], rejected: list[float]) -> dict[str, torch.Tensor]:
    zero = torch.zeros(len(chosen))
    return {
        "policy_chosen": torch.tensor(chosen, requires_grad=True),
        "policy_rejected": torch.tensor(rejected),
        "ref_chosen": zero,
        "ref_rejected": zero,
    }


def test_means_are_over_examples_and_begin_anew() -> None:
    objective = Objective.of("dpo", beta=0.5)
    sums = MetricSums()
    assert sums.means(ALONE) == {}
    sums.add(objective, given([-1.0, -2.0, -3.0], [-2.0, -2.0, -2.0]))
    sums.add(objective, given([-10.0], [-14.0]))
    found = sums.means(ALONE)
    assert found["logps/chosen"] == -4 and found["logps/rejected"] == -5
    assert found["rewards/chosen"] == -2 and found["rewards/margins"] == 0.5 and found["rewards/accuracies"] == 0.5
    assert sums.means(ALONE) == {}
    sums.add(objective, given([-8.0], [-9.0]))
    assert sums.means(ALONE)["logps/chosen"] == -8
