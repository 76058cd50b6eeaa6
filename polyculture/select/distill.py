"""Dataset distillation with directed weight adjustment: a few images made, not chosen, to stand for a whole set.

Diversity-Driven Synthesis: Enhancing Dataset Distillation through Directed Weight Adjustment (2024). Images are
optimised until a trained teacher classifies them and its BatchNorm layers see the statistics they know. Batches made
on their own tend to become the same images, so before each batch the teacher is moved a short way in the direction
that raises its loss on that batch's real starting images: every batch faces another teacher, one that seems not to
have seen it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sklearn.base import BaseEstimator

from polyculture.errors import BadInput, unknown
from polyculture.progress import Progress, silent
from polyculture.select.distilled import Distilled, teacher_logits
from polyculture.select.weight_adjustment import synthesise_batch

if TYPE_CHECKING:
    import torch


@dataclass(eq=False)
class DWA(BaseEstimator):
    """Make a small labelled image set that teaches like a large one, each batch against a teacher moved away from it.

    Batch i holds one image of each class; batches know nothing of each other. The defaults are the paper's for CIFAR;
    ``rho`` is an absolute distance and scales with the network.

    Source: Diversity-Driven Synthesis (2024), Algorithm 1.

    Args:
        rho: how far the teacher's weights are moved; 0 does not move them.
        steps: in how many steps.
        iterations: steps of Adam on the images.
        lr: their base learning rate.
        r_bn: weight of the BatchNorm statistics.
        r_var: weight of the variance in them.
        first_bn_multiplier: weight of the first BatchNorm layer.
        jitter: most pixels of a cyclic shift.
        start: "real" images, or "noise".
        direction: "ascent" of the loss, or a "random" one of the same length, for comparison.
        classes_per_batch: at most so many classes are made together.
    """

    rho: float = 0.015
    steps: int = 12
    iterations: int = 1000
    lr: float = 0.25
    r_bn: float = 0.01
    r_var: float = 11.0
    first_bn_multiplier: float = 10.0
    jitter: int = 4
    start: Literal["real", "noise"] = "real"
    direction: Literal["ascent", "random"] = "ascent"
    classes_per_batch: int = 100

    def distill(
        self,
        X: np.ndarray,
        y: np.ndarray,
        per_class: int,
        *,
        model: torch.nn.Module,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        rng: np.random.Generator | int | None = None,
        progress: Progress = silent,
    ) -> Distilled:
        """Make ``per_class`` images of every class.

        Args:
            X: (n, ch, H, W) real images, normalised as the teacher expects them.
            y: (n,) classes, as numbers of the teacher's outputs.
            per_class: images a class.
            model: teacher with BatchNorm2d layers; used in evaluation mode, and left as it is.
            mean: (ch,) the mean that was subtracted from images in [0, 1]; with ``std`` it bounds what a pixel can be.
                None bounds each channel by its least and greatest value in X.
            std: (ch,) the deviation that they were divided by.
            rng: a Generator, or a seed for one.
            progress: told how many batches are done.

        Raises:
            BadInput: X is not four-dimensional or not finite, lengths differ, a class is not one of the teacher's
                outputs, or a parameter is out of range.
        """
        import torch

        images, classes = checked_images(X, y, per_class, model)
        self._check()
        low, high = _bounds(images, mean, std)
        streams = np.random.default_rng(rng).spawn(per_class + 1)
        rows = starting_rows(np.asarray(y), classes, per_class, streams[0])
        device = next(iter(model.parameters())).device
        if not any(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules()):
            warnings.warn(
                "the teacher has no BatchNorm2d layer: only its classification guides the images", stacklevel=2
            )
        made, losses, way = np.empty((per_class, len(classes), *images.shape[1:]), np.float32), [], []
        for i in range(per_class):
            progress("distilling", i, per_class)
            generator = torch.Generator().manual_seed(int(streams[i + 1].integers(2**62)))
            for first in range(0, len(classes), self.classes_per_batch):
                part = slice(first, first + self.classes_per_batch)
                real = torch.as_tensor(images[rows[i, part]], device=device)
                noise = self.start == "noise"
                x0 = torch.randn(real.shape, generator=generator).to(device) if noise else real
                batch = synthesise_batch(
                    model,
                    x0,
                    torch.as_tensor(classes[part], device=device),
                    low=low,
                    high=high,
                    rho=self.rho,
                    steps=self.steps,
                    iterations=self.iterations,
                    lr=self.lr,
                    r_bn=self.r_bn,
                    r_var=self.r_var,
                    first_bn_multiplier=self.first_bn_multiplier,
                    jitter=self.jitter,
                    direction=self.direction,
                    adjust_on=real,
                    generator=generator,
                )
                made[i, part] = batch.x.cpu().numpy()
                losses.append(batch.losses[-1] if self.iterations else np.zeros(2))
                way.append(
                    (batch.adjusted.ce[0], batch.adjusted.ce[-1], batch.adjusted.displacement, batch.adjusted.norm)
                )
        progress("distilling", per_class, per_class)
        flat = made.reshape(-1, *images.shape[1:])
        origin = np.full(rows.size, -1, dtype=np.int64) if self.start == "noise" else rows.ravel()
        return Distilled(
            flat,
            np.tile(classes, per_class),
            teacher_logits(model, flat),
            origin,
            {"loss": np.array(losses), "adjustment": np.array(way)},
        )

    def _check(self) -> None:
        if self.start not in ("real", "noise"):
            raise unknown("start", self.start, ("real", "noise"))
        if self.iterations < 0 or self.jitter < 0 or self.classes_per_batch < 1:
            raise BadInput("iterations and jitter should be at least 0, classes_per_batch at least 1")
        if self.lr <= 0 or self.r_bn < 0 or self.r_var < 0:
            raise BadInput("lr should be above 0; r_bn and r_var should not be negative")


@dataclass(eq=False)
class SRe2L(DWA):
    """Directed weight adjustment's forerunner: from noise, against one fixed teacher, the variance not weighted apart.

    Source: Squeeze, Recover and Relabel (2023), as compared in Diversity-Driven Synthesis (2024), Table 1.
    """

    rho: float = 0.0
    r_var: float = 1.0
    start: Literal["real", "noise"] = "noise"


@dataclass(eq=False)
class RandomImages(BaseEstimator):
    """Choose instead of make: random real images of each class, with the teacher's labels.

    Source: Diversity-Driven Synthesis (2024), Section 4, the random baseline.
    """

    def distill(
        self,
        X: np.ndarray,
        y: np.ndarray,
        per_class: int,
        *,
        model: torch.nn.Module,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        rng: np.random.Generator | int | None = None,
        progress: Progress = silent,
    ) -> Distilled:
        """Draw ``per_class`` images of every class; the arguments are those of :meth:`DWA.distill`."""
        images, classes = checked_images(X, y, per_class, model)
        rows = starting_rows(np.asarray(y), classes, per_class, np.random.default_rng(rng).spawn(per_class + 1)[0])
        chosen = images[rows.ravel()]
        return Distilled(chosen, np.tile(classes, per_class), teacher_logits(model, chosen), rows.ravel(), {})


def checked_images(X: Any, y: Any, per_class: int, model: torch.nn.Module) -> tuple[np.ndarray, np.ndarray]:
    """Images as float32, and the classes in order.

    Raises:
        BadInput: they are not four-dimensional, not finite or none, the labels do not fit them or the teacher,
            or ``per_class`` is below 1.
    """
    images, labels = np.asarray(X, dtype=np.float32), np.asarray(y)
    if images.ndim != 4 or not len(images):
        raise BadInput(f"X should be images of shape (n, channels, height, width), not {images.shape}")
    if not np.isfinite(images).all():
        bad = np.flatnonzero(~np.isfinite(images).all(axis=(1, 2, 3)))[0]
        raise BadInput(f"image {bad} has NaN or infinite pixels")
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu" or labels.min() < 0:
        raise BadInput(f"y should have one class number for each of the {len(images)} images, from 0")
    if per_class < 1:
        raise BadInput(f"per_class = {per_class}, but it should be at least 1")
    outputs = teacher_logits(model, images[:1]).shape[1]
    if labels.max() >= outputs:
        raise BadInput(f"y has class {labels.max()}, but the teacher has {outputs} outputs")
    return images, np.unique(labels).astype(np.int64)


def starting_rows(y: np.ndarray, classes: np.ndarray, per_class: int, rng: np.random.Generator) -> np.ndarray:
    """(per_class, classes) a random image of each class for each batch; none comes twice before all have come once."""
    rows = np.empty((per_class, len(classes)), dtype=np.int64)
    for c, label in enumerate(classes):
        members = np.flatnonzero(y == label)
        rounds = [rng.permutation(members) for _ in range(-(-per_class // len(members)))]
        rows[:, c] = np.concatenate(rounds)[:per_class]
    return rows


def _bounds(
    images: np.ndarray, mean: Sequence[float] | None, std: Sequence[float] | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The least and the greatest value of each channel."""
    import torch

    if (mean is None) != (std is None):
        raise BadInput("mean and std belong together; give both or neither")
    if mean is None or std is None:
        return torch.as_tensor(images.min(axis=(0, 2, 3))), torch.as_tensor(images.max(axis=(0, 2, 3)))
    m, s = np.asarray(mean, dtype=np.float64), np.asarray(std, dtype=np.float64)
    if m.shape != (images.shape[1],) or s.shape != m.shape or (s <= 0).any():
        raise BadInput(f"mean and std should have one value for each of the {images.shape[1]} channels, std above 0")
    return torch.as_tensor(-m / s), torch.as_tensor((1 - m) / s)
