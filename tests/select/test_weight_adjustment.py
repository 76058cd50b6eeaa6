"""The adjustment of a teacher's weights and the synthesis of a batch, piece by piece."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from polyculture.errors import BadInput
from polyculture.select.weight_adjustment import adjust_weights, cosine_lr, statistics_loss, synthesise_batch
from tests.select.test_distill import images, teacher


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    X, y = images(3)
    return torch.as_tensor(X), torch.as_tensor(y)


def test_ascent_raises_the_loss_and_stays_in_its_ball() -> None:
    x, y = batch()
    model = teacher()
    found = adjust_weights(model, x, y, rho=0.5, steps=6)
    assert len(found.ce) == 7 and all(a < b for a, b in zip(found.ce, found.ce[1:], strict=False))
    assert 0 < found.displacement <= 0.5 + 1e-6
    buffers = dict(model.named_buffers())
    for name, values in found.model.named_buffers():
        assert torch.equal(values, buffers[name]), "running statistics moved"
    assert adjust_weights(model, x, y, rho=0.5, steps=1).displacement == pytest.approx(0.5, rel=1e-5)


def test_random_direction_is_as_long_but_does_not_climb_as_high() -> None:
    x, y = batch()
    up = adjust_weights(teacher(), x, y, rho=0.5, steps=1)
    drawn = adjust_weights(
        teacher(), x, y, rho=0.5, steps=1, direction="random", generator=torch.Generator().manual_seed(0)
    )
    assert drawn.displacement == pytest.approx(up.displacement, rel=1e-4) and drawn.ce[-1] < up.ce[-1]


def test_zero_gradient_moves_nothing() -> None:
    x, y = batch()
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 1))  # one class: the loss is 0 everywhere
    found = adjust_weights(model, x, torch.zeros_like(y), rho=1, steps=3)
    assert found.displacement == 0 and found.ce == (0, 0, 0, 0)


def test_frozen_teacher_is_refused() -> None:
    x, y = batch()
    with pytest.raises(BadInput, match="no trainable parameters"):
        adjust_weights(teacher().requires_grad_(False), x, y)


def test_statistics_loss_by_hand() -> None:
    a = torch.tensor([0.0, 2.0]).reshape(1, 1, 1, 2)  # mean 1, variance 1
    assert float(statistics_loss(a, torch.tensor([4.0]), torch.tensor([3.0]), r_var=10)) == 10 * 2 + 3


def test_equal_statistics_have_no_gradient() -> None:
    a = torch.tensor([[0.0, 2.0]]).reshape(1, 1, 1, 2).requires_grad_()
    loss = statistics_loss(a, torch.tensor([1.0]), torch.tensor([1.0]))
    loss.backward()
    assert float(loss.detach()) == 0 and torch.equal(a.grad, torch.zeros_like(a))
    one_pixel = torch.ones(1, 2, 1, 1, requires_grad=True)
    statistics_loss(one_pixel, torch.zeros(2), torch.ones(2)).backward()
    assert torch.isfinite(one_pixel.grad).all()


def test_cosine_lr() -> None:
    assert cosine_lr(0, 10, 0.2) == 0.2 and cosine_lr(5, 10, 0.2) == pytest.approx(0.1)
    assert cosine_lr(9, 10, 1) == pytest.approx(0.5 * (1 + math.cos(0.9 * math.pi)))


def test_synthesis_lowers_the_loss_and_keeps_the_teacher() -> None:
    x, y = batch()
    model = teacher()
    found = synthesise_batch(
        model,
        x,
        y,
        low=torch.tensor([-9.0]),
        high=torch.tensor([9.0]),
        iterations=60,
        lr=0.1,
        r_bn=0.1,
        jitter=0,
        rho=0,
    )
    assert found.losses.shape == (60, 2) and found.losses[-1].sum() < found.losses[0].sum()
    assert np.isfinite(found.losses).all() and not found.x.requires_grad
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_the_left_over_gradient_only_changes_the_first_step() -> None:
    x, y = batch()
    bounds = {"low": torch.tensor([-9.0]), "high": torch.tensor([9.0])}
    clear = synthesise_batch(teacher(), x, y, **bounds, iterations=2, jitter=0)
    left = synthesise_batch(teacher(), x, y, **bounds, iterations=2, jitter=0, discard_input_gradient=False)
    np.testing.assert_array_equal(clear.losses[0], left.losses[0])
    assert not torch.equal(clear.x, left.x)
