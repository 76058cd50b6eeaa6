"""Arrays of any length held as one: what comes out, what it weighs, and what a worker process is sent."""

from __future__ import annotations

import pickle
import tracemalloc
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch.multiprocessing  # noqa: F401 - teaches the pickler of worker processes to share tensors

from polyculture.align.data.dataset import EncodedDataset
from polyculture.align.data.encoding import Encoded, EncodedExamples
from polyculture.align.data.ragged import Ragged

ROWS = [[[1, 2], [3]], [], [[], [4, 5, 6]]]


def test_rows_come_out_as_they_went_in() -> None:
    held = Ragged(iter(ROWS), np.int32)
    assert len(held) == 3 and [[part.tolist() for part in row] for row in held] == ROWS
    assert [part.tolist() for part in held[-1]] == [[], [4, 5, 6]]
    assert [[part.tolist() for part in row] for row in held[1:]] == ROWS[1:]
    assert held.sizes().tolist() == [3, 0, 3] and held[0][0].dtype == np.int32
    with pytest.raises(IndexError):
        held[3]
    assert held.largest() == (6, 2)
    assert Ragged([[[1], [9]], [[]], [[9]]], np.int32).largest() == (9, 0)
    assert Ragged([[[1]], [[], []], [[9]]], np.int32).largest() == (9, 2)
    assert len(Ragged([], np.float32)) == 0 and Ragged([], np.float32).sizes().tolist() == []


def test_examples_come_out_as_they_went_in() -> None:
    examples = [
        Encoded([5, 100_000], ([8, 1], [9, 1]), {"margin": 1.0}, True, "row 1"),
        Encoded([6], ([7],), {}, False, "row 2"),
        Encoded([6], (), {}, place="row 3"),
    ]
    held = EncodedExamples(iter(examples))
    assert list(held) == examples and held[-1] == examples[-1] and held[:2] == examples[:2]
    assert all(type(token) is int for token in held[0].prompt), "plain numbers, which can be written as JSON"
    data = EncodedDataset(held)
    assert data.examples is held and data.lengths() == [6, 2, 1] and data[1] == (1, examples[1], {})


def many(length: int) -> EncodedDataset:
    return EncodedDataset(EncodedExamples(Encoded([1000 + i] * length, ([2000 + i] * length,), {}) for i in range(200)))


def test_a_token_weighs_four_bytes() -> None:
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    data = many(1000)
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert sum(data.lengths()) == 400_000 and held < 4.5 * 400_000


def test_a_worker_process_is_not_sent_the_tokens() -> None:
    sent = ForkingPickler.dumps(many(1000))
    assert len(sent) < 50_000, "1.6 MB of tokens"
    assert pickle.loads(pickle.dumps(many(3)))[7] == many(3)[7]
