import math
from itertools import combinations

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.measure.quality_measures import (
    accuracy,
    corpus_perplexity,
    mean_reward,
    pass_at_k,
    perplexity,
    reward_quantile,
    rubric_score,
    win_rate,
)
from polyculture.measure.undefined import UndefinedMeasureWarning


def test_accuracy_by_equality_or_by_a_verifier():
    assert accuracy(["4", "5"], ["4", "6"]) == 0.5
    assert accuracy(["4.0", "5"], ["4", "6"], accepts=lambda a, r: float(a) == float(r)) == 0.5
    with pytest.raises(BadInput, match="got 1, 0"):
        accuracy(["a"], [])


def test_pass_at_k_is_the_share_of_subsets_with_a_right_answer():
    for n, c, k in [(6, 2, 3), (5, 0, 2), (5, 4, 2), (4, 4, 4), (10, 1, 10)]:
        subsets = list(combinations([1] * c + [0] * (n - c), k))
        assert float(pass_at_k(n, c, k)) == pytest.approx(np.mean([any(s) for s in subsets]), abs=1e-12)
    np.testing.assert_allclose(pass_at_k([2, 4], [1, 1], 1), [0.5, 0.25])
    with pytest.raises(BadInput, match="1 <= k <= n"):
        pass_at_k(3, 1, 4)


def test_rewards():
    assert mean_reward([1.0, 2.0, 6.0]) == 3.0
    assert reward_quantile([1.0, 2.0, 6.0], q=0.75) == 4.0
    with pytest.raises(BadInput, match="between 0 and 1"):
        reward_quantile([1.0], q=2)
    with pytest.raises(BadInput, match="row 2 is NaN"):
        mean_reward([1.0, math.nan])
    with pytest.raises(BadInput, match="at least one"):
        mean_reward([])


def test_the_corpus_weighs_tokens_not_samples():
    logs = [[-1.0], [-3.0, -3.0, -3.0], []]
    found = perplexity(logs)
    np.testing.assert_allclose(found.per_sample, [math.e, math.e**3, math.nan])
    assert found.corpus == corpus_perplexity(logs) == pytest.approx(math.exp(10 / 4))
    assert perplexity([[-math.inf, -1.0]]).corpus == math.inf
    with pytest.warns(UndefinedMeasureWarning, match="no sample has a token"):
        assert math.isnan(corpus_perplexity([[]]))
    with pytest.raises(BadInput, match="row 2 holds NaN"):
        perplexity([[-1.0], [math.nan]])
    with pytest.raises(BadInput, match="at least one sample"):
        perplexity([])


def test_a_rubric_counts_what_the_judge_failed_to_answer():
    replies = {("a", 1): "Score: 5", ("b", 1): "5 or 4", ("a", 2): 2, ("b", 2): 3}
    found = rubric_score([1, 2], ["a", "b"], lambda item, sample: replies[item, sample])
    assert found.score == pytest.approx((5 + 2.5) / 2 / 5)
    assert found.n_missing == 1 and math.isnan(found.scores[0, 1])
    with pytest.warns(UndefinedMeasureWarning, match="no usable score"):
        assert math.isnan(rubric_score([1], ["a"], lambda item, sample: "9").score)
    with pytest.raises(BadInput, match="one sample and one item"):
        rubric_score([1], [], lambda item, sample: 1)


def test_swapping_cancels_a_judge_that_prefers_what_it_sees_first():
    found = win_rate([1, 2, 3], [3, 2, 1], lambda x, y: "A")
    assert found.rate == 0.5 and found.first_bias == 0.5
    assert win_rate([1, 2], [3, 1], lambda x, y: "A", swap=False).rate == 1.0


def test_win_rate_counts_ties_half_and_missing_apart():
    def judge(x, y):
        return "???" if 9 in (x, y) else "tie" if x == y else "A" if x > y else "B"

    found = win_rate([1, 2, 3, 9], [3, 2, 1, 0], judge)
    assert found.rate == pytest.approx((0 + 0.5 + 1) / 3)
    assert found.n_missing == 2 and math.isnan(found.outcomes[3])
    with pytest.warns(UndefinedMeasureWarning, match="no usable verdict"):
        assert math.isnan(win_rate([9], [9], judge).rate)
    with pytest.raises(BadInput, match="got 1 and 2"):
        win_rate([1], [1, 2], judge)
