import numpy as np

from polyculture.reproductions.rlhf_diversity import SLOTS, TOKENS, WIDTH, draw, reproduce, softmax, value


def test_reinforcement_wins_more_and_varies_less():
    finding = reproduce(scale="smoke", seed=0)
    assert finding.slug == "rlhf-diversity" and len(finding.checks) == 5
    assert finding.control_values and finding.plot is not None
    assert finding.holds, [name for name, held in finding.checks.items() if not held]


def test_draws_follow_the_softmax_and_values_sum_over_slots():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(1, SLOTS, TOKENS))
    y = draw(logits, rng.random((20_000, 1, SLOTS)))
    shares = np.bincount(y[:, 0, 2], minlength=TOKENS) / len(y)
    np.testing.assert_allclose(shares, softmax(logits)[0, 2], atol=0.02)
    x, W = rng.normal(size=(1, WIDTH)), rng.normal(size=(SLOTS, WIDTH, TOKENS))
    by_hand = sum(x[0] @ W[t][:, y[5, 0, t]] for t in range(SLOTS))
    assert np.isclose(value(x, y[5], W)[0], by_hand)
