"""Fine-tuning a causal language model on prompts and responses: one plain loop, the model given left as it was."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polyculture.errors import BadInput
from polyculture.llm.base import Prompt
from polyculture.llm.batches import left_padded, logits
from polyculture.llm.framing import tokenize_pairs
from polyculture.llm.transformers import TransformersLLM
from polyculture.progress import Progress, silent

CHUNK_BYTES = 64 * 2**20
"""Most bytes of logits whose log-softmax is held at once."""


@dataclass(frozen=True)
class FineTuning:
    """How to fine-tune: AdamW on the loss of the responses alone, with a linear warm-up and decay.

    Training is in float32 whatever the model's own type, for a learning rate of 1e-5 is lost in bfloat16. The loss of
    a step is the mean over its tokens, so that a step of 16 rows is the same in one batch or in sixteen.

    Args:
        epochs: passes over the rows.
        learning_rate: the highest.
        step_rows: rows of one step of the optimiser.
        batch_size: rows computed at once; gradients of a step add up.
        max_length: most tokens of prompt and response; None is the model's context.
        warm_up: share of the steps in which the learning rate rises.
        weight_decay: of AdamW.
        seed: of the order of rows, and of dropout.
    """

    epochs: int = 1
    learning_rate: float = 1e-5
    step_rows: int = 16
    batch_size: int = 4
    max_length: int | None = None
    warm_up: float = 0.03
    weight_decay: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        fine = self.epochs >= 1 and self.step_rows >= 1 and self.batch_size >= 1
        if not fine or not 0 < self.learning_rate < float("inf") or not 0 <= self.warm_up <= 1:
            raise BadInput(
                "fine-tuning: epochs, step_rows and batch_size should be 1 or more, learning_rate above 0 and "
                f"warm_up in [0, 1], not {self.epochs}, {self.step_rows}, {self.batch_size}, {self.learning_rate} "
                f"and {self.warm_up}"
            )

    def tune(
        self, base: TransformersLLM, pairs: Sequence[tuple[Prompt, str]], progress: Progress = silent
    ) -> TransformersLLM:
        """A copy of ``base`` taught the responses of ``pairs``.

        Args:
            base: the model to begin with; it is not changed.
            pairs: prompts and responses; each response is taught with the end-of-sequence token after it.
            progress: told the steps.

        Raises:
            BadInput: there are no rows, or the loss is no longer finite.
        """
        import torch
        from transformers import get_linear_schedule_with_warmup

        if not pairs:
            raise BadInput("fine-tuning needs a row or more")
        prompts, responses = tokenize_pairs(base, pairs, self.max_length, ended=True)
        tuned = copy.copy(base)
        tuned.source, tuned.name = None, f"{base.name}, tuned"
        dtype = base.model.dtype
        tuned.model = copy.deepcopy(base.model).float()
        steps = list(self._steps(len(pairs)))
        optimiser = torch.optim.AdamW(
            tuned.model.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay, foreach=True
        )
        schedule = get_linear_schedule_with_warmup(optimiser, round(self.warm_up * len(steps)), len(steps))
        devices = [base.device] if base.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(self.seed)
            tuned.model.train()
            for done, rows in enumerate(steps):
                self._gradients(tuned, prompts, responses, rows)
                torch.nn.utils.clip_grad_norm_(tuned.model.parameters(), 1.0)
                optimiser.step()
                schedule.step()
                optimiser.zero_grad(set_to_none=True)
                progress("fine-tuning", done + 1, len(steps))
        tuned.model.eval().to(dtype)
        return tuned

    def _steps(self, n: int) -> Iterator[np.ndarray]:
        rng = np.random.default_rng(self.seed)
        for _ in range(self.epochs):
            order = rng.permutation(n)
            yield from (order[start : start + self.step_rows] for start in range(0, n, self.step_rows))

    def _gradients(self, llm: TransformersLLM, prompts: Any, responses: Any, rows: np.ndarray) -> None:
        import torch
        from torch.utils.checkpoint import checkpoint

        pad = next(t for t in (llm.tokenizer.pad_token_id, llm.tokenizer.eos_token_id, 0) if t is not None)
        step = max(1, CHUNK_BYTES // (4 * llm.model.config.get_text_config().vocab_size))
        rows = np.array(sorted(rows, key=lambda i: (len(prompts[i]) + len(responses[i]), i)))  # little padding
        tokens = sum(len(responses[i]) for i in rows)
        for start in range(0, len(rows) if tokens else 0, self.batch_size):
            part = rows[start : start + self.batch_size]
            longest = max(len(responses[i]) for i in part)
            if not longest:
                continue
            ids, mask = left_padded([[*prompts[i], *responses[i]] for i in part], pad, llm.device)
            found = logits(llm.model, ids, mask, keep=longest + 1)[:, :-1]
            loss = torch.zeros((), device=llm.device)
            for row, i in enumerate(part):
                # A chunk's float32 log-softmax is dropped and made again on the way back, never held for all of them.
                length = len(responses[i])
                for first in range(0, length, step):
                    at = slice(longest - length + first, min(longest, longest - length + first + step))
                    wanted = ids[row, ids.shape[1] - longest :][at]
                    loss = loss + checkpoint(_loss, found[row, at], wanted, use_reentrant=False)
            if not torch.isfinite(loss):
                raise BadInput("fine-tuning: the loss is no longer finite; lower the learning rate")
            (loss / tokens).backward()


def _loss(rows: Any, wanted: Any) -> Any:
    import torch

    return torch.nn.functional.cross_entropy(rows.float(), wanted, reduction="sum")
