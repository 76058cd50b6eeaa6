"""Influence of a pool's groups on a tiny language model, and TiKMiX-D and -M on top of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from polyculture.errors import BadInput
from polyculture.mix.pool_influence import PoolInfluence, sequences
from polyculture.mix.proxy import byte_model, byte_tokens
from polyculture.mix.tikmix import TiKMiX
from polyculture.mix.tikmix_search import TiKMiXM
from polyculture.pool import Pool


def pools() -> tuple[Pool, Pool]:
    rng = np.random.default_rng(0)
    noise = ["".join(chr(c) for c in rng.integers(33, 126, 40)) for _ in range(20)]
    texts = ["abcd" * 10] * 20 + ["wxyz" * 10] * 20 + noise
    pool = Pool.from_arrays(texts=texts, groups=["abc"] * 20 + ["xyz"] * 20 + ["noise"] * 20)
    return pool, Pool.from_arrays(texts=["abcd" * 20] * 3 + ["abcdwxyz" * 10] * 3, groups=["one"] * 3 + ["both"] * 3)


def warm_up(model: torch.nn.Module) -> None:
    rows = torch.from_numpy(np.concatenate([r[:8] for r in sequences(pools()[0], byte_tokens, 20).values()]))
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(20):
        optimiser.zero_grad()
        model(input_ids=rows, labels=rows).loss.backward()
        optimiser.step()


def test_from_influence_to_a_mixture() -> None:
    torch.manual_seed(0)
    model = byte_model()
    warm_up(model)
    probe = PoolInfluence(model, *pools(), length=20, batches=8, dim=256)
    S = probe.benefits
    assert S.groups == ("abc", "noise", "xyz") and S.tasks == ("both", "one")
    assert S.values[1, 0] > S.values[1, 1] and S.values[1, 0] > S.values[1, 2]  # for abcd, abcd helps most
    assert S.values[0, 2] > S.values[0, 1]  # half of the other task is wxyz
    first = TiKMiX().fit(S)
    assert first.weights_[1] < 1 / 3
    assert probe.measure([1, 0, 0]) > probe.measure([0, 0, 1]) > probe.measure([0, 1, 0])
    assert probe.measure([0.5, 0, 0.5]) == probe.measure([0.5, 0, 0.5])
    refined = TiKMiXM(trees=50, rounds=3, draws=100, folds=0).measure_and_fit(first.weights_, probe.measure, 24)
    assert refined.weights_.sum() == pytest.approx(1) and refined.weights_[1] < 1 / 3


def test_too_little_text_and_other_mixtures() -> None:
    pool, validation = pools()
    with pytest.raises(BadInput, match="less than one sequence of 5000"):
        PoolInfluence(byte_model(), pool, validation, length=5000)
    with pytest.raises(BadInput, match="--groups"):
        PoolInfluence(byte_model(), Pool.from_arrays(texts=["a" * 99]), validation)
    probe = PoolInfluence(byte_model(), pool, validation, length=20, batches=1, dim=32)
    with pytest.raises(BadInput, match="2 weights, the pool 3 groups"):
        probe.measure([0.5, 0.5])
