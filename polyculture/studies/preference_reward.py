"""A reward model of preferences: a language model with a head of one number, so that chosen answers score higher.

Bradley-Terry: P(chosen is better) = sigmoid(r(x, chosen) - r(x, rejected)), and the loss is its negative logarithm. The
model is transformers' AutoModelForSequenceClassification, trained by transformers' Trainer.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from transformers import AutoModelForSequenceClassification, Trainer
from transformers.trainer_callback import PrinterCallback

from polyculture.align.data.encoding import Encoded
from polyculture.align.run_folder import MODEL, SUMMARY, last_checkpoint
from polyculture.align.stopping import StepProgress, StopAfterStep
from polyculture.align.training import Training
from polyculture.errors import BadInput
from polyculture.files import write_json
from polyculture.llm.loading import on_device
from polyculture.progress import Progress, silent

AT_ONCE = 128
"""Sequences scored together."""

Tokens = Sequence[int]


def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    """-log sigmoid(chosen - rejected) of each pair, (B,).

    Args:
        chosen: (B,) scores of the better answers.
        rejected: (B,) scores of the worse ones.
    """
    return -logsigmoid(chosen.float() - rejected.float())


class PairwiseTrainer(Trainer):
    """transformers' Trainer on batches whose first half are chosen answers and whose second half the rejected."""

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The mean Bradley-Terry loss of a batch.

        Raises:
            BadInput: it is not finite.
        """
        chosen, rejected = model(**inputs).logits[:, 0].chunk(2)
        loss = bradley_terry_loss(chosen, rejected).mean()
        if not bool(torch.isfinite(loss)):
            raise BadInput(
                f"the reward model's loss is {float(loss.detach())} at step {self.state.global_step + 1}; "
                "lower its learning rate"
            )
        return (loss, {}) if return_outputs else loss


class RewardModel:
    """Scores answers given as token ids.

    Args:
        folder: what :func:`train_reward_model` saved.
        device: None is the first GPU if there is one.
    """

    def __init__(self, folder: Path, *, device: str | None = None) -> None:
        self.model = on_device(AutoModelForSequenceClassification.from_pretrained(folder), device).eval()
        self.pad = int(self.model.config.pad_token_id)

    def score(self, prompts: Sequence[Tokens], answers: Sequence[Tokens], progress: Progress = silent) -> np.ndarray:
        """The reward of each answer, (n,) float64.

        Args:
            prompts: token ids, one prompt an answer.
            answers: token ids, the end of the sequence included.
            progress: told how many are scored.
        """
        rows = [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)]
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        found = np.empty(len(rows))
        for start in range(0, len(rows), AT_ONCE):
            those = order[start : start + AT_ONCE]
            batch = {k: v.to(self.model.device) for k, v in _padded([rows[i] for i in those], self.pad).items()}
            with torch.no_grad():
                found[those] = self.model(**batch).logits[:, 0].double().cpu().numpy()
            progress("scoring answers", start + len(those), len(rows))
        return found

    def accuracy(self, pairs: Sequence[Encoded]) -> float:
        """The share of pairs whose chosen answer scores higher; ties count half."""
        prompts = [pair.prompt for pair in pairs]
        better, worse = (self.score(prompts, [pair.completions[side] for pair in pairs]) for side in (0, 1))
        return float(np.mean((better > worse) + 0.5 * (better == worse)))


def train_reward_model(
    base: Path,
    pairs: Sequence[Encoded],
    out: Path,
    *,
    training: Training,
    held_out: Sequence[Encoded] = (),
    pad: int = 0,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train a reward model from a language model, or go on from its last checkpoint.

    Args:
        base: the language model whose body it takes; the head is new.
        pairs: prompts with their chosen and rejected answers.
        out: folder of the training; the model is in ``model``, the summary in ``summary.json``.
        training: how long and how fast.
        held_out: pairs to test on.
        pad: id of the padding token.
        progress: told the steps.

    Returns:
        The summary: ``pairs``, ``steps``, ``loss``, ``accuracy`` (of ``held_out``), ``seconds``.

    Raises:
        BadInput: transformers has no sequence-classification head for the model, or the loss is not finite.
        KeyboardInterrupt: it was asked to stop; a checkpoint is kept.
    """
    started = time.time()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)  # of the new head
        try:
            model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1, dtype=torch.float32)
        except (ValueError, OSError) as error:
            first = str(error).strip().splitlines()[0]
            raise BadInput(f"no reward model can be made of '{base}': {first}; use a model with such a head") from error
    model.config.pad_token_id = pad
    arguments = training.arguments(out, len(pairs))
    arguments.remove_unused_columns = False
    stop = StopAfterStep()
    trainer = PairwiseTrainer(
        model,
        arguments,
        data_collator=lambda batch: _padded(
            [[*pair.prompt, *pair.completions[side]] for side in (0, 1) for pair in batch], pad
        ),
        train_dataset=list(pairs),
        callbacks=[StepProgress(progress), stop],
    )
    trainer.remove_callback(PrinterCallback)
    checkpoint = last_checkpoint(out)
    with stop.listening():
        trained = trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    if stop.asked and trainer.state.global_step < trainer.state.max_steps:
        raise KeyboardInterrupt
    trainer.save_model(str(out / MODEL))
    accuracy = RewardModel(out / MODEL).accuracy(held_out) if held_out else None
    summary = {
        "pairs": len(pairs),
        "steps": trainer.state.global_step,
        "loss": trained.training_loss,
        "held_out": len(held_out),
        "accuracy": accuracy,
        "seconds": round(time.time() - started, 3),
    }
    write_json(out / SUMMARY, summary)
    if stop.asked:  # during the last step: what is done is kept, but nothing else should begin
        raise KeyboardInterrupt
    return summary


def beats_chance(accuracy: float, n: int) -> bool:
    """Whether the 95 % interval (Wilson) of an accuracy lies above one half.

    >>> beats_chance(0.7, 10), beats_chance(0.7, 100)
    (False, True)

    Args:
        accuracy: share of right ones.
        n: of how many.
    """
    from scipy.stats import binomtest

    return bool(binomtest(round(n * accuracy), n).proportion_ci(method="wilson").low > 0.5)


def _padded(rows: Sequence[Tokens], pad: int) -> dict[str, Tensor]:
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return {"input_ids": ids, "attention_mask": mask}
