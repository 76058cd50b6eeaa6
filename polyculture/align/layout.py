"""How examples lie in a batch: the prompt that several completions share is there once, or each has its own copy.

Shared, a row is ``prompt | completion 1 | completion 2 ...``: every completion sees the prompt and itself, by an
attention mask and by positions that go on from the prompt's end. Apart, a row is ``prompt | completion``. Either way a
completion's log-probabilities come out in the same place: row ``k B + b`` of the result is the k-th completion of the
b-th example, so that of pairs the chosen come first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from polyculture.align.encoding import Encoded
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
            ``source`` (N,), which position of the flattened batch predicts each token of a completion, ``targets``
            (N,), ``slot`` (N,), its place in the flattened (K B, T) result; ``mask`` (K B, T); ``ref_logps`` (K B, T)
            where the rows have it; ``index`` (B,), ``desirable`` (B,), and a tensor a column of numbers.
        """
        examples = [example for _, example, _ in rows]
        width = max(len(example.completions) for example in examples)
        apart = sum(len(e.prompt) * len(e.completions) + sum(map(len, e.completions)) for e in examples)
        together = sum(len(e.prompt) + sum(map(len, e.completions)) for e in examples)
        longest = max((len(c) for e in examples for c in e.completions), default=0)
        put = _Placed(width=width, batch=len(examples), longest=longest)
        shared = self.share and together < SAVING * apart
        for b, example in enumerate(examples):
            put.add_shared(b, example) if shared else put.add_apart(b, example)
        batch = put.tensors(self.pad, shared=shared)
        batch |= {
            "index": torch.tensor([index for index, _, _ in rows]),
            "desirable": torch.tensor([example.desirable for example in examples]),
        }
        for name in examples[0].numbers:
            batch[name] = _column(name, examples)
        if "ref" in rows[0][2]:
            batch["ref_logps"] = put.scattered([more["ref"] for _, _, more in rows])
        return batch


@dataclass
class _Placed:
    width: int
    batch: int
    longest: int
    tokens: list[list[int]] = field(default_factory=list)
    positions: list[list[int]] = field(default_factory=list)
    segments: list[list[int]] = field(default_factory=list)
    source: list[tuple[int, int]] = field(default_factory=list)  # row and column of the position that predicts
    targets: list[int] = field(default_factory=list)
    slot: list[int] = field(default_factory=list)

    def add_shared(self, b: int, example: Encoded) -> None:
        row, start = len(self.tokens), len(example.prompt)
        tokens, positions, segments = list(example.prompt), list(range(start)), [0] * start
        for k, completion in enumerate(example.completions):
            first = len(tokens)
            self._note(b, k, completion, row, [start - 1, *range(first, first + len(completion) - 1)])
            tokens += completion
            positions += range(start, start + len(completion))
            segments += [k + 1] * len(completion)
        self.tokens.append(tokens)
        self.positions.append(positions)
        self.segments.append(segments)

    def add_apart(self, b: int, example: Encoded) -> None:
        for k, completion in enumerate(example.completions):
            row, start = len(self.tokens), len(example.prompt)
            self._note(b, k, completion, row, list(range(start - 1, start - 1 + len(completion))))
            self.tokens.append([*example.prompt, *completion])

    def _note(self, b: int, k: int, completion: list[int], row: int, columns: list[int]) -> None:
        self.source += [(row, column) for column in columns]
        self.targets += completion
        start = (k * self.batch + b) * self.longest
        self.slot += range(start, start + len(completion))

    def tensors(self, pad: int, *, shared: bool) -> dict[str, Any]:
        length = max(map(len, self.tokens))
        batch: dict[str, Any] = {"input_ids": _padded(self.tokens, pad, length)}
        if shared:
            batch["position_ids"] = _padded(self.positions, 0, length)
            batch["visible"] = _visible(_padded(self.segments, -1, length))
        mask = torch.zeros(self.width * self.batch * self.longest, dtype=torch.bool)
        slot = torch.tensor(self.slot, dtype=torch.long)
        mask[slot] = True
        return batch | {
            "source": torch.tensor([row * length + column for row, column in self.source], dtype=torch.long),
            "targets": torch.tensor(self.targets, dtype=torch.long),
            "slot": slot,
            "mask": mask.view(self.width * self.batch, self.longest),
        }

    def scattered(self, values: Sequence[Sequence[Sequence[float]]]) -> Tensor:
        """(K B, T) of a number a token of every completion of every example."""
        out = torch.zeros(self.width * self.batch, self.longest)
        for b, of_example in enumerate(values):
            for k, one in enumerate(of_example):
                out[k * self.batch + b, : len(one)] = torch.as_tensor(one, dtype=torch.float32)
        return out


def _visible(segments: Tensor) -> Tensor:
    """(rows, 1, length, length): whether the query (third axis) sees the key (fourth)."""
    query, key = segments[:, :, None], segments[:, None, :]
    length = segments.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    # Padding sees itself alone: a row of a softmax over nothing would be NaN.
    return ((causal & ((key == 0) | (key == query)) & (query >= 0)) | torch.eye(length, dtype=torch.bool))[:, None]


def _padded(rows: Sequence[Sequence[int]], pad: int, length: int) -> Tensor:
    return torch.tensor([[*row, *[pad] * (length - len(row))] for row in rows], dtype=torch.long)


def _column(name: str, examples: Sequence[Encoded]) -> Tensor:
    values = [example.numbers[name] for example in examples]
    sizes = {len(value) if isinstance(value, tuple) else None for value in values}
    if len(sizes) > 1:
        places = f"{examples[0].place} and others"
        raise BadInput(f"column '{name}' holds {sizes} numbers in different rows ({places}); give each row as many")
    return torch.tensor(values, dtype=torch.float32)
