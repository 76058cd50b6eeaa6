"""Means of metrics over batches of different sizes."""

from types import SimpleNamespace

import torch

from polyculture.align.objective import Objective
from polyculture.align.training_metrics import MetricSums, own_examples

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


def test_what_fills_the_last_batch_up_is_told_apart() -> None:
    data = SimpleNamespace(dataset=range(23), _drop_last=False)
    state = SimpleNamespace(end_of_dataloader=True, active_dataloader=data)
    both = [SimpleNamespace(gradient_state=state, num_processes=2, process_index=i) for i in range(2)]
    assert [own_examples(one, 4) for one in both] == [4, 3]
    data.dataset = range(24)
    assert [own_examples(one, 4) for one in both] == [4, 4]
    data.dataset, data._drop_last = range(23), True
    assert [own_examples(one, 4) for one in both] == [4, 4]
    data._drop_last, state.end_of_dataloader = False, False
    assert [own_examples(one, 4) for one in both] == [4, 4]
