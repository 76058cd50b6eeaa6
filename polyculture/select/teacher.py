"""A small convolutional teacher for distilling image sets, and images made ready for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from polyculture.errors import BadInput
from polyculture.progress import Progress, silent

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Images:
    """Images of one size with classes, normalised channel by channel.

    Args:
        X: (n, ch, H, W) float32, mean 0 and deviation 1 in each channel.
        y: (n,) int64 classes 0 to C - 1.
        mean: (ch,) what was subtracted from images in [0, 1].
        std: (ch,) what they were divided by.
        names: the label of each class.
    """

    X: np.ndarray
    y: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    names: tuple[str, ...]

    @classmethod
    def of(cls, images: np.ndarray, labels: np.ndarray) -> Images:
        """Images (n, H, W) or (n, ch, H, W) of any non-negative range, and any labels.

        Raises:
            BadInput: shapes don't fit, a pixel is negative or not finite, or there is one class only.
        """
        X = np.asarray(images, dtype=np.float32)
        X = X[:, None] if X.ndim == 3 else X
        if X.ndim != 4 or len(X) == 0 or len(X) != len(labels):
            raise BadInput(f"images should be (n, H, W) or (n, ch, H, W) with n labels, not {X.shape}, {len(labels)}")
        if not np.isfinite(X).all() or X.min() < 0 or X.max() == 0:
            raise BadInput("pixels should be finite, 0 or more, and not all 0")
        names, y = np.unique(np.asarray(labels), return_inverse=True)
        if len(names) < 2:
            raise BadInput("there is one class only; distillation needs two or more")
        X = X / X.max()
        mean, std = X.mean(axis=(0, 2, 3)), np.maximum(X.std(axis=(0, 2, 3)), 1e-6)
        X = (X - mean[:, None, None]) / std[:, None, None]
        return cls(X, y.astype(np.int64).reshape(-1), mean, std, tuple(str(name) for name in names))

    @classmethod
    def read(cls, source: str) -> Images:
        """The set "digits" of scikit-learn, or an .npz file with the arrays X and y.

        Raises:
            BadInput: there is no such file, or it lacks an array.
        """
        if source == "digits":
            from sklearn.datasets import load_digits

            held = load_digits()
            return cls.of(held.images, held.target)
        path = Path(source)
        if not path.is_file():
            raise BadInput(f"{source}: there is no such file; give 'digits', or an .npz file with X and y")
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return cls.of(arrays["X"], arrays["y"])
        except (KeyError, ValueError, OSError) as error:
            if isinstance(error, BadInput):
                raise BadInput(f"{source}: {error}") from error
            raise BadInput(f"{source}: should be an .npz file with the arrays X and y: {error}") from error

    def take(self, rows: np.ndarray) -> Images:
        """The images at ``rows``."""
        return Images(self.X[rows], self.y[rows], self.mean, self.std, self.names)


def network(channels: int = 1, classes: int = 10, *, seed: int = 0) -> torch.nn.Module:
    """Three convolutions of 32 channels with BatchNorm, one max-pool, and a linear layer."""
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(channels, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(32, classes),
        )


def train_teacher(
    X: np.ndarray, y: np.ndarray, epochs: int, rng: np.random.Generator, progress: Progress = silent
) -> torch.nn.Module:
    """A :func:`network` trained by AdamW with a cosine learning rate, in evaluation mode.

    Args:
        X: (n, ch, H, W) normalised images.
        y: (n,) classes from 0.
        epochs: passes over them.
        rng: initial weights and order.
        progress: told how many epochs are done.
    """
    import torch
    from torch.nn.functional import cross_entropy

    model = network(X.shape[1], int(y.max()) + 1, seed=int(rng.integers(2**31)))
    adam = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    images, targets = torch.as_tensor(X), torch.as_tensor(y)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(adam, epochs)
    for epoch in range(epochs):
        progress("training the teacher", epoch, epochs)
        for rows in torch.as_tensor(rng.permutation(len(X))).split(100):
            adam.zero_grad()
            cross_entropy(model(images[rows]), targets[rows]).backward()
            adam.step()
        decay.step()
    progress("training the teacher", epochs, epochs)
    return model.eval()
