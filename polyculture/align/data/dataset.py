"""Encoded examples as a torch data set, with what else an objective needs beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from polyculture.align.data.encoding import Encoded
from polyculture.errors import BadInput

Item = tuple[int, Encoded, Mapping[str, Any]]


class EncodedDataset:
    """A map-style data set of (index, example, {"ref": reference log-probabilities}).

    Args:
        examples: encoded examples.
        ref: of each example, for each completion, the reference's log-probability of every token.
    """

    def __init__(self, examples: Sequence[Encoded], ref: Sequence[Sequence[np.ndarray]] | None = None) -> None:
        self.examples = list(examples)
        self.ref = ref

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Item:
        return index, self.examples[index], {} if self.ref is None else {"ref": self.ref[index]}

    def lengths(self) -> list[int]:
        """Tokens of each example, its prompt counted once."""
        return [len(example.prompt) + sum(map(len, example.completions)) for example in self.examples]


def with_mismatched(examples: Sequence[Encoded], max_length: int, others: Sequence[Encoded] = ()) -> list[Encoded]:
    """Every example with a completion of another prompt as its second: the reference point of KTO.

    Args:
        examples: of labels, one completion each.
        max_length: most tokens; the borrowed completion is cut at the end.
        others: where to look next, when all examples have the same prompt, as few held-out ones may.

    Raises:
        BadInput: all examples, and all others, have the same prompt.
    """
    n = len(examples)
    after: list[Encoded | None] = [None] * n  # the next example of another prompt, around the end
    for i in reversed(range(2 * n)):  # the second time around, what lies behind the end is known
        following = examples[(i + 1) % n]
        after[i % n] = following if following.prompt != examples[i % n].prompt else after[(i + 1) % n]
    if n and after[0] is None:  # there is one prompt
        after = [next((one for one in others if one.prompt != examples[0].prompt), None)] * n
    found = []
    for example, other in zip(examples, after, strict=True):
        if other is None:
            raise BadInput("this objective compares completions with those of other prompts, but there is one prompt")
        borrowed = other.completions[0][: max(1, max_length - len(example.prompt))]
        found.append(replace(example, completions=(example.completions[0], borrowed)))
    return found
