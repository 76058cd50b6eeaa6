from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from polyculture.align.data.encoding import Encoded
from polyculture.align.training import Training
from polyculture.errors import BadInput
from polyculture.studies.preference_reward import RewardModel, bradley_terry_loss, train_reward_model
from polyculture.studies.word_wishes import save_tiny_model

GOOD, BAD, END, PAD = 30, 31, 1, 2


def pairs(n: int) -> list[Encoded]:
    """The answer with GOOD in it is the better one."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(n):
        rest = rng.integers(40, 50, size=int(rng.integers(1, 4))).tolist()
        found.append(Encoded([5, int(rng.integers(6, 20))], ([GOOD, *rest, END], [BAD, *rest, END]), {}))
    return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("reward")
    base = save_tiny_model(out / "base", width=16)
    training = Training(steps=12, batch_size=16, learning_rate=1e-2)
    found = train_reward_model(base, pairs(40), out / "run", training=training, held_out=pairs(20), pad=PAD)
    return out / "run" / "model", found


def test_the_loss_is_that_of_bradley_and_terry() -> None:
    loss = bradley_terry_loss(torch.tensor([0.0, 2.0, -1000.0]), torch.tensor([0.0, 1.0, 0.0]))
    assert loss.tolist() == pytest.approx([np.log(2), np.log1p(np.exp(-1)), 1000.0], rel=1e-6)


def test_it_learns_what_is_preferred(trained: tuple[Path, dict[str, Any]]) -> None:
    folder, summary = trained
    assert summary["accuracy"] == 1.0 and summary["steps"] == 12 and summary["pairs"] == 40
    assert (folder.parent / "summary.json").exists()
    scores = RewardModel(folder).score([[5, 7]] * 2, [[GOOD, 45, END], [BAD, 45, END]])
    assert scores[0] > scores[1]


def test_a_score_does_not_depend_on_what_it_is_batched_with(trained: tuple[Path, dict[str, Any]]) -> None:
    model = RewardModel(trained[0])
    prompts, answers = [[5, 7], [5], [5, 9, 9, 9]], [[GOOD, END], [BAD, 41, 42, END], [44]]
    alone = [model.score([p], [a])[0] for p, a in zip(prompts, answers, strict=True)]
    np.testing.assert_allclose(model.score(prompts, answers), alone, atol=1e-5)


def test_ties_count_half(trained: tuple[Path, dict[str, Any]]) -> None:
    same = Encoded([5], ([40, END], [40, END]), {})
    assert RewardModel(trained[0]).accuracy([same]) == 0.5


def test_asked_to_stop_in_its_last_step_it_keeps_the_model_and_stops(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base", width=16)

    def stop(what: str, done: int, total: int) -> None:
        if done == total:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train_reward_model(
            base, pairs(8), tmp_path / "run", training=Training(steps=2, batch_size=8), pad=PAD, progress=stop
        )
    assert (tmp_path / "run" / "summary.json").exists() and (tmp_path / "run" / "model" / "config.json").exists()


def test_a_loss_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base", width=16)
    training = Training(steps=3, batch_size=8, learning_rate=1e30, warmup=0.0)
    with pytest.raises(BadInput, match="lower its learning rate"):
        train_reward_model(base, pairs(24), tmp_path / "run", training=training, pad=PAD)


def test_a_model_without_such_a_head_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no reward model can be made of"):
        train_reward_model(tmp_path / "nowhere", pairs(2), tmp_path, training=Training(steps=1), pad=PAD)
