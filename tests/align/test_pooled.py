from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import TrainerState
from typer.testing import CliRunner

from polyculture.align.mixture import Mixture, parse_objective
from polyculture.align.objective import Objective
from polyculture.align.pooled import PooledMeans
from polyculture.cli.app import app
from tests.align.test_distributed import launched

ALONE = SimpleNamespace(num_processes=1)
RNG = torch.Generator().manual_seed(0)
GIVEN = {
    "policy": torch.randn(6, generator=RNG),
    "ref": torch.randn(6, generator=RNG),
    "desirable": torch.tensor([True, False, False, True, True, False]),
    "kl_policy": torch.randn(6, generator=RNG) + 1,
    "kl_ref": torch.randn(6, generator=RNG),
}
HALVES = [{name: values[rows] for name, values in GIVEN.items()} for rows in (slice(0, 2), slice(2, 6))]


def beside(other: dict[str, Tensor], name: str) -> Any:
    """An accelerator of two processes, of which the other has that batch."""
    traits = Objective.of(name).traits
    (mean,) = {**traits.batch_means, **traits.running_means}.values()
    values = mean(**{key: other[key] for key in Objective.of(name).needs})
    theirs = torch.stack((values.sum(), torch.tensor(float(len(values)))))
    return SimpleNamespace(num_processes=2, reduce=lambda own, reduction: own + theirs)


def test_the_reference_point_of_kto_is_that_of_all_processes() -> None:
    objective = Objective.of("kto", beta=0.5)
    whole = objective(GIVEN)
    losses = [
        PooledMeans().fill(objective, own, beside(other, "kto"), training=training)(own)
        for own, other, training in ((*HALVES, True), (*reversed(HALVES), False))
    ]
    torch.testing.assert_close(torch.cat(losses), whole)
    assert not torch.allclose(torch.cat([objective(half) for half in HALVES]), whole)
    assert PooledMeans().fill(objective, GIVEN, ALONE, training=True) is objective


def test_a_process_without_a_batch_asks_too() -> None:
    nobody = {name: values[:0] for name, values in GIVEN.items()}
    for name in ("kto", "bco"):
        filled = PooledMeans().fill(Objective.of(name), nobody, beside(GIVEN, name), training=True)
        assert filled(nobody).shape == (0,)
        (mean,) = filled.hyper.values()
        wanted = (GIVEN["kl_policy"] - GIVEN["kl_ref"]) if name == "kto" else 0.1 * (GIVEN["policy"] - GIVEN["ref"])
        assert mean == pytest.approx(float(wanted.mean()), abs=1e-6)


def test_the_shift_of_bco_is_the_mean_of_all_rewards_so_far() -> None:
    """The numbers of TRL 1.9's BCOTrainer.bco_loss on these batches, one after the other."""
    means, objective = PooledMeans(), Objective.of("bco", beta=0.5)
    rewards = 0.5 * (GIVEN["policy"] - GIVEN["ref"])
    for half, seen in zip(HALVES, (2, 6), strict=True):
        filled = means.fill(objective, half, ALONE, training=True)
        assert filled.hyper["delta"] == pytest.approx(float(rewards[:seen].mean()), abs=1e-6)
        torch.testing.assert_close(filled(half), Objective.of("bco", beta=0.5, delta=rewards[:seen].mean())(half))
    judged = means.fill(objective, HALVES[0], ALONE, training=False)
    assert judged.hyper["delta"] == filled.hyper["delta"]  # what is judged does not move it
    assert objective.hyper == {"beta": 0.5}


def test_before_any_training_there_is_no_shift() -> None:
    assert PooledMeans().fill(Objective.of("bco"), GIVEN, ALONE, training=False).hyper == {"delta": 0.0}


def test_what_is_set_by_hand_stays() -> None:
    for name, option in (("bco", "delta"), ("kto", "kl")):
        objective = Objective.of(name, **{option: 0.25})
        assert PooledMeans().fill(objective, GIVEN, beside(GIVEN, name), training=True) is objective
    dpo = Objective.of("dpo")
    assert PooledMeans().fill(dpo, {}, ALONE, training=True) is dpo


def test_parts_of_a_mixture_have_their_own_means_and_go_on_from_a_checkpoint(tmp_path: Path) -> None:
    mixture = parse_objective("0.5*bco + 2*bco + kto", beta=0.5)
    assert isinstance(mixture, Mixture)
    whole, cut = PooledMeans(), PooledMeans()
    for means in (whole, cut):
        means.fill(mixture, HALVES[0], ALONE, training=True)
    state = TrainerState()
    cut.on_step_end(None, state, None)
    state.save_to_json(str(tmp_path / "state.json"))
    again = PooledMeans()
    again.on_train_begin(None, TrainerState.load_from_json(str(tmp_path / "state.json")), None)
    filled = [means.fill(mixture, HALVES[1], ALONE, training=True) for means in (whole, again)]
    assert filled[0].hyper == filled[1].hyper and filled[0].name == mixture.name
    assert torch.equal(filled[0](HALVES[1]), filled[1](HALVES[1]))


def test_nothing_is_kept_where_nothing_runs_on() -> None:
    means, state = PooledMeans(), TrainerState()
    means.on_train_begin(None, state, None)
    means.fill(Objective.of("kto"), GIVEN, beside(GIVEN, "kto"), training=True)
    means.on_step_end(None, state, None)
    assert not state.stateful_callbacks


@pytest.mark.slow
def test_two_processes_train_to_what_one_trains_to(
    tiny_model: str, preferences: list[dict[str, Any]], tmp_path: Path
) -> None:
    data = tmp_path / "d.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in preferences))
    line = [
        "align", str(data), "--model", tiny_model, "--objective", "0.5*kto+0.5*bco", "--steps", "4", "--beta", "0.5",
        "--learning-rate", "1e-2", "--max-length", "64", "--watch-prompts", "0", "--held-out", "0.25", "--cpu",
        "--json",
    ]  # fmt: skip
    both = launched(["-m", "polyculture", *line, "--batch-size", "4", "-o", str(tmp_path / "both")])
    assert both.returncode == 0, both.stderr[-2000:]
    alone = CliRunner().invoke(app, [*line, "--batch-size", "8", "-o", str(tmp_path / "one")])
    assert alone.exit_code == 0, alone.output
    two, one = json.loads(both.stdout), json.loads(alone.stdout)
    assert (two["processes"], one["processes"]) == (2, 1)
    assert two["loss"] == pytest.approx(one["loss"], abs=1e-5)
    a, b = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("both", "one"))
    for name, weights in a.items():
        torch.testing.assert_close(weights, b[name], atol=2e-4, rtol=0)
