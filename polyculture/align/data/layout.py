"""How examples lie in a batch: the prompt that several completions share is there once, or each has its own copy.

Shared, a row is ``prompt | completion 1 | completion 2 ...``: every completion sees the prompt and itself, by an
attention mask and by positions that go on from the prompt's end. Apart, a row is ``prompt | completion``. Either way a
completion's log-probabilities come out in the same place: row ``k B + b`` of the result is the k-th completion of the
b-th example, so that of pairs the chosen come first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polyculture.align.data.encoding import Encoded
from polyculture.errors import BadInput

SAVING = 0.95
"""Prompts are shared where that leaves less than this share of the tokens."""


@dataclass(frozen=True)
class Layout:
    """Puts examples into a batch of tensors.

    Args:
        pad: id of the padding token.
        share: whether a prompt may be shared; it is where that saves tokens.
    """

    pad: int
    share: bool = True

    def __call__(self, rows: Sequence[tuple[int, Encoded, Mapping[str, Any]]]) -> dict[str, Any]:
        """The batch.

        Args:
            rows: of each example its index, the example, and more: ``ref``, the reference's log-probabilities of the
                tokens of each completion.

        Returns:
            ``input_ids``, with ``position_ids`` and ``visible`` (rows, 1, length, length) where prompts are shared;
            ``lengths`` (rows,), the tokens of each row before its padding; ``source`` (N,), which position of the
            flattened batch predicts each token of a completion, ``targets`` (N,), ``slot`` (N,), its place in the
            flattened (K B, T) result; ``mask`` (K B, T); ``ref_logps`` (K B, T) where the rows have it; ``index`` (B,),
            ``desirable`` (B,), and a tensor a column of numbers.
        """
        examples = [example for _, example, _ in rows]
        width = max(len(example.completions) for example in examples)
        apart = sum(len(e.prompt) * len(e.completions) + sum(map(len, e.completions)) for e in examples)
        together = sum(len(e.prompt) + sum(map(len, e.completions)) for e in examples)
        longest = max((len(c) for e in examples for c in e.completions), default=0)
        batch = _placed(examples, width, longest, self.pad, shared=self.share and together < SAVING * apart)
        batch |= {
            "index": torch.tensor([index for index, _, _ in rows]),
            "desirable": torch.tensor([example.desirable for example in examples]),
        }
        for name in examples[0].numbers:
            batch[name] = _column(name, examples)
        if "ref" in rows[0][2]:
            batch["ref_logps"] = _scattered([more["ref"] for _, _, more in rows], width, longest)
        return batch


def _placed(examples: Sequence[Encoded], width: int, longest: int, pad: int, *, shared: bool) -> dict[str, Any]:
    """The tokens of a batch and where they lie.

    Args:
        examples: of the batch.
        width: most completions of an example.
        longest: most tokens of a completion.
        pad: id of the padding token.
        shared: whether an example is one row, or each of its completions.
    """
    several = [(b, tuple(enumerate(example.completions))) for b, example in enumerate(examples)]
    rows = several if shared else [(b, (one,)) for b, completions in several for one in completions]
    filled = [len(examples[b].prompt) + sum(len(c) for _, c in completions) for b, completions in rows]
    length = max(filled)
    ids = np.full((len(rows), length), pad, dtype=np.int64)
    positions = np.zeros_like(ids)
    visible = np.tile(np.tri(length if shared else 0, dtype=bool), (len(rows), 1, 1, 1))
    source, targets, slot = [], [], []
    for row, (b, completions) in enumerate(rows):
        first = start = len(examples[b].prompt)
        ids[row, :start] = examples[b].prompt
        positions[row, :start] = np.arange(start)
        for k, completion in completions:
            end = first + len(completion)
            ids[row, first:end] = completion
            positions[row, first:end] = np.arange(start, start + len(completion))
            visible[row, 0, first:end, start:first] = False  # the completions before it
            columns = np.arange(first - 1, end - 1)
            columns[:1] = start - 1  # the prompt's end predicts the first token
            source.append(row * length + columns)
            targets.append(ids[row, first:end])
            slot.append((k * len(examples) + b) * longest + np.arange(len(completion)))
            first = end
        visible[row, 0, first:] = False
    batch: dict[str, Any] = {"input_ids": torch.from_numpy(ids), "lengths": torch.tensor(filled)}
    if shared:
        every = np.arange(length)
        visible[..., every, every] = True  # padding sees itself: a row of a softmax over nothing would be NaN
        batch |= {"position_ids": torch.from_numpy(positions), "visible": torch.from_numpy(visible)}
    mask = torch.zeros(width * len(examples), longest, dtype=torch.bool)
    places = torch.from_numpy(np.concatenate(slot))
    mask.view(-1)[places] = True
    return batch | {
        "source": torch.from_numpy(np.concatenate(source)),
        "targets": torch.from_numpy(np.concatenate(targets)),
        "slot": places,
        "mask": mask,
    }


def _scattered(values: Sequence[Sequence[Sequence[float]]], width: int, longest: int) -> Tensor:
    """(K B, T) of a number a token of every completion of every example."""
    out = np.zeros((width * len(values), longest), dtype=np.float32)
    for b, of_example in enumerate(values):
        for k, one in enumerate(of_example):
            out[k * len(values) + b, : len(one)] = one
    return torch.from_numpy(out)


def _column(name: str, examples: Sequence[Encoded]) -> Tensor:
    values = [example.numbers[name] for example in examples]
    sizes = {len(value) if isinstance(value, tuple) else None for value in values}
    if len(sizes) > 1:
        places = f"{examples[0].place} and others"
        raise BadInput(f"column '{name}' holds {sizes} numbers in different rows ({places}); give each row as many")
    return torch.tensor(values, dtype=torch.float32)
