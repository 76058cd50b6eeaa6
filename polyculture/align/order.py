"""The order in which examples are seen, where it is not transformers' own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers.trainer_pt_utils import LengthGroupedSampler

from polyculture.align.data.dataset import EncodedDataset
from polyculture.errors import BadInput


class SeededLengthSampler(LengthGroupedSampler):
    """Batches of about the same length, in an order that depends on the seed and the epoch alone.

    transformers' own draws from torch's random stream, so that a run resumed after the first epoch would see its
    examples in another order, some twice and some never, and so would processes whose streams have parted.

    Args:
        size: examples of a batch.
        lengths: of the examples.
        seed: of the order.
    """

    def __init__(self, size: int, lengths: Sequence[int], seed: int) -> None:
        super().__init__(size, lengths=list(lengths))
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate before each pass over the data."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        """The examples' numbers."""
        self.generator = torch.Generator().manual_seed(self.seed + self.epoch)
        return iter(super().__iter__())


def train_sampler(args: Any, data: Any) -> SeededLengthSampler | None:
    """What gives the order that is asked for, or None where transformers' own does.

    Args:
        args: transformers' TrainingArguments.
        data: the training data.

    Raises:
        BadInput: the order is one of batches of different sizes.
    """
    if args.train_sampling_strategy == "batch_rebalance":
        raise BadInput(
            "train_sampling_strategy=batch_rebalance makes batches of other sizes than were asked for; use "
            "group_by_length, which puts examples of about the same length together"
        )
    if args.train_sampling_strategy != "group_by_length" or not isinstance(data, EncodedDataset):
        return None
    size = args.train_batch_size * args.gradient_accumulation_steps
    return SeededLengthSampler(size, data.lengths(), args.seed if args.data_seed is None else args.data_seed)
