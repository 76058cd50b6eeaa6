import numpy as np
import pytest
import torch

from polyculture.align.objective import Objective
from polyculture.reproductions.enumerable_sequences import (
    LENGTH,
    PAIRS,
    Sequences,
    Trace,
    Trainer,
    Worlds,
    answer_logps,
    covers_zero,
)


@pytest.mark.parametrize(("ends", "count"), [(False, 4**6), (True, sum(4**k for k in range(7)))])
def test_all_sequences_are_there_and_their_chances_sum_to_one(ends, count):
    sequences = Sequences.all(ends=ends)
    worlds = Worlds.draw([0, 1], ends=ends)
    assert len(sequences.rewards) == count
    assert answer_logps(worlds.reference, sequences).exp().sum(dim=1).tolist() == pytest.approx([1.0, 1.0])
    lengths = sequences.mask.sum(dim=1)
    assert lengths.min() == (1 if ends else LENGTH) and lengths.max() == LENGTH


def test_rewards_by_hand():
    # 0 1 1 2 0 1, read in base 4: three symbols 1 and four changes.
    row = int("011201", 4)
    assert Sequences.all().rewards[row].item() == pytest.approx(3 * 0.8 + 4 * 0.4)
    ended = Sequences.all(ends=True)
    assert ended.rewards[0] == 0 and ended.mask[0].sum() == 1  # the end alone
    assert ended.rewards.max() == pytest.approx(Sequences.all().rewards.max().item())


def test_pairs_differ_and_favour_the_better():
    worlds = Worlds.draw([0, 1, 2])
    assert worlds.chosen.shape == worlds.held_rejected.shape == (3, PAIRS)
    assert (worlds.chosen != worlds.rejected).all() and (worlds.held_chosen != worlds.held_rejected).all()
    gap = (worlds.sequences.rewards[worlds.chosen] - worlds.sequences.rewards[worlds.rejected]).mean(dim=1)
    coin = Worlds.draw([0, 1, 2], labels="coin")
    flipped = (coin.sequences.rewards[coin.chosen] - coin.sequences.rewards[coin.rejected]).mean(dim=1)
    assert (gap > 0.3).all() and (flipped.abs() < 0.2).all()
    assert torch.equal(worlds.reference, coin.reference)
    assert not torch.equal(worlds.judged, coin.judged)
    assert torch.equal(worlds.judged.sort(dim=1).values, coin.judged.sort(dim=1).values)
    both = Worlds.draw([0], labels="both")
    assert torch.equal(both.chosen[0].sort().values, both.rejected[0].sort().values)


def test_inputs_are_sums_along_the_sequences():
    worlds = Worlds.draw([0, 1], ends=True)
    trainer = Trainer(worlds)
    given = trainer.inputs(worlds.reference, Objective.of("tdpo"))
    logps = answer_logps(worlds.reference, worlds.sequences)
    torch.testing.assert_close(given["policy_chosen"], logps.gather(1, worlds.chosen))
    torch.testing.assert_close(given["ref_rejected"], logps.gather(1, worlds.rejected))
    torch.testing.assert_close(given["mean_chosen"] * given["tokens_chosen"], given["policy_chosen"])
    assert given["kl_chosen"].abs().max() < 1e-12  # of the reference with itself
    chosen = worlds.sequences.rewards[worlds.chosen[1, 0]]
    expected = (torch.sigmoid(chosen - worlds.sequences.rewards) * logps[1].exp()).sum()
    torch.testing.assert_close(given["win_chosen"][1, 0], expected)


def test_seeds_are_trained_apart():
    alone = Trainer(Worlds.draw([1])).train(Objective.of("dpo"), steps=5)
    together = Trainer(Worlds.draw([0, 1])).train(Objective.of("dpo"), steps=5)
    torch.testing.assert_close(together.table[0][1], alone.table[0][0])
    assert together.steps == [0, 5] and together.reward[0] == pytest.approx([0, 0])
    assert (together.last("reward") > 0).all() and (together.last("kl") > 0).all()


def test_objectives_without_their_data_are_not_offered():
    trainer = Trainer(Worlds.draw([0]))
    assert trainer.offers(Objective.of("dno")) and trainer.offers(Objective.of("kto"))
    assert not trainer.offers(Objective.of("modpo")) and not trainer.offers(Objective.of("pl"))


def test_a_measure_where_the_gain_is_reached():
    trace = Trace(reward=[np.array([0.0, 0.0]), np.array([0.4, 0.1]), np.array([1.0, 0.2])])
    trace.entropy.extend([np.array([6.0, 6.0]), np.array([5.0, 5.0]), np.array([2.0, 4.0])])
    found = trace.when_gained(0.6, "entropy")
    assert found[0] == pytest.approx(4.0) and np.isnan(found[1])


def test_covering_zero():
    assert covers_zero(np.array([-1.0, 1.2, 0.1])) and not covers_zero(np.array([1.0, 1.1, 1.2]))
    near = np.array([0.2, 1.0, 0.9, 0.5])
    assert not covers_zero(near) and covers_zero(near, looks=50)
