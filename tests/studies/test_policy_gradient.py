from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from polyculture.errors import BadInput
from polyculture.studies.policy_gradient import PolicyGradient, clipped_surrogate, leave_one_out, train_policy
from polyculture.studies.word_wishes import save_tiny_model

LIKED = range(45, 61)
SMALL = PolicyGradient(steps=5, prompts=4, samples=4, minibatch=8, learning_rate=1e-2, max_new_tokens=3, kl=0.01)
PROMPTS = [[0, i] for i in range(5, 11)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_model(tmp_path_factory.mktemp("policy"), width=16))


def liked(prompts: Sequence[Any], answers: Sequence[Any]) -> np.ndarray:
    return np.array([sum(token in LIKED for token in answer) for answer in answers], dtype=np.float64)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def test_a_baseline_is_the_mean_of_the_others() -> None:
    returns = np.array([[1.0, 3.0], [2.0, 2.0]])
    assert leave_one_out(returns).tolist() == [[-2.0, 2.0], [0.0, 0.0]]
    drawn = np.random.default_rng(0).normal(size=(5, 4))
    np.testing.assert_allclose(leave_one_out(drawn + 7), leave_one_out(drawn), atol=1e-12)
    np.testing.assert_allclose(leave_one_out(drawn).sum(axis=1), 0, atol=1e-12)


def test_the_clipped_surrogate_by_hand() -> None:
    new = torch.log(torch.tensor([[1.5, 1.0], [0.5, 9.0]])).requires_grad_()
    mask = torch.tensor([[True, True], [True, False]])
    loss = clipped_surrogate(new, torch.zeros(2, 2), torch.tensor([1.0, -1.0]), mask, 0.2)
    assert loss.item() == pytest.approx(-(1.2 + 1.0 - 0.8) / 3)
    loss.backward()
    # Beyond the clip, on the side that would gain from more, there is no gradient; nor where there is no token.
    assert new.grad is not None
    assert new.grad.tolist() == [[0.0, pytest.approx(-1 / 3)], [0.0, 0.0]]


def test_on_its_own_samples_the_gradient_is_that_of_reinforce() -> None:
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    advantages = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    mask = torch.ones(3, 4, dtype=torch.bool)
    clipped_surrogate(logits, logits.detach(), advantages, mask, 0.2).backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, -advantages[:, None].expand(3, 4) / 12)


def test_it_learns_what_is_rewarded_and_a_price_holds_it_back(base: str, tmp_path: Path) -> None:
    found = {}
    for kl in (0.01, 100.0):
        settings = PolicyGradient(**{**vars(SMALL), "steps": 7, "samples": 8, "minibatch": 32, "kl": kl})
        found[kl] = train_policy(base, PROMPTS, liked, settings, tmp_path / str(kl))
    free, held = found.values()
    assert free["log"][0]["kl"] == pytest.approx(0, abs=1e-4) and free["log"][0]["reward"] < 1.2
    assert free["reward"] > 2 > 1.5 > held["reward"] and free["kl"] > 3 * held["kl"]
    assert json.loads((tmp_path / "0.01" / "summary.json").read_text())["steps"] == 7


def test_a_training_that_was_stopped_ends_as_one_that_was_not(base: str, tmp_path: Path) -> None:
    train_policy(base, PROMPTS, liked, SMALL, tmp_path / "whole")

    def stop(what: str, done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_policy(base, PROMPTS, liked, SMALL, tmp_path / "torn", progress=stop)
    assert [p.name for p in (tmp_path / "torn").glob("checkpoint-*")] == ["checkpoint-3"]
    seen: list[int] = []
    train_policy(base, PROMPTS, liked, SMALL, tmp_path / "torn", progress=lambda what, done, total: seen.append(done))
    assert seen == [4, 5]
    whole, torn = weights(tmp_path / "whole"), weights(tmp_path / "torn")
    assert all(torch.equal(whole[name], torn[name]) for name in whole)
    assert not list((tmp_path / "torn").glob("checkpoint-*")), "the finished model is enough"


def test_what_can_not_be_trained_on_is_refused(base: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no prompt"):
        train_policy(base, [], liked, SMALL, tmp_path)
    with pytest.raises(BadInput, match="reward is not finite at step 1"):
        train_policy(base, PROMPTS, lambda prompts, answers: np.full(len(answers), np.nan), SMALL, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"samples": 1}, "no other one as a baseline"), ({"kl": -1.0}, "0 or more"), ({"steps": 0}, "at least 1")],
)
def test_settings_out_of_range(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        PolicyGradient(**change)
