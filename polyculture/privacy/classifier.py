"""The small network that stands for the service's model and for an adversary's.

From Principle to Practice: Vertical Data Minimization for Machine Learning (2023), Section 6: two layers, 20 epochs of
Adam at 0.01 with a step decay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone


@dataclass(eq=False)
class TwoLayerNetwork(ClassifierMixin, BaseEstimator):
    """A classifier with one hidden layer, as scikit-learn's are used: ``fit``, ``predict_proba``, ``predict``.

    Source: Vertical Data Minimization (2023), Section 6.

    Args:
        hidden: width of the hidden layer.
        epochs: passes over the data.
        learning_rate: Adam's; a tenth of it in the second half of the epochs.
        weight_decay: Adam's.
        batch_size: records a step.
        random_state: seed of the weights and of the order of the records.
    """

    hidden: int = 50
    epochs: int = 20
    learning_rate: float = 0.01
    weight_decay: float = 1e-4
    batch_size: int = 256
    random_state: int = 0

    def fit(self, X: Any, y: Any) -> Self:
        """Train on (n, m) numbers and (n,) classes."""
        import torch
        from torch.nn.functional import cross_entropy

        self.classes_, codes = np.unique(np.asarray(y), return_inverse=True)
        values, targets = torch.as_tensor(np.asarray(X), dtype=torch.float32), torch.as_tensor(codes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.random_state)
            self.network_ = torch.nn.Sequential(
                torch.nn.Linear(values.shape[1], self.hidden),
                torch.nn.ReLU(),
                torch.nn.Linear(self.hidden, len(self.classes_)),
            )
            adam = torch.optim.Adam(
                self.network_.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay, foreach=True
            )
            decay = torch.optim.lr_scheduler.StepLR(adam, max(1, self.epochs // 2), 0.1)
            for _ in range(self.epochs):
                for rows in torch.randperm(len(values)).split(self.batch_size):
                    adam.zero_grad()
                    cross_entropy(self.network_(values[rows]), targets[rows]).backward()
                    adam.step()
                decay.step()
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """(n, classes) probabilities, in the order of ``classes_``."""
        import torch

        with torch.no_grad():
            logits = self.network_(torch.as_tensor(np.asarray(X), dtype=torch.float32))
        return torch.softmax(logits.double(), dim=1).numpy()

    def predict(self, X: Any) -> np.ndarray:
        """(n,) most probable classes."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def probabilities(model: Any, Z: np.ndarray, codes: np.ndarray, Z_new: np.ndarray, n_codes: int) -> np.ndarray:
    """Train a fresh copy of a classifier on one set of records and let it guess on another.

    Args:
        model: a scikit-learn classifier with ``predict_proba``; it is cloned, not changed.
        Z: (n, m) what it sees of the records it learns from.
        codes: (n,) what it learns to tell, codes below ``n_codes``.
        Z_new: (k, m) what it sees of the others.
        n_codes: how many codes there are; one that is not among ``codes`` gets probability 0.

    Returns:
        (k, n_codes) probabilities.
    """
    found = np.zeros((len(Z_new), n_codes))
    seen = np.unique(codes)
    if len(seen) == 1 or Z.shape[1] == 0:  # nothing to learn, or nothing to learn from: the shares of the codes
        found[:] = np.bincount(codes, minlength=n_codes) / len(codes)
        return found
    fitted = clone(model).fit(Z, codes)
    found[:, fitted.classes_] = fitted.predict_proba(Z_new)
    return found


def accuracy(model: Any, Z: np.ndarray, y: np.ndarray, Z_new: np.ndarray, y_new: np.ndarray) -> float:
    """Share of ``y_new`` that a fresh copy of the classifier, trained on Z and y, gets right; classes are codes."""
    n_codes = int(max(y.max(), y_new.max())) + 1
    return float(np.mean(probabilities(model, Z, y, Z_new, n_codes).argmax(axis=1) == y_new))
