"""Model gradients as features: the gradient of a loss at each batch, projected to a few hundred numbers.

A count sketch (every weight goes to one of ``dim`` buckets with a random sign) keeps inner products of gradients in
expectation, with an error of the order of |a| |b| / sqrt(dim), in one pass over a gradient whatever ``dim`` is.
Source: Charikar, Chen, Farach-Colton (2002); gradients as features: TRAK (2023), LESS (2024).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any

import numpy as np
import torch
from torch import nn

from polyculture.errors import BadInput
from polyculture.progress import Progress, silent

Loss = Callable[[nn.Module, Any], torch.Tensor]


def model_loss(model: nn.Module, batch: Any) -> torch.Tensor:
    """The loss that a transformers model computes of a batch with labels, mean over its tokens."""
    loss: torch.Tensor = model(**batch).loss
    return loss


class Projection:
    """A random projection of a model's gradient to ``dim`` numbers, the same for every gradient.

    Args:
        model: whose trainable parameters are projected.
        dim: of the projection; a model with no more parameters is kept whole, in order.
        seed: of the projection.

    Raises:
        BadInput: the model has nothing to train, or dim is below 1.
    """

    def __init__(self, model: nn.Module, dim: int = 512, *, seed: int = 0) -> None:
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        size = sum(p.numel() for p in self.parameters)
        if size == 0:
            raise BadInput("the model has no trainable parameters; unfreeze those whose gradients are wanted")
        if dim < 1:
            raise BadInput(f"dim = {dim}, but a projection needs at least one dimension")
        self.whole = size <= dim
        self.dim = min(size, dim)
        self.seed = seed
        # Bucket b and bucket dim + b hold what is added to and taken from number b: sign and place in one int32.
        self.places: list[torch.Tensor] = []
        if not self.whole:
            generator = torch.Generator().manual_seed(seed)
            for p in self.parameters:
                drawn = torch.randint(0, 2 * self.dim, (p.numel(),), generator=generator, dtype=torch.int32)
                self.places.append(drawn.to(p.device))

    def __call__(self, gradients: Iterable[torch.Tensor | None]) -> torch.Tensor:
        """(dim,) float32 from one gradient, a tensor a parameter; None is a parameter the loss does not touch."""
        device = self.parameters[0].device
        if self.whole:
            parts = [
                (torch.zeros_like(p) if g is None else g).reshape(-1).float().to(device)
                for p, g in zip(self.parameters, gradients, strict=True)
            ]
            return torch.cat(parts)
        sums = torch.zeros(2 * self.dim, device=device)
        for place, gradient in zip(self.places, gradients, strict=True):
            if gradient is not None:
                part = torch.zeros(2 * self.dim, device=gradient.device)
                sums += part.index_add_(0, place, gradient.reshape(-1).float()).to(device)
        return sums[: self.dim] - sums[self.dim :]


def batch_gradients(
    model: nn.Module, batches: Iterable[Any], projection: Projection, *, loss: Loss | None = None
) -> Iterator[np.ndarray]:
    """The projected gradient of the loss at each batch, one at a time, (dim,) float32.

    The model runs in evaluation mode (no dropout) and is put back; its weights and ``.grad`` are not touched.

    Args:
        model: the module.
        batches: anything ``loss`` takes; mappings of tensors are moved to the model's device.
        projection: made for this model.
        loss: (model, batch) -> scalar; None is ``model(**batch).loss``.
    """
    was_training = model.training
    device = projection.parameters[0].device
    model.eval()
    try:
        with torch.enable_grad():
            for batch in batches:
                value = (loss or model_loss)(model, _to(batch, device))
                gradients = torch.autograd.grad(value, projection.parameters, allow_unused=True)
                yield projection(gradients).cpu().numpy()
    finally:
        model.train(was_training)


def projected_gradients(
    model: nn.Module,
    batches: Iterable[Any],
    loss: Loss | None = None,
    dim: int = 512,
    seed: int = 0,
    *,
    progress: Progress = silent,
) -> np.ndarray:
    """Gradient features: one row a batch, so batches of one give one row an example.

    Inner products of rows estimate those of the gradients. Beside the model there is one gradient, four bytes a
    parameter for the projection, and the result.

    Args:
        model: the module; left as it was.
        batches: what ``loss`` takes.
        loss: (model, batch) -> scalar; None is ``model(**batch).loss``.
        dim: of the projection.
        seed: of the projection; the same seed and model give the same projection.
        progress: told of every batch; the total is 0 where it is not known.

    Returns:
        (n, min(dim, parameters)) float32.

    Raises:
        BadInput: the model has nothing to train.
    """
    projection = Projection(model, dim, seed=seed)
    total = len(batches) if isinstance(batches, Sized) else 0
    rows = []
    for i, row in enumerate(batch_gradients(model, batches, projection, loss=loss)):
        progress("gradients", i + 1, total)
        rows.append(row)
    return np.array(rows, dtype=np.float32).reshape(len(rows), projection.dim)


def _to(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, torch.Tensor):
        return batch.to(device)
    if hasattr(batch, "items"):
        return {key: _to(value, device) for key, value in batch.items()}
    return batch
