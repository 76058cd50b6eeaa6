import math

import numpy as np
import pytest
import torch

from polyculture.errors import BadInput
from polyculture.measure.over_optimisation import OverOptimisationMonitor, top_k_entropy, top_k_summary


def test_uniform_logits_have_log_k_bits():
    found = top_k_entropy(np.zeros((3, 16)), k=8)
    np.testing.assert_allclose(found.mass, 0.5)
    np.testing.assert_allclose(found.entropy, 3.0)
    np.testing.assert_allclose(found.entropy_raw, 2.0)


def test_k_above_the_vocabulary_takes_it_all():
    logits = np.random.default_rng(0).normal(size=(5, 4))
    found = top_k_entropy(logits, k=10, base=math.e)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.mass, 1.0)
    np.testing.assert_allclose(found.entropy, -(p * np.log(p)).sum(axis=1))


def test_banned_tokens_and_one_hot_rows_give_no_nan():
    found = top_k_entropy([[0.0, -math.inf, -math.inf], [1e4, 0.0, 0.0]], k=3)
    assert found.entropy.tolist() == found.entropy_raw.tolist() == [0.0, 0.0]
    assert found.mass.tolist() == [1.0, 1.0]


def test_torch_and_numpy_agree_in_blocks():
    logits = torch.randn(70, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    a, b = top_k_entropy(logits.requires_grad_(), block=16), top_k_entropy(logits.detach().numpy())
    np.testing.assert_array_equal(a.entropy, b.entropy)
    assert top_k_entropy(logits.to(torch.bfloat16)).mean_mass == pytest.approx(a.mean_mass, abs=0.01)
    assert top_k_summary(logits) == {"entropy": a.mean_entropy, "entropy_raw": a.mean_entropy_raw, "mass": a.mean_mass}


def test_bad_logits():
    with pytest.raises(BadInput, match="row 2 holds NaN"):
        top_k_entropy([[0.0, 1.0], [math.nan, 0.0]])
    with pytest.raises(BadInput, match=r"row 1 .* -inf throughout"):
        top_k_entropy([[-math.inf, -math.inf]])
    with pytest.raises(BadInput, match=r"shape \(0, 5\)"):
        top_k_entropy(np.zeros((0, 5)))
    with pytest.raises(BadInput, match="k = 0"):
        top_k_entropy(np.zeros((1, 5)), k=0)


def watch(entropies, masses=None, **options):
    monitor = OverOptimisationMonitor(**options)
    for i, entropy in enumerate(entropies):
        monitor.observe(50 * i, entropy=entropy, mass=1.0 if masses is None else masses[i])
    return monitor.alarm


def test_entropy_that_rises_and_then_falls_is_a_reversal():
    alarm = watch([2.0, 2.4, 2.5, 2.45, 2.4, 2.3])
    assert (alarm.reason, alarm.step, alarm.stop_at) == ("entropy reversal", 250, 200)
    assert watch([2.5, 2.45, 2.4, 2.3, 2.2]) is None  # never rose
    assert watch([2.0, 2.5, 2.45, 2.46, 2.3, 2.2]) is None  # not three in a row
    assert watch([2.0, 2.5, 2.49, 2.48, 2.47]) is None  # fell by less than 2 %


def test_mass_that_keeps_falling_is_a_loss():
    alarm = watch([2.0] * 5, [0.9, 0.91, 0.90, 0.89, 0.88])
    assert (alarm.reason, alarm.step) == ("mass loss", 200)
    assert watch([2.0] * 5, [0.9, 0.9, 0.899, 0.898, 0.897]) is None


def test_half_the_entropy_is_a_collapse_and_the_first_alarm_stays():
    alarm = watch([2.0, 1.1, 0.99, 0.5])
    assert (alarm.reason, alarm.step, alarm.stop_at) == ("entropy collapse", 100, 50)


def test_the_likelihood_of_chosen_answers_alone_raises_nothing():
    monitor = OverOptimisationMonitor()
    for i in range(6):
        monitor.observe(i, np.zeros((2, 20)), chosen=[-1.0 - 9 * i, -1.0], rejected=torch.tensor([-2.0 - 9 * i]))
    assert monitor.alarm is None
    row = monitor.table()[-1]
    assert row["margin"] == pytest.approx((-46 - 1) / 2 + 47) and math.isnan(row["win_probability"])


def test_bad_observations():
    monitor = OverOptimisationMonitor()
    monitor.observe(10, entropy=1.0, mass=1.0)
    with pytest.raises(BadInput, match="steps should rise"):
        monitor.observe(10, entropy=1.0, mass=1.0)
    with pytest.raises(BadInput, match="both entropy and mass"):
        monitor.observe(20, entropy=1.0)
    with pytest.raises(BadInput, match="window"):
        OverOptimisationMonitor(window=0)
