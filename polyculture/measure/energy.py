"""How surprised a classifier is by inputs, and how differently by those it was trained on and by others.

Liu et al., Energy-based Out-of-distribution Detection (2020), for the free energy; as the train-validation gap of
DiverGen: Improving Instance Segmentation by Learning Wider Data Distribution with More Diverse Generative Data (2024).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from polyculture.errors import BadInput


def free_energy(logits: Any, *, temperature: float = 0.9) -> np.ndarray:
    """E = -tau ln sum_c exp(g_c / tau) for each row of class logits, (n,); lower is more familiar.

    Args:
        logits: (n, classes).
        temperature: tau; 0.9 in DiverGen.

    Raises:
        BadInput: logits are not (n, classes), hold NaN, or the temperature is not above 0.
    """
    from scipy.special import logsumexp

    g = np.asarray(logits, dtype=np.float64)
    if g.ndim != 2 or not g.shape[1]:
        raise BadInput(f"logits should be (n, classes), not of shape {g.shape}")
    if np.isnan(g).any():
        raise BadInput("a logit is NaN")
    if not temperature > 0:
        raise BadInput(f"temperature should be above 0, not {temperature}")
    return np.asarray(-temperature * logsumexp(g / temperature, axis=1), dtype=np.float64).reshape(len(g))


def train_validation_gap(
    train: Any, validation: Any, *, temperature: float = 0.9, groups_train: Any = None, groups_validation: Any = None
) -> float | dict[Any, float]:
    """|mean energy on the training set - mean energy on the validation set|; smaller with more diverse data.

    Args:
        train: (n, classes) logits.
        validation: (m, classes) logits.
        temperature: tau.
        groups_train: (n,) labels, such as rare, common and frequent, for a gap a group.
        groups_validation: (m,) labels of the validation set.

    Returns:
        The gap, or the gap of each group that both sets hold.

    Raises:
        BadInput: a set is empty, groups are given for one set only, or lengths differ.
    """
    a, b = free_energy(train, temperature=temperature), free_energy(validation, temperature=temperature)
    if not len(a) or not len(b):
        raise BadInput("a gap needs at least one row of each set")
    if (groups_train is None) != (groups_validation is None):
        raise BadInput("groups should be given for both sets, or for neither")
    if groups_train is None:
        return float(abs(a.mean() - b.mean()))
    one, two = np.asarray(groups_train), np.asarray(groups_validation)
    if one.shape != a.shape or two.shape != b.shape:
        raise BadInput("groups should be one label a row")
    shared = sorted(set(one.tolist()) & set(two.tolist()), key=str)
    return {label: float(abs(a[one == label].mean() - b[two == label].mean())) for label in shared}
