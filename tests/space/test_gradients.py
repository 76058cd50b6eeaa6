"""Projected gradients: inner products, what is left untouched, and small models kept whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from polyculture.errors import BadInput
from polyculture.space.gradients import Projection, projected_gradients


def squared_error(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return ((model(batch[0]) - batch[1]) ** 2).mean()


def batches(n: int, width: int = 8, seed: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(3, width, generator=generator), torch.randn(3, 1, generator=generator)) for _ in range(n)]


def net(width: int = 8, hidden: int = 64) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(width, hidden), nn.Tanh(), nn.Dropout(0.5), nn.Linear(hidden, 1))


def test_a_small_model_is_kept_whole() -> None:
    model = nn.Linear(2, 1)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -1.0]]))
        model.bias.zero_()
    x, y = torch.tensor([[2.0, 1.0]]), torch.tensor([[0.0]])
    got = projected_gradients(model, [(x, y)], squared_error, dim=512)
    np.testing.assert_allclose(got, [[4.0, 2.0, 2.0]])  # 2 (w.x + b - y) times (x, 1)


def test_inner_products_survive_the_projection() -> None:
    model, data = net(), batches(12)
    exact = projected_gradients(model, data, squared_error, dim=10_000).astype(np.float64)
    norms = np.linalg.norm(exact, axis=1)
    errors = []
    for seed in range(20):
        sketch = projected_gradients(model, data, squared_error, dim=256, seed=seed).astype(np.float64)
        assert sketch.shape == (12, 256)
        errors.append((sketch @ sketch.T - exact @ exact.T) / np.outer(norms, norms))
    assert np.abs(np.mean(errors, axis=0)).max() < 0.12  # unbiased
    assert np.std(errors) < 2 / np.sqrt(256)


def test_the_seed_decides_and_nothing_else_changes() -> None:
    model, data = net(), batches(3)
    model.train()
    model[0].weight.grad = torch.ones_like(model[0].weight)
    before = [p.detach().clone() for p in model.parameters()]
    a = projected_gradients(model, data, squared_error, dim=16, seed=1)
    b = projected_gradients(model, iter(data), squared_error, dim=16, seed=1)
    np.testing.assert_array_equal(a, b)  # dropout is off
    assert not np.array_equal(a, projected_gradients(model, data, squared_error, dim=16, seed=2))
    assert model.training and bool((model[0].weight.grad == 1).all())
    assert all(torch.equal(p, q) for p, q in zip(before, model.parameters(), strict=True))
    assert a.dtype == np.float32


def test_frozen_and_unused_parameters() -> None:
    model = net()
    model[0].requires_grad_(False)
    assert projected_gradients(model, batches(2), squared_error, dim=1000).shape == (2, 65)
    model.extra = nn.Linear(3, 3)
    got = projected_gradients(model, batches(2), lambda m, b: ((m[:4](b[0]) - b[1]) ** 2).mean(), dim=1000)
    assert got.shape == (2, 77) and not got[:, 65:].any()
    model.requires_grad_(False)
    with pytest.raises(BadInput, match="no trainable parameters"):
        projected_gradients(model, batches(2), squared_error)


def test_bad_dimension_and_no_batches() -> None:
    with pytest.raises(BadInput, match="at least one dimension"):
        Projection(net(), 0)
    assert projected_gradients(net(), [], squared_error, dim=5).shape == (0, 5)
