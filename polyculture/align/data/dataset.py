"""Encoded examples as a torch data set, with what else an objective needs beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from polyculture.align.data.encoding import Encoded, EncodedExamples
from polyculture.align.data.ragged import Ragged
from polyculture.errors import BadInput

Item = tuple[int, Encoded, Mapping[str, Any]]


class EncodedDataset:
    """A map-style data set of (index, example, {"ref": reference log-probabilities}).

    Args:
        examples: encoded examples.
        ref: of each example, for each completion, the reference's log-probability of every token.
        scored_by: the fingerprint of that reference.
        kind: what the examples are, for a later trainer to know; empty if it is not known.
    """

    def __init__(
        self, examples: Sequence[Encoded], ref: Ragged | None = None, scored_by: str = "", kind: str = ""
    ) -> None:
        self.examples = examples if isinstance(examples, EncodedExamples) else EncodedExamples(examples)
        self.ref = ref
        self.scored_by = scored_by
        self.kind = kind

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Item:
        return index, self.examples[index], {} if self.ref is None else {"ref": self.ref[index]}

    def check_fits(self, kind: str, columns: Sequence[str], name: str) -> None:
        """Check that an objective can be trained on the examples.

        Args:
            kind: what it trains on.
            columns: of numbers that it needs.
            name: of the objective, for messages.

        Raises:
            BadInput: the examples are of another kind, or lack a column.
        """
        if self.kind not in ("", kind):
            raise BadInput(f"the data set was encoded as {self.kind}, and '{name}' trains on {kind}; give it the rows")
        there = self.examples[0].numbers if len(self) else {}
        lacking = [column for column in columns if column not in there]
        if len(self) and lacking:
            raise BadInput(
                f"the encoded data set lacks the column '{lacking[0]}', which '{name}' needs; give it the rows"
            )

    def lengths(self) -> list[int]:
        """Tokens of each example, its prompt counted once."""
        found: list[int] = self.examples.tokens.sizes().tolist()
        return found


def with_mismatched(examples: Sequence[Encoded], max_length: int, others: Sequence[Encoded] = ()) -> EncodedExamples:
    """Every example with a completion of another prompt as its second: the reference point of KTO.

    Args:
        examples: of labels, one completion each.
        max_length: most tokens; the borrowed completion is cut at the end.
        others: where to look next, when all examples have the same prompt, as few held-out ones may.

    Raises:
        BadInput: all examples, and all others, have the same prompt.
    """
    held = examples if isinstance(examples, EncodedExamples) else EncodedExamples(examples)
    n = len(held)
    prompts = (held.prompt(i % n).tobytes() for i in range(n + 1 if n else 0))
    last_of_run = [one != following for one, following in pairwise(prompts)]
    lenders: Sequence[Encoded] = held
    after = [0] * n  # the next example of another prompt, around the end
    if any(last_of_run):
        for i in reversed(range(2 * n)):  # the second time around, what lies behind the end is known
            after[i % n] = (i + 1) % n if last_of_run[i % n] else after[(i + 1) % n]
    elif n:  # there is one prompt
        own = held.prompt(0).tolist()
        other = next((one for one in others if one.prompt != own), None)
        if other is None:
            raise BadInput("this objective compares completions with those of other prompts, but there is one prompt")
        lenders = [other]

    def pairs() -> Iterator[Encoded]:
        for i, example in enumerate(held):
            borrowed = lenders[after[i]].completions[0][: max(1, max_length - len(example.prompt))]
            yield replace(example, completions=(example.completions[0], borrowed))

    return EncodedExamples(pairs())
