"""Rows as what a trainer reads: encoded data sets of one objective and one model, and what could not be used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from polyculture.align.data.dataset import EncodedDataset, with_mismatched
from polyculture.align.data.encoding import Cuts, Encoded, EncodedExamples, Encoder
from polyculture.align.data.examples import Rejected, read_examples
from polyculture.align.mixture import Mixture
from polyculture.align.objective import Objective
from polyculture.errors import BadInput
from polyculture.progress import Progress, silent


class RowReader:
    """Encodes rows for a trainer; the training data come first.

    Args:
        objective: says what the rows should hold.
        encoder: turns text into tokens.
        vocabulary: how many tokens the model has.

    Attributes:
        rejected: rows that can't be trained on, with the reason.
        cuts: what did not fit the encoder's ``max_length``.
    """

    def __init__(self, objective: Objective | Mixture, encoder: Encoder, vocabulary: int) -> None:
        self.objective, self.encoder, self.vocabulary = objective, encoder, vocabulary
        self.rejected: list[Rejected] = []
        self.cuts = Cuts(encoder.max_length)
        self._borrow_from: Sequence[Encoded] = ()
        borrows = objective.kind == "labels" and bool({"kl_policy", "kl_ref"} & set(objective.needs))
        self._encoded_as = f"{objective.kind} with answers to other prompts" if borrows else objective.kind
        self._borrows = borrows

    def read(self, rows: Any, source: str, progress: Progress = silent) -> EncodedDataset:
        """Rows as an encoded data set; what can't be used goes to ``rejected``, what was cut is added to ``cuts``.

        Args:
            rows: a list of dicts or a datasets.Dataset, or an encoded data set, which is given back.
            source: where they come from, for messages.
            progress: told the examples.

        Raises:
            BadInput: they don't fit the objective or the model, or none is left.
        """
        objective = self.objective
        if isinstance(rows, EncodedDataset):
            rows.check_fits(self._encoded_as, objective.columns, objective.name)
            return rows
        examples, rejected = read_examples(
            rows, objective.kind, columns=objective.columns, source=source, name=objective.name
        )
        encoded, same, cuts = self.encoder.encode(examples, progress)
        self._check_tokens(encoded)
        self.rejected += [*rejected, *same]
        self.cuts += cuts
        if self._borrows:
            encoded = with_mismatched(encoded, self.encoder.max_length, self._borrow_from)
            self._borrow_from = self._borrow_from or encoded
        return EncodedDataset(encoded, kind=self._encoded_as)

    def _check_tokens(self, examples: EncodedExamples) -> None:
        """On a GPU, a token that the model has not ends the process without a word."""
        highest, row = examples.tokens.largest()
        if highest >= self.vocabulary:
            raise BadInput(
                f"{examples[row].place or 'an example'}: token {highest} ('{self.encoder.tokenizer.decode([highest])}')"
                f" is beyond the {self.vocabulary} that the model has; use the tokenizer that belongs to it, or "
                "resize_token_embeddings of the model"
            )
