from __future__ import annotations

import json
import math

import numpy as np
import pytest

from polyculture.align.sampled.state import ProposalRefresh, RunningLogMean, SampledState
from polyculture.errors import BadInput


def test_z_is_the_mean_over_all_samples_of_a_prompt():
    state = SampledState()
    assert state.log_z(["a"]).tolist() == [-math.inf] and math.isnan(state.mean_z)
    state.add_weights(["a", "b", "a"], np.log([1.0, 5.0, 3.0]))
    state.add_weights(["a"], [-math.inf])
    assert np.exp(state.log_z(["b", "a", "b"])) == pytest.approx([5.0, 4 / 3, 5.0])
    assert state.mean_z == pytest.approx((5 + 4 / 3) / 2)


def test_weights_far_beyond_a_float_are_no_trouble():
    mean = RunningLogMean()
    mean.add([2000.0, 2000.0])
    mean.add([-2000.0] * 2)
    assert mean.value == pytest.approx(2000 - math.log(2))
    mean.add([])
    assert mean.count == 4


def test_the_baseline_is_of_the_last_rewards_and_starts_at_nothing():
    state = SampledState(window=3)
    assert state.baseline == 0
    state.add_rewards([1.0, 2.0, math.nan])
    assert state.baseline == 1.5
    state.add_rewards([3.0, 4.0])
    assert state.baseline == 3.0
    never = SampledState(window=0)
    never.add_rewards([5.0])
    assert never.baseline == 0


def test_it_goes_on_from_a_checkpoint():
    state = SampledState(window=4)
    state.add_weights(["a", "b"], [0.5, -math.inf])
    state.add_rewards([1.0, 3.0])
    held = json.loads(json.dumps(state.state_dict(), allow_nan=False))
    other = SampledState(window=4)
    other.load_state_dict(held)
    for one in (state, other):
        one.add_weights(["b", "a"], [1.0, 2.0])
        one.add_rewards([7.0, 8.0, 9.0])
    assert other.log_z(["a", "b"]).tolist() == state.log_z(["a", "b"]).tolist()
    assert other.baseline == state.baseline == (3 + 7 + 8 + 9) / 4
    with pytest.raises(BadInput, match="window of 4"):
        SampledState().load_state_dict(held)


def test_bad_numbers_are_refused():
    with pytest.raises(BadInput, match="window"):
        SampledState(window=-1)
    for wrong in (math.nan, math.inf):
        with pytest.raises(BadInput, match="log P - log q"):
            SampledState().add_weights(["a"], [wrong])
    with pytest.raises(BadInput, match="every"):
        ProposalRefresh(0)


def test_the_proposal_is_refreshed_when_the_policy_is_nearer():
    refresh = ProposalRefresh(every=2)
    assert [refresh.step(1.0, 2.0), refresh.step(1.0, 2.0)] == [False, True]
    assert [refresh.step(3.0, 2.0), refresh.step(1.5, 2.0)] == [False, False]
    assert [refresh.step(math.nan, 1.0), refresh.step(math.nan, 1.0)] == [False, False]
    refresh.step(1.0, 2.0)
    other = ProposalRefresh(every=2)
    other.load_state_dict(json.loads(json.dumps(refresh.state_dict(), allow_nan=False)))
    assert other.step(1.0, 2.0)
