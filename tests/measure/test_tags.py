import math

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.measure.tags import effective_tags, mean_tags, n_unique_tags, tag_coverage, tag_entropy


def test_a_tag_twice_in_a_sample_counts_once():
    tags = [["a", "a"], ["a", "b"], []]
    assert n_unique_tags(tags) == 2
    assert mean_tags(tags) == 1.0
    assert tag_entropy(tags) == pytest.approx(-(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3)))
    assert effective_tags([["a"], ["b"], ["c"]]) == pytest.approx(3.0)


def test_coverage_of_a_number_or_of_named_tags():
    assert tag_coverage([["a"], ["x"]], 4) == 0.5
    assert tag_coverage([["a"], ["x"]], ["a", "b"]) == 0.5
    assert tag_coverage([["a"], ["x"]], 4.0) == tag_coverage([["a"], ["x"]], np.int64(4)) == 0.5
    with pytest.raises(BadInput, match="universe"):
        tag_coverage([["a"]], [])


def test_samples_without_tags():
    assert tag_entropy([[], []]) == 0.0
    assert effective_tags([[]]) == 1.0
    with pytest.raises(BadInput, match="at least one sample"):
        mean_tags([])
    with pytest.raises(BadInput, match="row 2 is one string"):
        n_unique_tags([["a"], "ab"])
