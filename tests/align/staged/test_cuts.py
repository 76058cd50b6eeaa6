import numpy as np
import pytest

from polyculture.align.staged.cuts import curriculum_stages, cut_stages, standardised
from polyculture.errors import BadInput, UnknownMethod

RATINGS = [[5, 3, 4, 2], [8, 7.5, 1, 4], [3, 3, 1, 2]]


def triples(stages):
    return [[(p.prompt, p.chosen, p.rejected) for p in stage] for stage in stages]


def pooled(stages):
    return sorted(triple for stage in triples(stages) for triple in stage)


def test_a_stage_takes_each_prompts_next_pair():
    assert triples(curriculum_stages(RATINGS)) == [
        [(0, 0, 3), (1, 0, 2), (2, 0, 2)],
        [(0, 0, 1), (1, 0, 3), (2, 0, 3)],
        [(0, 0, 2), (1, 0, 1)],
    ]


def test_the_global_order_is_cut_in_equal_parts():
    stages = curriculum_stages(RATINGS, mode="global")
    gaps = [[pair.gap for pair in stage] for stage in stages]
    assert gaps == [[7.0, 4.0, 3.0], [2.0, 2.0], [1.0, 1.0, 0.5]]
    assert triples(stages)[1] == [(0, 0, 1), (2, 0, 2)], "equal gaps keep the order of prompts"


@pytest.mark.parametrize(
    ("n", "iterations", "sizes"), [(5, 2, [2, 3]), (7, 2, [4, 3]), (1, 3, [0, 1, 0]), (0, 2, [0, 0])]
)
def test_cuts_are_rounded(n, iterations, sizes):
    cut = cut_stages(range(n), np.zeros(n), mode="global", iterations=iterations)
    assert [len(stage) for stage in cut] == sizes and [i for stage in cut for i in stage] == list(range(n))


def test_orders_stage_the_same_pairs():
    ratings = [[9, 1, 2, 5, 7], [4, 3, 2, 1, 0], [1, 1]]
    for mode in ("per_prompt", "global"):
        easy, hard, shuffled = (
            curriculum_stages(ratings, mode=mode, order=order, iterations=2, rng=0)
            for order in ("easy_to_hard", "hard_to_easy", "random")
        )
        assert pooled(easy) == pooled(hard) == pooled(shuffled)
        assert np.mean([p.gap for p in easy[0]]) > np.mean([p.gap for p in easy[1]])
        assert np.mean([p.gap for p in hard[0]]) < np.mean([p.gap for p in hard[1]])
    assert curriculum_stages(ratings, order="random", rng=1) == curriculum_stages(ratings, order="random", rng=1)


def test_pairs_beyond_the_last_iteration_are_left_out_per_prompt_and_kept_globally():
    ratings = [[5, 4, 3, 2, 1]]
    assert triples(curriculum_stages(ratings, iterations=2)) == [[(0, 0, 4)], [(0, 0, 3)]]
    assert sum(len(stage) for stage in curriculum_stages(ratings, iterations=2, mode="global")) == 4
    assert triples(curriculum_stages(ratings, iterations=2, mode="global", max_pairs=2)) == [[(0, 0, 4)], [(0, 0, 3)]]


def test_another_criterion_orders_the_pairs():
    logps = [[0.0, -9.0, -1.0, -5.0]]
    assert triples(curriculum_stages([[5, 3, 4, 2]], criterion=logps)) == [[(0, 0, 1)], [(0, 0, 3)], [(0, 0, 2)]]


def test_a_global_order_can_put_scales_on_one_footing():
    ratings = [[10.0, 0.0, 9.0], [1.0, 0.0, 0.5]]
    plain = curriculum_stages(ratings, mode="global", iterations=2)
    scaled = curriculum_stages(ratings, mode="global", iterations=2, scales=["of ten", "of one"])
    assert triples(plain) == [[(0, 0, 1), (0, 0, 2)], [(1, 0, 1), (1, 0, 2)]]
    assert triples(scaled) == [[(0, 0, 1), (1, 0, 1)], [(1, 0, 2), (0, 0, 2)]]
    assert standardised([3.0, 4.0, 8.0], ["a", "a", "b"]) == pytest.approx([3 / 12.5**0.5, 4 / 12.5**0.5, 1.0])
    assert standardised([], []).shape == (0,) and list(standardised([0.0], ["a"])) == [0.0]


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"iterations": 0}, BadInput, "1 iteration or more, not 0"),
        ({"mode": "per_promt"}, UnknownMethod, "did you mean 'per_prompt'"),
        ({"order": "upwards"}, UnknownMethod, "order of a curriculum"),
        ({"criterion": [[1.0]]}, BadInput, "criterion should have one entry a prompt: 3, not 1"),
        ({"scales": ["a"]}, BadInput, "scales should have one entry a prompt: 3, not 1"),
    ],
)
def test_what_curriculum_stages_refuse(how, error, message):
    with pytest.raises(error, match=message):
        curriculum_stages(RATINGS, **how)
