"""Directed weight adjustment: a teacher moved away from a batch, and images optimised against it.

Diversity-Driven Synthesis: Enhancing Dataset Distillation through Directed Weight Adjustment (2024), Section 3.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from polyculture.errors import BadInput, unknown

if TYPE_CHECKING:
    import torch

BETAS, EPS = (0.5, 0.9), 1e-8  # Adam's, on the images


@dataclass(frozen=True)
class Adjusted:
    """A teacher whose weights were moved.

    Args:
        model: the moved copy, in evaluation mode.
        ce: cross-entropy before each step and after the last, (steps + 1,).
        displacement: L2 distance between the new weights and the old.
        norm: L2 norm of the old weights; ``displacement`` is absolute, so it says little without it.
        input_gradient: gradients of the images over all steps, summed; what released code leaves behind.
    """

    model: torch.nn.Module
    ce: tuple[float, ...]
    displacement: float
    norm: float
    input_gradient: torch.Tensor


def adjust_weights(
    model: torch.nn.Module,
    x: torch.Tensor,
    y: torch.Tensor,
    *,
    rho: float = 0.015,
    steps: int = 12,
    direction: Literal["ascent", "random"] = "ascent",
    generator: torch.Generator | None = None,
) -> Adjusted:
    """Move a copy of the teacher's weights up its loss on a batch, at most ``rho`` far (paper, Section 3.2).

    Each step is theta <- theta + (rho / K) g / (||g||_2 + 1e-12), g the gradient of the mean cross-entropy with
    respect to all trainable parameters, BatchNorm's scale and shift included, with one norm over all of them. Running
    statistics stay. Where the gradient is zero nothing moves.

    Args:
        model: teacher; it is copied, not changed.
        x: (B, ch, H, W) images.
        y: (B,) classes.
        rho: length of the whole way, in the units of the weights.
        steps: K.
        direction: "random" replaces g by a fresh random direction each step, for comparison.
        generator: where random directions come from.

    Raises:
        BadInput: rho is negative, ``steps`` too, or no parameter is trainable.
        UnknownMethod: no such direction.
    """
    import torch
    from torch.nn.functional import cross_entropy

    if rho < 0 or steps < 0:
        raise BadInput(f"rho = {rho} and steps = {steps}, but neither should be negative")
    if direction not in ("ascent", "random"):
        raise unknown("direction", direction, ("ascent", "random"))
    moved = copy.deepcopy(model).eval()
    weights = [p for p in moved.parameters() if p.requires_grad]
    if not weights:
        raise BadInput("the teacher has no trainable parameters; call requires_grad_(True) on it")
    before = [p.detach().clone() for p in weights]
    held = x.detach().clone().requires_grad_()
    leaked = torch.zeros_like(held)
    ce = []
    for _ in range(steps):
        loss = cross_entropy(moved(held), y)
        ce.append(float(loss.detach()))
        *gradient, of_input = torch.autograd.grad(loss, [*weights, held], allow_unused=True)
        leaked += of_input
        if direction == "random":
            gradient = [torch.randn(p.shape, generator=generator, dtype=p.dtype).to(p.device) for p in weights]
        length = _norm([g for g in gradient if g is not None])
        with torch.no_grad():
            for p, g in zip(weights, gradient, strict=True):
                if g is not None:
                    p.add_((rho / steps) * g / (length + 1e-12))
    with torch.no_grad():
        ce.append(float(cross_entropy(moved(held), y)))
    way = _norm([p.detach() - b for p, b in zip(weights, before, strict=True)])
    return Adjusted(moved, tuple(ce), float(way), float(_norm(before)), leaked)


def _norm(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    import torch

    return torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(p) for p in parts]))


def statistics_loss(
    activations: torch.Tensor, running_mean: torch.Tensor, running_var: torch.Tensor, *, r_var: float = 11.0
) -> torch.Tensor:
    """How far a batch is from the statistics a BatchNorm layer knows (paper, Section 3.1).

    r_var ||running_var - Var||_2 + ||running_mean - Mean||_2, the norms over channels and not squared. The variance's
    part rewards spread, so it has a weight of its own. Where the statistics are equal the gradient is 0.

    Args:
        activations: (B, C, H, W) the layer's input.
        running_mean: (C,) the layer's mean.
        running_var: (C,) the layer's variance.
        r_var: weight of the variance.

    Returns:
        A scalar.
    """
    import torch

    mean = activations.mean(dim=(0, 2, 3))
    var = activations.var(dim=(0, 2, 3), unbiased=False)
    return r_var * torch.linalg.vector_norm(running_var - var) + torch.linalg.vector_norm(running_mean - mean)


def cosine_lr(i: int, T: int, base: float) -> float:
    """The learning rate at iteration i of T: 0.5 base (1 + cos(pi i / T))."""
    return 0.5 * base * (1 + math.cos(math.pi * i / T))


@contextmanager
def _watched(model: torch.nn.Module) -> Iterator[list[tuple[torch.nn.Module, torch.Tensor]]]:
    """The BatchNorm layers of a model with the input each of them got in the last forward pass, in that order."""
    import torch

    seen: list[tuple[torch.nn.Module, torch.Tensor]] = []
    layers = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d) and m.running_mean is not None]
    hooks = [m.register_forward_pre_hook(lambda m, inputs: seen.append((m, inputs[0]))) for m in layers]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


@dataclass(frozen=True)
class Batch:
    """A batch of synthesised images.

    Args:
        x: (B, ch, H, W) the last iterate.
        losses: (T, 2) cross-entropy and weighted statistics loss before each step.
        adjusted: the teacher they were made against.
    """

    x: torch.Tensor
    losses: np.ndarray
    adjusted: Adjusted


def synthesise_batch(
    model: torch.nn.Module,
    x0: torch.Tensor,
    y: torch.Tensor,
    *,
    low: torch.Tensor,
    high: torch.Tensor,
    rho: float = 0.015,
    steps: int = 12,
    iterations: int = 1000,
    lr: float = 0.25,
    r_bn: float = 0.01,
    r_var: float = 11.0,
    first_bn_multiplier: float = 10.0,
    jitter: int = 4,
    direction: Literal["ascent", "random"] = "ascent",
    discard_input_gradient: bool = True,
    adjust_on: torch.Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Batch:
    """Adjust the teacher once, then optimise the images against it (paper, Algorithm 1).

    The loss is CE + r_bn sum_l s_l R_l, R_l from :func:`statistics_loss`, s_1 = ``first_bn_multiplier`` and 1
    otherwise. Each iteration shifts the images cyclically by 0 to ``jitter`` pixels, takes one step of Adam (betas 0.5
    and 0.9) with the rate of :func:`cosine_lr`, and clamps the channels.

    Args:
        model: teacher.
        x0: (B, ch, H, W) starting images.
        y: (B,) classes.
        low: (ch,) least value of each channel, -mean / std for images in [0, 1].
        high: (ch,) greatest value of each channel, (1 - mean) / std.
        rho: how far the weights are moved.
        steps: in how many steps.
        iterations: T.
        lr: base learning rate.
        r_bn: weight of the statistics loss.
        r_var: weight of the variance in it.
        first_bn_multiplier: s_1.
        jitter: most pixels of a shift.
        direction: see :func:`adjust_weights`.
        discard_input_gradient: False leaves the gradients of the images from the ascent in the first step, as the
            released code does.
        adjust_on: the real images the weights are moved on; None takes ``x0``.
        generator: where shifts come from.
    """
    import torch
    from torch.nn.functional import cross_entropy

    real = x0 if adjust_on is None else adjust_on
    adjusted = adjust_weights(model, real, y, rho=rho, steps=steps, direction=direction, generator=generator)
    teacher = copy.deepcopy(adjusted.model).requires_grad_(False)
    bounds = low.to(x0)[:, None, None], high.to(x0)[:, None, None]
    x = x0.detach().clone().requires_grad_()
    adam = torch.optim.Adam([x], lr=lr, betas=BETAS, eps=EPS)
    losses = np.zeros((iterations, 2))
    for i in range(iterations):
        adam.param_groups[0]["lr"] = cosine_lr(i, iterations, lr)
        shift = torch.randint(jitter + 1, (2,), generator=generator).tolist()
        with _watched(teacher) as seen:
            ce = cross_entropy(teacher(torch.roll(x, shift, dims=(2, 3))), y)
        aux = torch.zeros_like(ce)
        for place, (layer, activations) in enumerate(seen):
            weight = first_bn_multiplier if place == 0 else 1.0
            mean, var = torch.as_tensor(layer.running_mean), torch.as_tensor(layer.running_var)
            aux = aux + r_bn * weight * statistics_loss(activations, mean, var, r_var=r_var)
        (x.grad,) = torch.autograd.grad(ce + aux, [x])
        if i == 0 and not discard_input_gradient:
            x.grad += adjusted.input_gradient
        adam.step()
        with torch.no_grad():
            x.copy_(torch.minimum(torch.maximum(x, bounds[0]), bounds[1]))
        losses[i] = float(ce.detach()), float(aux.detach())
    return Batch(x.detach(), losses, adjusted)
