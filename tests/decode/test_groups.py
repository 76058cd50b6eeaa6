from __future__ import annotations

import math

import numpy as np
import pytest

from polyculture.decode.groups import by_count, by_score, group_answers
from polyculture.errors import BadInput


def test_groups_in_order_of_first_appearance() -> None:
    groups = group_answers(["b", "a", "b", None, ""], [1.0, 5.0, 3.0, 9.0, 9.0])
    assert [(g.key, g.members, g.count, g.freq, g.mean_score, g.representative) for g in groups] == [
        ("b", (0, 2), 2, 0.4, 2.0, 2),
        ("a", (1,), 1, 0.2, 5.0, 1),
    ]


def test_ties_go_to_the_first() -> None:
    groups = group_answers(["x", "y", "y", "x"], [1.0, 1.0, 1.0, 1.0])
    assert [g.key for g in by_count(groups)] == [g.key for g in by_score(groups)] == ["x", "y"]
    assert groups[0].representative == 0


def test_nan_is_set_aside_and_infinities_are_ranked() -> None:
    with pytest.warns(UserWarning, match="1 of 3 candidates"):
        groups = group_answers(["a", "a", "b"], [math.nan, 1.0, 2.0])
    assert [(g.key, g.count, g.freq) for g in groups] == [("a", 1, 0.5), ("b", 1, 0.5)]
    mixed = group_answers(["a", "a", "b"], [math.inf, -math.inf, -5.0])
    assert [g.key for g in by_score(mixed)] == ["b", "a"]


def test_custom_equality() -> None:
    close = group_answers([1.0, 1.05, 2.0], equal=lambda a, b: bool(np.isclose(a, b, atol=0.1)))
    assert [g.count for g in close] == [2, 1]


def test_bad_input() -> None:
    with pytest.raises(BadInput, match="no candidates"):
        group_answers([])
    with pytest.raises(BadInput, match="2 answers but 1 scores"):
        group_answers(["a", "b"], [1.0])
    with pytest.raises(BadInput, match="no scores"):
        by_score(group_answers(["a"]))
    assert group_answers([None, ""]) == []
