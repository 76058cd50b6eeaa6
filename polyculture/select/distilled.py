"""A distilled set: what it holds, how varied it is, and what a student learns from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from polyculture.errors import BadInput
from polyculture.files import atomic

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Distilled:
    """A small labelled image set.

    Args:
        X: (m, ch, H, W) float32 images, in the teacher's normalised space.
        y: (m,) int64 classes.
        logits: (m, C) what the original teacher, never a moved one, says of them.
        origin: (m,) the row of the real image each one started from; -1 from noise.
        trace: "loss": (batches, 2) last cross-entropy and statistics loss; "adjustment": (batches, 4) the teacher's
            cross-entropy before and after it was moved, how far, and the norm of its weights.
    """

    X: np.ndarray
    y: np.ndarray
    logits: np.ndarray
    origin: np.ndarray
    trace: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.X)

    def soft_labels(self, temperature: float = 1.0) -> np.ndarray:
        """(m, C) the teacher's probabilities; a high temperature evens them out."""
        scaled = self.logits.astype(np.float64) / temperature
        grown = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        return grown / grown.sum(axis=1, keepdims=True)

    def save(self, path: Path) -> None:
        """Write a safetensors file, atomically."""
        from safetensors.numpy import save

        held = {"X": self.X, "y": self.y, "logits": self.logits, "origin": self.origin}
        held |= {f"trace.{name}": np.ascontiguousarray(values) for name, values in self.trace.items()}
        with atomic(path, "wb") as file:
            file.write(save(held))

    @classmethod
    def load(cls, path: Path) -> Distilled:
        """Read what ``save`` wrote.

        Raises:
            BadInput: the file lacks a part.
        """
        from safetensors.numpy import load_file

        held = load_file(path)
        missing = [name for name in ("X", "y", "logits", "origin") if name not in held]
        if missing:
            raise BadInput(f"{path} is not a distilled set: it lacks {', '.join(missing)}")
        trace = {name.removeprefix("trace."): values for name, values in held.items() if name.startswith("trace.")}
        return cls(held["X"], held["y"], held["logits"], held["origin"], trace)


def teacher_logits(model: torch.nn.Module, X: np.ndarray, *, batch_size: int = 256) -> np.ndarray:
    """(n, C) float32 what a model in evaluation mode says of images; the model's mode is put back."""
    import torch

    was, device = model.training, next(iter(model.parameters())).device
    X = np.asarray(X, dtype=np.float32)
    model.eval()
    try:
        with torch.no_grad():
            parts = [model(torch.as_tensor(X[i : i + batch_size]).to(device)) for i in range(0, len(X), batch_size)]
    finally:
        model.train(was)
    return np.concatenate([part.float().cpu().numpy() for part in parts])


def features(model: torch.nn.Module, X: np.ndarray, *, batch_size: int = 256) -> np.ndarray:
    """(n, d) what goes into a model's last linear layer.

    Raises:
        BadInput: the model has no linear layer.
    """
    import torch

    layers = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    if not layers:
        raise BadInput("the model has no linear layer whose input could serve as features")
    seen: list[torch.Tensor] = []
    hook = layers[-1].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    try:
        teacher_logits(model, X, batch_size=batch_size)
    finally:
        hook.remove()
    return np.concatenate([part.float().cpu().numpy() for part in seen])


def within_class_distance(F: np.ndarray, y: np.ndarray) -> float:
    """Mean over classes of the mean Euclidean distance between two members; nan if no class has two.

    Args:
        F: (n, d) features.
        y: (n,) classes.
    """
    from scipy.spatial.distance import pdist

    means = [pdist(F[y == label]).mean() for label in np.unique(y) if (y == label).sum() > 1]
    return float(np.mean(means)) if means else float("nan")


def train_student(
    student: torch.nn.Module,
    distilled: Distilled,
    teacher: torch.nn.Module,
    *,
    epochs: int = 400,
    temperature: float = 30.0,
    mixup: float = 0.8,
    jitter: int = 4,
    batch_size: int = 100,
    lr: float = 1e-3,
    weight_decay: float = 0.01,
    rng: np.random.Generator | int | None = None,
) -> torch.nn.Module:
    """Train a student in place on a distilled set: the teacher labels every view anew (paper, Section 4.1).

    A view is the batch, shifted cyclically by 0 to ``jitter`` pixels and mixed with a shuffled copy of itself by a
    share drawn from Beta(mixup, mixup). The loss is the Kullback-Leibler divergence from the teacher's probabilities
    at the temperature; AdamW with a cosine learning rate.

    Args:
        student: network with as many outputs as the teacher.
        distilled: the set.
        teacher: the original teacher.
        epochs: passes over the set.
        temperature: of both softmaxes.
        mixup: parameter of the Beta distribution; 0 does not mix.
        jitter: most pixels of a shift.
        batch_size: images a step.
        lr: base learning rate.
        weight_decay: AdamW's.
        rng: a Generator, or a seed for one.

    Returns:
        The student, in evaluation mode.

    Raises:
        BadInput: the set is empty, or the temperature is not above 0.
    """
    import torch
    from torch.nn.functional import kl_div, log_softmax, softmax

    if not len(distilled):
        raise BadInput("the distilled set is empty")
    if temperature <= 0:
        raise BadInput(f"temperature = {temperature}, but it should be above 0")
    draw = np.random.default_rng(rng)
    device = next(iter(student.parameters())).device
    X = torch.as_tensor(distilled.X, device=device)
    adam = torch.optim.AdamW(student.parameters(), lr=lr, weight_decay=weight_decay)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(adam, max(1, epochs))
    was = teacher.training
    teacher.eval()
    student.train()
    for _ in range(epochs):
        order = draw.permutation(len(X))
        for first in range(0, len(X), batch_size):
            x = X[order[first : first + batch_size]]
            x = torch.roll(x, tuple(draw.integers(0, jitter + 1, 2).tolist()), dims=(2, 3))
            if mixup > 0:
                share = float(draw.beta(mixup, mixup))
                x = share * x + (1 - share) * x[draw.permutation(len(x))]
            with torch.no_grad():
                wanted = softmax(teacher(x) / temperature, dim=1)
            loss = kl_div(log_softmax(student(x) / temperature, dim=1), wanted, reduction="batchmean")
            adam.zero_grad()
            loss.backward()
            adam.step()
        decay.step()
    teacher.train(was)
    return student.eval()
