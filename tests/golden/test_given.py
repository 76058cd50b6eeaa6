"""What adapters share: numbers as cases write them, and answers by names that a case chooses."""

import math

import pytest

from polyculture.errors import UnknownMethod
from tests.golden.adapters import dno, dpo_survey, f_dpo
from tests.golden.adapters.given import Asked, given, tensor

PAIR = {
    "completion_mask": [[1, 1], [1, 0]],
    "policy_token_logps": [[-1.0, -0.5], [-2.0, 0.0]],
    "ref_token_logps": [[-0.5, -0.5], [-2.5, 0.0]],
}


def test_numbers_may_be_written_as_strings():
    assert tensor([["-inf", 1], ["2.5", "nan"]]).tolist()[0] == [-math.inf, 1.0]
    assert math.isnan(tensor(["nan"]).item())


def test_null_leaves_the_default():
    assert given({"beta": None, "tau": 0, "w": 1}, "beta", "tau", "gone", weight="w") == {"tau": 0, "weight": 1}


def test_answers_are_made_when_they_are_asked_for():
    made = []
    answers = Asked(lambda name: made.append(name) or len(name), ("a", "bb"))
    assert list(answers) == ["a", "bb"] and len(answers) == 2 and not made
    assert "ccc" in answers and answers["ccc"] == answers["ccc"] == 3 and made == ["ccc"]
    assert dict(answers.items()) == {"a": 1, "bb": 2}


def test_a_loss_that_is_not_listed_is_not_smoothed():
    found = dpo_survey.OPS["pairwise_losses"](PAIR, {"beta": 0.3, "label_smoothing": {"exo_pair": 0.01}})
    assert found["robust"]["loss"] == pytest.approx(found["sigmoid"]["loss"], abs=1e-12)
    smoothed = dpo_survey.OPS["pairwise_losses"](PAIR, {"beta": 0.3, "label_smoothing": {"robust": 0.2, "aot": 0.4}})
    assert smoothed["robust"]["loss"] != pytest.approx(found["robust"]["loss"], abs=1e-3)
    assert smoothed["aot"]["loss"] != pytest.approx(found["aot"]["loss"], abs=1e-3)


def test_every_name_of_a_loss_is_answered():
    found = dpo_survey.OPS["pairwise_losses"](PAIR, {"beta": 0.1, "lam": 2.0})
    for name in (
        "cdpo",
        "dpop",
        "cal_dpo",
        "slic_hf",
        "simpo",
        "alphapo",
        "cpo",
        "orpo",
        "asft",
        "r_dpo",
        "kto_paired",
    ):
        assert math.isfinite(found[name]["loss"])
    with pytest.raises(UnknownMethod):
        found["no_such_loss"]


def test_other_alphas_are_read_from_the_name():
    sides = {"policy_chosen": [-1.0], "policy_rejected": [-2.0], "ref_chosen": [-1.5], "ref_rejected": [-2.0]}
    found = f_dpo.OPS["f_dpo_losses"](sides, {"beta": 1})
    assert found["alpha=0.45"]["chosen_rewards"] == pytest.approx([-math.exp(-0.45 * 0.5) / 0.45])


def test_a_teacher_that_is_no_candidate_is_none():
    scores = [[6, None, 5], [6, None, 5]]
    found = dno.OPS["pair_filter"]({"scores": scores, "gold_index": [-1, 0]}, {})
    assert found["pairs"] == [[[0, 2]], []]
