import numpy as np
import pytest
import torch

from polyculture.align import METHODS
from polyculture.align.objective import Objective, names
from polyculture.align.staged.curriculum import CurryDPO
from polyculture.errors import BadInput, UnknownMethod
from polyculture.methods import build, inputs, parameters

RATINGS = [[5, 3, 4, 2], [8, 7.5, 1, 4], [3, 3, 1, 2]]


def ranked_rows(ratings=RATINGS):
    return [
        {"prompt": f"q{i}", "responses": [f"{i}{j}" for j in range(len(row))], "scores": row}
        for i, row in enumerate(ratings)
    ]


def sides(stages):
    return [[(row["chosen"], row["rejected"]) for row in stage] for stage in stages]


def test_ranked_rows_are_staged_by_their_ratings():
    plan = CurryDPO().plan(ranked_rows())
    assert sides(plan.stages) == [
        [("00", "03"), ("10", "12"), ("20", "22")],
        [("00", "01"), ("10", "13"), ("20", "23")],
        [("00", "02"), ("10", "11")],
    ]
    assert plan.criterion == "rating" and plan.mode == "per_prompt" and plan.counts == {"tied with the best": 1}
    assert plan.stages[2][1] == {
        "prompt": "q1", "chosen": "10", "rejected": "11", "margin": 0.5, "ease": 0.5, "stage": 3,
    }  # fmt: skip


def test_ranked_rows_can_be_staged_by_the_reference():
    curry = CurryDPO(criterion="reference")
    stages = curry.stages(ranked_rows([[5, 3, 4, 2]]), lambda pairs: [float(row["rejected"] == "02") for row in pairs])
    assert sides(stages) == [[("00", "02")], [("00", "01")], [("00", "03")]]


def test_pairs_without_ratings_are_cut_by_the_reference_in_equal_parts():
    pairs = [{"chosen": f"c{i}", "rejected": f"r{i}"} for i in range(7)]
    leads = [0.0, -3.0, 5.0, 1.0, -1.0, 2.0, -9.0]
    plan = CurryDPO().plan(pairs, lambda rows: leads)
    assert [[row["ease"] for row in stage] for stage in plan.stages] == [[5.0, 2.0], [1.0, 0.0, -1.0], [-3.0, -9.0]]
    assert plan.criterion == "reference" and plan.mode == "global" and not plan.counts
    assert pairs[0] == {"chosen": "c0", "rejected": "r0"}, "the caller's rows are left as they were"


def test_pairs_that_the_reference_can_not_read_are_left_out_and_counted():
    pairs = [{"chosen": f"c{i}", "rejected": f"r{i}"} for i in range(4)]
    plan = CurryDPO(iterations=3).plan(pairs, lambda rows: [1.0, float("nan"), 3.0, 2.0])
    assert [[row["chosen"] for row in stage] for stage in plan.stages] == [["c2"], ["c3"], ["c0"]]
    assert plan.counts == {"can't be trained on": 1}


def test_pairs_with_margins_are_cut_by_them():
    pairs = [{"chosen": "a", "rejected": "b", "margin": m} for m in (1.0, 0.0, 5.0, 3.0)]
    pairs.append({"chosen": "a", "rejected": "b", "score_chosen": 9, "score_rejected": 7})
    plan = CurryDPO(iterations=2, min_gap=1.5).plan(pairs)
    assert [[row["margin"] for row in stage] for stage in plan.stages] == [[5.0, 3.0], [2.0]]
    assert plan.counts == {"tied with the best": 1, "too small a gap": 1} and plan.criterion == "rating"
    assert CurryDPO(iterations=1, criterion="reference").plan(pairs, lambda rows: [0.0] * len(rows)).stages[0]


def test_gaps_can_be_standardised_by_a_column_or_by_the_prompt():
    rows = ranked_rows([[10.0, 0.0, 9.0], [1.0, 0.0, 0.5]])
    named = [{**row, "set": name} for row, name in zip(rows, "ab", strict=True)]
    for how in ("prompt", "column:set"):
        first = CurryDPO(mode="global", iterations=2, standardise=how).stages(named)[0]
        assert {row["prompt"] for row in first} == {"q0", "q1"}
    with pytest.raises(BadInput, match="standardise: column 'set' is missing; columns are prompt"):
        CurryDPO(mode="global", standardise="column:set").stages(rows)


