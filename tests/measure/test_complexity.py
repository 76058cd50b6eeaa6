import math

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.measure.complexity import (
    complexity_score,
    difficulty,
    expression_size,
    human_level,
    ifd,
    length,
    one_integer,
    tree_complexity,
)
from polyculture.measure.undefined import UndefinedMeasureWarning


def test_length():
    assert length(["a b", "a", "a b c d e"]) == {"mean": pytest.approx(8 / 3), "median": 2.0}
    with pytest.raises(BadInput, match="length needs at least one text"):
        length([])


def test_trees_count_every_kind_of_node():
    assert expression_size("x") == (2, 2)  # Name and its Load context
    assert expression_size(" 1 ") == (1, 1)
    assert tree_complexity(["1", "1+2*3"]) == {"n_nodes": 4.0, "depth": 2.0}
    with pytest.raises(BadInput, match="row 2: 'x = 1' is not a Python expression"):
        tree_complexity(["1", "x = 1"])


def test_a_long_chain_is_no_recursion_error():
    assert expression_size("x" + "+x" * 500)[1] == 502


def test_human_level_leaves_out_what_has_none():
    with pytest.warns(UserWarning, match="leaves out 1"):
        assert human_level([1, 3, math.nan]) == 2.0
    with pytest.warns(UndefinedMeasureWarning):
        assert math.isnan(human_level([math.nan]))
    with pytest.raises(BadInput):
        human_level([])


def test_difficulty_is_the_failure_rate():
    tries = iter([True, False, False, False] + [True] * 4)
    np.testing.assert_allclose(difficulty(["hard", "easy"], lambda s: next(tries), tries=4), [0.75, 0.0])
    with pytest.raises(BadInput, match="at least one try"):
        difficulty(["a"], bool, tries=0)
    with pytest.raises(BadInput, match="at least one sample"):
        difficulty([], bool)


def test_ifd_above_one_means_the_instruction_does_not_help():
    np.testing.assert_allclose(ifd([[-1.0, -1.0], [-3.0]], [[-2.0, -2.0], [-1.0]]), [math.exp(-1), math.exp(2)])
    with pytest.raises(BadInput, match="row 1"):
        ifd([[-1.0]], [[-1.0, -2.0]])
    with pytest.raises(BadInput, match="2 samples with instruction, 1 without"):
        ifd([[-1.0], [-1.0]], [[-1.0]])


def test_a_judge_that_loses_count_is_not_believed():
    seen = []

    def judge(batch):
        seen.append(list(batch))
        return [3] if len(batch) == 2 else ["6"]

    found = complexity_score(["a", "b", "c"], judge, batch=2)
    assert seen == [["a", "b"], ["c"]]
    assert found.mean == 6.0 and found.n_missing == 2
    with pytest.warns(UndefinedMeasureWarning, match="no usable score"):
        assert math.isnan(complexity_score(["a"], lambda batch: ["seven"]).mean)
    with pytest.raises(BadInput, match="at least one text at a time"):
        complexity_score(["a"], judge, batch=0)


@pytest.mark.parametrize(
    ("answer", "value"),
    [("4", 4), ("score 4.", 4), ("4/5", None), ("4.5", None), ("7", None), (None, None), (True, None)],
)
def test_exactly_one_integer_in_range(answer, value):
    found = one_integer(answer, 1, 6)
    assert math.isnan(found) if value is None else found == value
