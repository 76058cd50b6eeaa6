"""What an objective checks of a loss: one number an example where it is trained on; and the names it goes by."""

import pytest
import torch
from torch import Tensor

from polyculture.align.mixture import parse_objective
from polyculture.align.objective import Objective
from polyculture.errors import BadInput, UnknownMethod


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


# Of TRL 1.16's DPOTrainer and KTOTrainer; the last is of older releases.
SAME = ("hinge", "robust", "aot", "discopop", "sft", "kto", "ipo")
OTHER = {
    **{"sigmoid": "dpo", "sigmoid_norm": "dpo-norm", "exo_pair": "exo-pair", "nca_pair": "nca-pair"},
    **{"bco_pair": "bco-pair", "sppo_hard": "sppo-hard", "aot_unpaired": "aot-unpaired", "apo_zero": "apo-zero"},
    **{"apo_down": "apo-down", "apo_zero_unpaired": "apo-zero-unpaired", "aot_pair": "aot-unpaired"},
}


@pytest.mark.parametrize("name", SAME)
def test_trl_names_that_are_ours(name):
    assert Objective.of(name).name == name


@pytest.mark.parametrize(("name", "ours"), OTHER.items())
def test_trl_names_lead_to_ours(name, ours):
    for text in (name, f"0.8*{name} + sft"):
        with pytest.raises(UnknownMethod, match=rf"no align method '{name}'; .*'{ours}'"):
            parse_objective(text)
    assert Objective.of(ours).name == ours
