import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from polyculture.align.data.ranked import pair_rows
from polyculture.align.objective import Objective
from polyculture.reproductions.bracket_writers import (
    Writers,
    demonstration,
    encode,
    make_prompt,
    side_by_side,
    violations,
)
from polyculture.reproductions.curry_dpo import BATCH, SIZES, World, measure, reproduce, train

ARMS = {
    "curry",
    "one stage",
    "random order",
    "reverse order",
    "widest pairs x3, new references",
    "widest pairs x3",
    "pooled",
    "likelihood of the best",
}


def test_the_smoke_run_measures_every_arm_and_its_control():
    finding = reproduce(scale="smoke", seed=0)
    assert finding.slug == "curry-dpo" and len(finding.checks) == 4 and finding.seconds < 60
    for arm in ARMS:
        assert finding.values[f"{arm}, KL to the base"].mean > 0
        assert np.isfinite(finding.values[f"{arm}, gain in rating"].mean)
    assert set(finding.control_values) == {f"{arm}, gain in rating" for arm in ARMS}
    assert "paper's claim" in finding.notes[0] and finding.plot is not None


@pytest.mark.parametrize(
    ("prompt", "answer", "broken"),
    [
        ("(([)((", ")))$", 2),  # ")" for "[" in the prompt, and one left open
        ("([", "])$", 0),
        ("([", ")]$", 2),
        ("([", "]$", 1),
        ("([", "])", 1),
        ("([", "])])$", 2),
        ("([", "]()($", 2),
    ],
)
def test_violations_count_wrong_open_and_endless(prompt, answer, broken):
    assert violations(prompt, answer) == broken


def test_demonstrations_are_right_but_for_noise(monkeypatch):
    monkeypatch.setattr("polyculture.reproductions.bracket_writers.NOISE", 0.0)
    rng = np.random.default_rng(0)
    prompts = [make_prompt(rng) for _ in range(50)]
    assert all(len(p) == 6 and violations(p, demonstration(p, rng)) == 0 for p in prompts)


@pytest.fixture(scope="module")
def world():
    return World([0, 1], replace(SIZES["smoke"], prompts=20, base_steps=3))


def test_the_base_is_at_no_distance_from_itself(world):
    found = measure(world, world.base.copy(2))
    assert len(found) == 4 and all(abs(one.kl) < 1e-6 and one.rating < 0 for one in found)
    assert sorted(world.shuffled()[1][0]["scores"]) == sorted(world.rows[1][0]["scores"])
    assert not {row["prompt"] for row in world.rows[0]} & {row["prompt"] for row in world.held_out[0]}


def test_padding_counts_for_nothing_and_the_mask_hides_what_is_ahead(world):
    ids, mask = encode(["([([[("] * 2, [")$", ")]])])$"])
    assert ids.shape == (2, 15) and mask.sum(1).tolist() == [2, 7]
    other = ids.clone()
    other[0, 10:] = 0
    both = [world.base.summed(*(side_by_side([(some, mask)] * 2))) for some in (ids, other)]
    assert torch.allclose(both[0], both[1], atol=1e-6)


def test_models_side_by_side_are_what_each_is_alone(world):
    rows = [pair_rows(own).rows[:BATCH] for own in world.rows]
    objective = Objective.of("dpo", beta=1.0)
    together = train(world.base, world.base, rows, 1, objective)
    alone = Writers(world.base.skeleton, {name: w[:1] for name, w in world.base.weights.items()})
    single = train(alone, alone, rows[:1], 1, objective)
    name = "model.layers.1.mlp.up_proj.weight"
    assert torch.allclose(together.weights[name][:1], single.weights[name], atol=1e-5)
    plain = copy.deepcopy(world.base.skeleton)
    plain.load_state_dict({name: w[1] for name, w in world.base.weights.items()}, strict=False)
    ids = encode(["([([[("], [")$"])[0]
    with torch.no_grad():
        expected = plain(input_ids=ids).logits.log_softmax(-1)
        assert torch.allclose(world.base(torch.stack([ids, ids]))[1], expected, atol=1e-5)