def test_pairs_are_standardised_with_those_of_their_prompt():
    pairs = [
        {"prompt": prompt, "chosen": "a", "rejected": "b", "margin": margin}
        for prompt, margin in (("ten", 10.0), ("ten", 1.0), ("one", 1.0), ("one", 0.5))
    ]
    first = CurryDPO(iterations=2, standardise="prompt").stages(pairs)[0]
    assert [(row["prompt"], row["margin"]) for row in first] == [("ten", 10.0), ("one", 1.0)]


def test_two_answers_a_prompt_are_no_curriculum_and_said_to_be_so():
    with pytest.warns(UserWarning) as said:
        stages = CurryDPO().stages(ranked_rows([[1, 2], [2, 1]]))
    assert len(stages) == 1 and len(stages[0]) == 2
    assert "to 2 of 2 prompts; give more answers" in str(said[0].message)
    assert "there are pairs for 1 of 3 stages" in str(said[1].message)


@pytest.mark.parametrize(
    ("rows", "how", "gap", "message"),
    [
        ([], {}, None, "there is no pair to train on"),
        (ranked_rows([[1], [2, 2]]), {}, None, r"no pair .*1 fewer than two answers.*1 tied with the best"),
        ([*ranked_rows(), {"chosen": "a", "rejected": "b"}], {}, None, "row 4: rows should all have"),
        ([{"chosen": "a"}], {}, None, "row 1: column 'rejected' is missing"),
        ([{"chosen": "a", "rejected": "b"}], {}, None, "give reference_gap"),
        ([{"chosen": "a", "rejected": "b"}], {"criterion": "rating"}, None, "use criterion 'reference'"),
        ([{"chosen": "a", "rejected": "b"}], {"min_gap": 1.0}, None, "min_gap is about ratings"),
        ([{"chosen": "a", "rejected": "b", "margin": -1}], {}, None, "row 1: the margin is -1"),
        ([{"chosen": "a", "rejected": "b"}], {}, lambda rows: [float("inf")], "one finite number, or NaN, a pair: 1"),
        ([{"chosen": "a", "rejected": "b"}], {}, lambda rows: [float("nan")], r"no pair .*1 can't be trained on"),
        ([{"chosen": "a", "rejected": "b"}], {}, lambda rows: [1.0, 2.0], "one finite number, or NaN, a pair: 1"),
    ],
)
def test_rows_that_make_no_curriculum_are_told_why(rows, how, gap, message):
    with pytest.raises(BadInput, match=message):
        CurryDPO(**how).plan(rows, gap)


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"beta": 0.0}, BadInput, "beta of curry-dpo should be above 0"),
        ({"iterations": 0}, BadInput, "iterations should be 1 or more"),
        ({"min_gap": -1.0}, BadInput, "min_gap 0 or more"),
        ({"criterion": "ratings"}, UnknownMethod, "did you mean 'rating'"),
        ({"mode": "globl"}, UnknownMethod, "did you mean 'global'"),
        ({"order": "hard_to_eas"}, UnknownMethod, "did you mean 'hard_to_easy'"),
        ({"update_reference": "each_stge"}, UnknownMethod, "did you mean 'each_stage'"),
        ({"standardise": "promt"}, UnknownMethod, "did you mean 'prompt'"),
    ],
)
def test_hyper_parameters_are_checked_when_they_are_given(how, error, message):
    with pytest.raises(error, match=message):
        CurryDPO(**how)


def test_it_is_found_by_name_and_is_no_loss():
    made = build("align", "curry-dpo", beta="0.2", iterations="2", mode="global")
    assert made == CurryDPO(beta=0.2, iterations=2, mode="global") and METHODS["curry-dpo"] is CurryDPO
    assert all(p.help for p in parameters(CurryDPO).values()) and not inputs(CurryDPO)
    assert "curry-dpo" not in names() and "curry-dpo" not in names("pairs") and "dpo" in names("pairs")
    with pytest.raises(BadInput, match="'curry-dpo' is not one objective but a way to train with one"):
        Objective.of("curry-dpo")


def test_each_stage_trains_plain_dpo():
    given = {f"{who}_{side}": torch.tensor([v]) for who, side, v in (
        ("policy", "chosen", -1.0), ("policy", "rejected", -4.0), ("ref", "chosen", -2.0), ("ref", "rejected", -3.0),
    )}  # fmt: skip
    expected = np.log1p(np.exp(-0.3 * 2))
    assert CurryDPO(beta=0.3).objective(given).item() == pytest.approx(expected, rel=1e-6)
