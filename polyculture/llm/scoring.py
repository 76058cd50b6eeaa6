"""Log-probabilities of given completions: few logits are kept, and a prompt that several share is computed once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from polyculture.llm.batches import left_padded, logits, prefill, runs

LOGIT_BYTES = 256 * 2**20
"""Most bytes the logits of one batch may take."""

Read = Callable[[torch.Tensor, list[int]], np.ndarray]
"""What is kept of a completion: from its (tokens, vocabulary) logits and its token ids to one entry a token."""


def log_probabilities(rows: torch.Tensor, tokens: list[int]) -> np.ndarray:
    """Log-probability of each token under its row of logits, in float32 a sequence at a time."""
    chosen = torch.tensor(tokens, device=rows.device)[:, None]
    raw = rows.float()
    return (raw.gather(1, chosen)[:, 0] - raw.logsumexp(dim=1)).double().cpu().numpy()


@dataclass(frozen=True)
class Scorer:
    """Scores completions under a model.

    Args:
        model: a transformers causal language model.
        pad: id of the padding token.
        batch_size: most sequences computed at once.
        share_prompts: compute a prompt that has several completions once.
        read: what is kept of the logits of a completion.
    """

    model: Any
    pad: int
    batch_size: int
    share_prompts: bool
    read: Read = log_probabilities

    @torch.inference_mode()
    def score(self, prompts: Sequence[list[int]], completions: Sequence[list[int]]) -> list[np.ndarray]:
        """What ``read`` keeps of each completion; an empty one has an empty array. Prompts have a token or more."""
        scores = {i: np.zeros(0) for i, end in enumerate(completions) if not end}
        rest = (i for i, end in enumerate(completions) if end)
        alone: list[int] = []
        for together in runs(sorted(rest, key=lambda i: (prompts[i], len(completions[i]))), lambda i: prompts[i]):
            prompt = prompts[together[0]]
            if self.share_prompts and len(together) > 1 and len(prompt) > 1:
                scores |= self._shared(prompt, {i: completions[i] for i in together})
            else:
                alone += together
        alone.sort(key=lambda i: len(prompts[i]) + len(completions[i]))
        for batch in self._batches(alone, completions):
            scores |= self._whole(prompts, completions, batch)
        return [scores[i] for i in range(len(prompts))]

    def _whole(self, prompts: Any, completions: Any, batch: list[int]) -> dict[int, np.ndarray]:
        ids, mask = left_padded([[*prompts[i], *completions[i]] for i in batch], self.pad, self.model.device)
        # Padding on the left makes every completion end in the last column, so few logits need be kept.
        rows = logits(self.model, ids, mask, keep=max(len(completions[i]) for i in batch) + 1)
        return {i: self.read(rows[k, -len(completions[i]) - 1 : -1], completions[i]) for k, i in enumerate(batch)}

    def _shared(self, prompt: list[int], ends: dict[int, list[int]]) -> dict[int, np.ndarray]:
        scores: dict[int, np.ndarray] = {}
        prefix = prefill(self.model, [prompt[:-1]], self.pad)
        for batch in self._batches(list(ends), ends):
            cache = copy.deepcopy(prefix)
            cache.batch_repeat_interleave(len(batch))
            longest = max(len(ends[i]) for i in batch)
            # The last token of the prompt goes in again: its logits score the first token of the completion.
            rows = [[prompt[-1], *ends[i][:-1]] for i in batch]
            ids = [row + [self.pad] * (longest - len(row)) for row in rows]
            mask = [[1] * (len(prompt) - 1 + len(row)) + [0] * (longest - len(row)) for row in rows]
            device = self.model.device
            ids_and_mask = torch.tensor(ids, device=device), torch.tensor(mask, device=device)
            found = logits(self.model, *ids_and_mask, cache=cache, start=len(prompt) - 1)
            scores |= {i: self.read(found[k, : len(ends[i])], ends[i]) for k, i in enumerate(batch)}
        return scores

    def _batches(self, order: list[int], ends: Any) -> Iterator[list[int]]:
        token_bytes = self.model.config.get_text_config().vocab_size * 4
        batch: list[int] = []
        longest = 0
        for i in order:
            longest = max(longest, len(ends[i]) + 1)
            if batch and (len(batch) == self.batch_size or (len(batch) + 1) * longest * token_bytes > LOGIT_BYTES):
                yield batch
                batch, longest = [], len(ends[i]) + 1
            batch.append(i)
        if batch:
            yield batch
