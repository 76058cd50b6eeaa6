"""The rows of the log-probability head: both sides compute the same, and a difference is noticed."""

import pytest

from benchmarks.harness import Disagreement
from benchmarks.log_prob_head import rows


@pytest.mark.parametrize("row", [row for row in rows(True) if "-kl-" in row.name], ids=lambda row: row.name)
def test_sides_agree_and_a_difference_is_noticed(row):
    ours, peer = row.ours()(), row.theirs()()
    assert "gradients of the weight by" in row.check(ours, peer)
    with pytest.raises(Disagreement, match="divergences by 1e-03"):
        row.check(ours | {"divergences": ours["divergences"] * 1.001}, peer)
    with pytest.raises(Disagreement, match="one has log_probs,"):
        row.check(ours, {"log_probs": peer["log_probs"]})


def test_a_frozen_weight_gets_no_gradient():
    found = {row.name: row for row in rows(True)}
    frozen, trained = found["log-probs-frozen-104"].ours()(), found["log-probs-104"].ours()()
    assert set(trained) - set(frozen) == {"gradients of the weight"}
