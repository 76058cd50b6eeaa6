"""Reinforcement learning of a language model against a reward, held to where it began: PPO without a value function.

The objective is E[r(x, y)] - beta KL(pi || pi_0), with beta fixed, as in "Understanding the Effects of RLHF on LLM
Generalisation and Diversity" (2023). As there, a batch of samples is gone over in four epochs with clipped ratios of
probabilities (Proximal Policy Optimization Algorithms, 2017). Unlike there no value function is learned: the baseline
of a sample is the mean return of the prompt's other samples (leave-one-out; Back to Basics: Revisiting REINFORCE-Style
Optimization for Learning from Human Feedback in LLMs, 2024). A reward comes at the end of an answer, so that a value
function would have to learn what the other samples tell exactly, and a small study would then measure how well it did.
The price is that all tokens of an answer share one advantage.

One process, all weights, float32. Prompts and samples are drawn by seed and step, so that a training taken up from a
checkpoint ends as it would have without the stop.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from polyculture.align.data.encoding import Encoded
from polyculture.align.data.layout import Layout
from polyculture.align.log_probs.forward import Abilities, probe, score_batch
from polyculture.align.reference.scores import frozen_copy
from polyculture.align.run_folder import MODEL, SUMMARY, last_checkpoint
from polyculture.align.watching.samples import end_tokens, pad_token, sample_policy, undisturbed
from polyculture.errors import BadInput
from polyculture.files import atomic, write_json
from polyculture.llm.base import sample_seed
from polyculture.llm.loading import load, on_device
from polyculture.progress import Progress, silent

Tokens = Sequence[int]
TokenReward = Callable[[Sequence[Tokens], Sequence[Tokens]], np.ndarray]
"""Prompts and answers as token ids, one prompt an answer -> (n,) rewards."""

CHECKPOINTS = 5
STATE, WEIGHTS, MOMENTS = "trainer_state.json", "model.safetensors", "moments.safetensors"


@dataclass(frozen=True)
class PolicyGradient:
    """Settings of the training.

    Args:
        kl: beta, the price of a nat of KL divergence from the policy it begins with, in units of reward.
        steps: batches of samples.
        prompts: of a batch.
        samples: answers to each, 2 or more.
        epochs: passes over a batch; the paper's 4.
        minibatch: answers of one optimiser step.
        clip: how far from 1 a ratio of probabilities still counts.
        learning_rate: the highest, which falls linearly to 0; the paper's is 1.5e-6.
        max_grad_norm: gradients are scaled down to.
        max_new_tokens: of an answer.
        at_once: sequences computed together.
        seed: of everything random.

    Raises:
        BadInput: a number is out of range.
    """

    kl: float = 0.1
    steps: int = 100
    prompts: int = 32
    samples: int = 4
    epochs: int = 4
    minibatch: int = 64
    clip: float = 0.2
    learning_rate: float = 1.5e-6
    max_grad_norm: float = 1.0
    max_new_tokens: int = 48
    at_once: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "prompts", "epochs", "minibatch", "max_new_tokens", "at_once"):
            if getattr(self, name) < 1:
                raise BadInput(f"policy gradient: {name} should be at least 1, not {getattr(self, name)}")
        if self.samples < 2:
            raise BadInput(f"policy gradient: {self.samples} samples a prompt leave no other one as a baseline; give 2")
        if not (self.kl >= 0 and self.learning_rate > 0 and self.clip > 0):
            raise BadInput("policy gradient: kl should be 0 or more, learning_rate and clip above 0")


def leave_one_out(returns: np.ndarray) -> np.ndarray:
    """Each return less the mean of the prompt's other samples.

    Args:
        returns: (prompts, samples), two samples or more.

    >>> leave_one_out(np.array([[1.0, 2.0, 6.0]])).tolist()
    [[-3.0, -1.5, 4.5]]
    """
    others = returns.shape[1] - 1
    advantages: np.ndarray = returns - (returns.sum(axis=1, keepdims=True) - returns) / others
    return advantages


def clipped_surrogate(log_probs: Tensor, before: Tensor, advantages: Tensor, mask: Tensor, clip: float) -> Tensor:
    """PPO's loss, the mean over tokens of -min(ratio A, clip(ratio, 1 - clip, 1 + clip) A); a scalar.

    Args:
        log_probs: (B, T) of the tokens under the policy; with gradient.
        before: (B, T) under the policy that sampled them.
        advantages: (B,) of the answers.
        mask: (B, T) True at tokens.
        clip: how far from 1 a ratio still counts.
    """
    ratio = torch.exp(torch.where(mask, log_probs - before, 0.0))
    gain = torch.minimum(ratio * advantages[:, None], ratio.clamp(1 - clip, 1 + clip) * advantages[:, None])
    return -torch.where(mask, gain, 0.0).sum() / mask.sum().clamp(min=1)


def train_policy(
    model: Any,
    prompts: Sequence[Tokens],
    reward: TokenReward,
    settings: PolicyGradient,
    out: Path,
    *,
    tokenizer: Any = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train a policy against a reward, or go on from the last checkpoint.

    Args:
        model: folder or hub id of a causal language model, or one in memory, which is trained in place.
        prompts: token ids, one or more each.
        reward: of answers; put it on a scale of about 1, or ``settings.kl`` is in units nobody knows.
        settings: how long, how fast, how far.
        out: folder of the training; the model is in ``model``, the summary in ``summary.json``.
        tokenizer: of a model in memory.
        progress: told the steps.

    Returns:
        The summary: ``reward``, ``kl`` (nats an answer) and ``length`` (tokens), means over the last tenth of the
        steps; ``steps``, ``seconds``, ``settings`` and ``log``, a line a step.

    Raises:
        BadInput: there is no prompt, or a reward or gradient is not finite.
    """
    if not prompts:
        raise BadInput("policy gradient: there is no prompt to train on")
    started = time.time()
    model, tokenizer = load(model, tokenizer, "float32")
    work = _Training(on_device(model, None), tokenizer, settings)
    log: list[dict[str, float]] = work.resume(out)
    for step in range(len(log), settings.steps):
        log.append(work.step(step, prompts, reward))
        progress(f"RL with KL coefficient {settings.kl:g}", step + 1, settings.steps)
        if (step + 1) % -(-settings.steps // CHECKPOINTS) == 0 and step + 1 < settings.steps:
            work.keep(out, log)
    work.model.save_pretrained(out / MODEL)
    tokenizer.save_pretrained(out / MODEL)
    tail = log[-max(1, len(log) // 10) :]
    summary = {name: float(np.mean([line[name] for line in tail])) for name in ("reward", "kl", "length")}
    told = {"steps": len(log), "seconds": round(time.time() - started, 3), "settings": asdict(settings), "log": log}
    write_json(out / SUMMARY, {**summary, **told})
    for folder in out.glob("checkpoint-*"):
        shutil.rmtree(folder, ignore_errors=True)
    return {**summary, **told}


class _Training:
    """A policy, where it began, and its optimiser."""

    def __init__(self, model: Any, tokenizer: Any, settings: PolicyGradient) -> None:
        self.model, self.tokenizer, self.settings = model.eval(), tokenizer, settings
        self.began = frozen_copy(model)
        self.pad = pad_token(tokenizer)
        self.layout = Layout(self.pad, share=False)
        self.abilities: Abilities = probe(model, model.config.get_text_config().vocab_size)
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=0.0)

    def step(self, step: int, prompts: Sequence[Tokens], reward: TokenReward) -> dict[str, float]:
        held = self.settings
        rng = np.random.default_rng([held.seed, step])
        some = rng.choice(len(prompts), min(held.prompts, len(prompts)), replace=False)
        with undisturbed(self.model):
            drawn = sample_policy(
                self.model,
                [prompts[i] for i in some],
                held.samples,
                max_new_tokens=held.max_new_tokens,
                seed=sample_seed(held.seed, "policy gradient", step),
                end=end_tokens(self.model, self.tokenizer),
                pad=self.pad,
                batch_size=held.at_once,
            )
        rows = [
            Encoded(list(prompts[i]), (y,), {}) for i, of_prompt in zip(some, drawn, strict=True) for y in of_prompt
        ]
        before, began = self._log_probs(self.model, rows), self._log_probs(self.began, rows)
        kl = np.array([float((a - b).sum()) for a, b in zip(before, began, strict=True)])
        rewards = reward([row.prompt for row in rows], [row.completions[0] for row in rows])
        if not np.isfinite(rewards).all():
            raise BadInput(f"policy gradient: a reward is not finite at step {step + 1}")
        advantages = leave_one_out((rewards - held.kl * kl).reshape(-1, held.samples)).ravel()
        advantages = advantages / (advantages.std() + 1e-8)
        for group in self.optimizer.param_groups:
            group["lr"] = held.learning_rate * (1 - step / held.steps)
        losses = []
        for _ in range(held.epochs):
            order = rng.permutation(len(rows))
            losses += [
                self._descend(step, [rows[i] for i in those], [before[i] for i in those], advantages[those])
                for those in np.split(order, range(held.minibatch, len(order), held.minibatch))
            ]
        return {
            "reward": float(rewards.mean()),
            "kl": float(kl.mean()),
            "length": float(np.mean([len(row.completions[0]) for row in rows])),
            "loss": float(np.mean(losses)),
        }

    def _descend(self, step: int, rows: list[Encoded], before: list[Tensor], advantages: np.ndarray) -> float:
        batch = self._batch(rows)
        mask = batch["mask"]
        log_probs = score_batch(self.model, batch, self.abilities).log_probs
        old = torch.nn.utils.rnn.pad_sequence(before, batch_first=True).to(log_probs)
        weights = torch.as_tensor(advantages, dtype=log_probs.dtype, device=log_probs.device)
        loss = clipped_surrogate(log_probs, old, weights, mask, self.settings.clip)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.max_grad_norm)
        if not bool(torch.isfinite(norm)):
            raise BadInput(f"policy gradient: the gradient is not finite at step {step + 1}; lower the learning rate")
        self.optimizer.step()
        return float(loss.detach())

    @torch.no_grad()
    def _log_probs(self, model: Any, rows: list[Encoded]) -> list[Tensor]:
        """Of each row's tokens, (tokens,)."""
        found: list[Tensor] = []
        for start in range(0, len(rows), self.settings.at_once):
            batch = self._batch(rows[start : start + self.settings.at_once])
            scores = score_batch(model, batch, self.abilities).log_probs
            found += [row[inside] for row, inside in zip(scores, batch["mask"], strict=True)]
        return found

    def _batch(self, rows: list[Encoded]) -> dict[str, Any]:
        laid = self.layout([(i, row, {}) for i, row in enumerate(rows)])
        return {name: value.to(self.model.device) for name, value in laid.items()}

    def keep(self, out: Path, log: list[dict[str, float]]) -> None:
        """Write a checkpoint and remove older ones; it is whole when its last file is there."""
        folder = out / f"checkpoint-{len(log)}"
        moments = {
            f"{i}.{name}": torch.as_tensor(value).contiguous()
            for i, state in self.optimizer.state_dict()["state"].items()
            for name, value in state.items()
        }
        for name, tensors in ((WEIGHTS, dict(self.model.named_parameters())), (MOMENTS, moments)):
            with atomic(folder / name, "wb") as file:
                file.write(save({key: tensor.detach().contiguous() for key, tensor in tensors.items()}))
        write_json(folder / STATE, {"log": log})
        for other in out.glob("checkpoint-*"):
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)

    def resume(self, out: Path) -> list[dict[str, float]]:
        """Load the last checkpoint if there is one; its log."""
        folder = last_checkpoint(out)
        if folder is None:
            return []
        self.model.load_state_dict(load_file(folder / WEIGHTS), strict=False)  # tied weights are there once
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in load_file(folder / MOMENTS).items():
            place, name = key.split(".", 1)
            state.setdefault(int(place), {})[name] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        log: list[dict[str, float]] = json.loads((folder / STATE).read_text(encoding="utf-8"))["log"]
        return log
