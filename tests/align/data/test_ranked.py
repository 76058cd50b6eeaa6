import numpy as np
import pytest

from polyculture.align.data.ranked import has_answers, pair_rows, ranked_pairs
from polyculture.errors import BadInput, UnknownMethod

NAN = float("nan")


def indices(scores, **how):
    return [(pair.chosen, pair.rejected) for pair in ranked_pairs(scores, **how)]


def test_four_answers_give_three_pairs_from_the_widest_gap_to_the_narrowest():
    pairs = ranked_pairs([5, 3, 4, 2])
    assert [(p.chosen, p.rejected, p.gap) for p in pairs] == [(0, 3, 3.0), (0, 1, 2.0), (0, 2, 1.0)]
    assert [p.ease for p in pairs] == [3.0, 2.0, 1.0]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([], []),
        ([4], []),
        ([2, 2, 2], []),
        ([1, 4, 4, 2], [(1, 0), (1, 3)]),
        ([3, 1, 1], [(0, 1), (0, 2)]),
        ([NAN, 1, 2], [(2, 1)]),
        ([NAN, NAN], []),
        ([NAN, 3], []),
        ([float("-inf"), 0.0, float("inf")], [(2, 0), (2, 1)]),
    ],
)
def test_ties_nan_and_lone_answers_give_no_made_up_order(scores, expected):
    assert indices(scores) == expected


def test_the_easiest_are_kept_in_every_order():
    scores = [9, 1, 2, 5, 7]
    assert indices(scores, max_pairs=2) == [(0, 1), (0, 2)]
    assert indices(scores, max_pairs=2, order="hard_to_easy") == [(0, 2), (0, 1)]
    assert indices(scores, order="hard_to_easy") == indices(scores)[::-1]
    shuffled = {tuple(indices(scores, max_pairs=2, order="random", rng=seed)) for seed in range(20)}
    assert shuffled == {((0, 1), (0, 2)), ((0, 2), (0, 1))}
    assert indices(scores, order="random", rng=3) == indices(scores, order="random", rng=3)
    assert indices(scores, max_pairs=0) == []


def test_equally_easy_pairs_keep_the_order_of_the_answers():
    assert indices([1, 5, 1, 1]) == [(1, 0), (1, 2), (1, 3)]
    assert indices([1, 5, 1, 1], order="hard_to_easy") == [(1, 0), (1, 2), (1, 3)]


def test_narrow_gaps_can_be_left_out():
    assert indices([5, 4.5, 4, 2], min_gap=1) == [(0, 3), (0, 2)]


def test_another_criterion_orders_but_does_not_choose():
    pairs = ranked_pairs([5, 3, 4, 2], criterion=[-10.0, -30.0, -11.0, -5.0])
    assert [(p.rejected, p.gap, p.ease) for p in pairs] == [(1, 2.0, 20.0), (2, 1.0, 1.0), (3, 3.0, -5.0)]
    assert indices([NAN, 3, 4], criterion=[NAN, 1.0, 2.0]) == [(2, 1)]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"criterion": [1.0]}, "one number an answer, 2 of them"),
        ({"criterion": [1.0, NAN]}, "none NaN"),
        ({"min_gap": -1}, "0 or more"),
        ({"min_gap": NAN}, "0 or more"),
        ({"max_pairs": -1}, "0 or more"),
    ],
)
def test_what_ranked_pairs_refuse(how, message):
    with pytest.raises(BadInput, match=message):
        ranked_pairs([1, 2], **how)


def test_a_table_of_ratings_and_a_mistyped_order_are_named():
    with pytest.raises(BadInput, match=r"shape is \(1, 2\)"):
        ranked_pairs([[1, 2]])
    with pytest.raises(UnknownMethod, match="did you mean 'easy_to_hard'"):
        ranked_pairs([1, 2], order="easy_to_hrd")


def test_rows_of_answers_become_rows_of_pairs():
    rows = [
        {"prompt": "q", "responses": ["a", "b", "c"], "scores": [1, 3.0, np.float32(2)], "source": "here"},
        {"prompt": "lone", "responses": ["a"], "scores": [1]},
    ]
    made = pair_rows(rows)
    assert made.rows == [
        {"prompt": "q", "source": "here", "chosen": "b", "rejected": "a", "margin": 2.0},
        {"prompt": "q", "source": "here", "chosen": "b", "rejected": "c", "margin": 1.0},
    ]
    assert made.prompts == [0, 0]
    assert {k: n for k, n in made.counts.items() if n} == {"fewer than two answers": 1}
    assert has_answers(rows[0]) and not has_answers(made.rows[0])


def test_repeated_unrated_tied_and_close_answers_are_counted():
    rows = [
        {"responses": ["a", "b", "a", "c", "d"], "scores": [4, 1, 2, None, NAN]},  # a is 3 on average, b 1
        {"responses": ["a", "b", "c"], "scores": [2, 2, 1.5]},
    ]
    made = pair_rows(rows, min_gap=1)
    assert [(row["chosen"], row["rejected"], row["margin"]) for row in made.rows] == [("a", "b", 2.0)]
    assert {k: n for k, n in made.counts.items() if n} == {
        "unrated": 2,
        "repeated": 1,
        "two answers": 1,
        "tied with the best": 1,
        "too small a gap": 1,
    }


def test_chats_stay_chats_and_a_text_that_answers_one_becomes_a_turn():
    chat = [{"role": "user", "content": "q"}]
    turns = [[{"role": "assistant", "content": text}] for text in ("a", "b", "a")]
    made = pair_rows([{"prompt": chat, "responses": turns, "scores": [1, 2, 1]}])
    assert made.rows == [{"prompt": chat, "chosen": turns[1], "rejected": turns[0], "margin": 1.0}]
    assert pair_rows([{"prompt": chat, "responses": ["a", "b"], "scores": [1, 2]}]).rows == made.rows


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "q", "responses": ["a"]}, "row 1: column 'scores' is missing; columns are prompt, responses"),
        ({"responses": "a", "scores": [1]}, "row 1: column 'responses' is not a list"),
        ({"responses": ["a", "b"], "scores": [1]}, "there are 2 responses and 1 scores"),
        ({"responses": ["a"], "scores": ["good"]}, "row 1: the score 'good' should be a number"),
        ({"responses": ["a"], "scores": [True]}, "the score True should be a number"),
        ({"responses": ["a"], "scores": [float("inf")]}, "should be finite"),
        ({"responses": [3], "scores": [1]}, "a text or a list of chat messages, not int"),
    ],
)
def test_what_a_row_of_answers_must_hold(row, message):
    with pytest.raises(BadInput, match=message):
        pair_rows([row])


def test_rows_are_numbered_as_the_caller_counts_them():
    with pytest.raises(BadInput, match="row 7: column 'scores'"):
        pair_rows([{"responses": ["a"]}], first=7)
