"""What an objective checks of a loss: one number an example where it is trained on."""

import pytest
import torch
from torch import Tensor

from polyculture.align.objective import Objective
from polyculture.errors import BadInput


def margin(policy_chosen: Tensor, policy_rejected: Tensor) -> Tensor:
    return policy_rejected - policy_chosen


def mean_margin(policy_chosen: Tensor, policy_rejected: Tensor) -> Tensor:
    return (policy_rejected - policy_chosen).mean()


def given(*shape: int) -> dict[str, Tensor]:
    return {"policy_chosen": torch.zeros(shape), "policy_rejected": torch.ones(shape)}


def test_the_total_is_the_mean_of_one_loss_an_example():
    assert Objective.of(margin).total(given(4), 4, 9).item() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("loss", "shape", "found"),
    [(mean_margin, (4,), r"shape \(\) for 4 examples"), (margin, (4, 3), r"shape \(4, 3\) for 4 examples")],
)
def test_a_loss_that_is_not_one_number_an_example_is_not_trained_on(loss, shape, found):
    with pytest.raises(BadInput, match=found + r"; return one loss an example, shape \(4,\)"):
        Objective.of(loss).total(given(*shape), 4, 9)


def test_a_loss_without_sums_takes_tables_of_examples():
    # Tables of exact models are (models, pairs); a loss of pairs reads them as it reads a batch.
    assert Objective.of(margin)(given(5, 3)).shape == (5, 3)
