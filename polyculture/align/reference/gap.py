"""How far the reference already prefers the chosen answer of each pair: ln p(chosen) - ln p(rejected)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from polyculture.align.data.encoding import Encoder
from polyculture.align.data.examples import PlacedRow, read_examples
from polyculture.align.data.layout import Layout
from polyculture.align.log_probs.forward import probe
from polyculture.align.preparation import fitting_length
from polyculture.align.reference.scores import reference_log_probs
from polyculture.llm.loading import load, on_device
from polyculture.progress import Progress, silent

SOURCE = "pair row"


@dataclass(frozen=True)
class ReferenceGaps:
    """The gap of rows of pairs under a model, read and encoded as the trainer does.

    Args:
        model: folder or hub id of the reference, or a transformers causal language model.
        tokenizer: a tokenizer, where to load it from, or None for where the model is.
        max_length: most tokens of a prompt and a completion.
        batch_size: pairs computed at once.
        dtype: to load the model in.
        device: to put a loaded model on; None is the first GPU if there is one.
        folder: where log-probabilities are kept, to be found again; None keeps none.
        progress: told the pairs.
    """

    model: Any
    tokenizer: Any = None
    max_length: int = 1024
    batch_size: int = 8
    dtype: Any = "float32"
    device: Any = None
    folder: Path | None = None
    progress: Progress = silent

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """The gaps, (n,) float64 in nats, summed over tokens with the end of the sequence.

        NaN where a row can't be trained on: an answer is empty, or both are the same (when cut to ``max_length``).

        Args:
            rows: with chosen, rejected, and a prompt or a beginning that both share.

        Raises:
            BadInput: a row lacks a column, no row is left, or the reference gives a token no probability.
        """
        model, tokenizer = load(self.model, self.tokenizer, self.dtype)
        if model is not self.model:
            model = on_device(model, self.device)
        placed = [PlacedRow(row, f"{SOURCE} {number}") for number, row in enumerate(rows, 1)]
        examples, _ = read_examples(placed, "pairs", source=SOURCE, name="curry-dpo")
        length = fitting_length(model, self.max_length)  # as the trainer cuts them
        encoded, _, _ = Encoder(tokenizer, length).encode(examples, self.progress)
        abilities = probe(model, model.config.get_text_config().vocab_size, 2 * length)
        pad = next(token for token in (tokenizer.pad_token_id, tokenizer.eos_token_id) if token is not None)
        scores = reference_log_probs(
            model,
            encoded,
            layout=Layout(pad, share=abilities.share_prompts),
            abilities=abilities,
            folder=self.folder,
            batch_size=self.batch_size,
            progress=self.progress,
        )
        gaps = np.full(len(rows), np.nan)
        for example, (chosen, rejected) in zip(encoded, scores, strict=True):
            gaps[int(example.place.removeprefix(SOURCE)) - 1] = chosen.sum(dtype=np.float64) - rejected.sum(
                dtype=np.float64
            )
        return gaps
