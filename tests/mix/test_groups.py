"""Names of groups, and weights on the simplex."""

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.mix.groups import check_names, group_names, on_simplex


def test_simplex_checks() -> None:
    assert on_simplex([0.2, 0.8]).tolist() == [0.2, 0.8]
    with pytest.raises(BadInput, match="at least one group"):
        on_simplex([])
    with pytest.raises(BadInput, match="every weight is 0"):
        on_simplex([0, 0])


def test_weights_with_another_sum_are_divided_by_it_and_that_is_said() -> None:
    with pytest.warns(UserWarning, match=r"runs: the weights sum to 100 instead of 1 in row 2;"):
        rows = on_simplex([[0.5, 0.5], [20, 80]], "runs")
    np.testing.assert_allclose(rows, [[0.5, 0.5], [0.2, 0.8]])


def test_names() -> None:
    assert group_names(11)[1] == "group01" and group_names(0) == ()
    assert check_names(["b", "a"]) == ("b", "a")
    with pytest.raises(BadInput, match="there are no tasks"):
        check_names([], "task")
    with pytest.raises(BadInput, match="group 'a' is there twice"):
        check_names(["a", "b", "a"])
