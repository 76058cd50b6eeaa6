"""Does a model know when it is right? The gap between how sure it is and how often it is right.

Expected calibration error over equal-width bins (Guo et al., 2017), and the form of it that "Beyond Reverse KL:
Generalizing Direct Preference Optimization with Diverse Divergence Constraints" (2024) reports of aligned models.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from polyculture.errors import BadInput


def expected_calibration_error(confidence: Any, correct: Any, *, n_bins: int = 10) -> float:
    """Mean over bins, weighted by their size, of |share that is right - mean confidence|; in [0, 1], 0 is calibrated.

    Bins are of equal width on [0, 1]; an edge belongs to the bin above it, and 1 to the last. NaN, with a warning, of
    nothing.

    Args:
        confidence: (n,) how sure the model is of each answer, in [0, 1].
        correct: (n,) whether it is right: bool, or 0 and 1.
        n_bins: number of bins.

    Raises:
        BadInput: the two differ in length, a confidence is not a number in [0, 1], or n_bins is below 1.
    """
    sure, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if sure.ndim != 1 or sure.shape != right.shape:
        raise BadInput(f"confidence and correct should both be (n,); they are {sure.shape} and {right.shape}")
    if n_bins < 1:
        raise BadInput(f"n_bins should be at least 1, not {n_bins}")
    if not np.isfinite(sure).all() or ((sure < 0) | (sure > 1)).any():
        raise BadInput("a confidence is NaN, infinite or outside [0, 1]; give probabilities")
    if not np.isin(right, (0.0, 1.0)).all():
        raise BadInput("correct should hold True or False (1 or 0), nothing else such as NaN or infinity")
    if len(sure) == 0:
        warnings.warn("there are no answers, so the calibration error is not defined", stacklevel=2)
        return float("nan")
    bins = np.minimum((np.digitize(sure, np.linspace(0, 1, n_bins + 1)) - 1), n_bins - 1)
    # Of each bin, n |accuracy - confidence| = |sum of right - sum of confidence|.
    gaps = np.bincount(bins, weights=right - sure, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(sure))


def preference_calibration_error(mean_chosen: Any, mean_rejected: Any, *, n_bins: int = 10) -> float:
    """Calibration error of a policy on preference pairs: how likely it makes chosen answers against how often it ranks
    them first.

    Confidence is exp of the mean log-probability a token of the chosen answer; a pair is right where that mean is
    above the rejected answer's.

    Args:
        mean_chosen: (n,) mean log-probability a token of each chosen answer, 0 at most.
        mean_rejected: (n,) the same of each rejected answer.
        n_bins: number of bins.

    Raises:
        BadInput: the two differ in length, or one is NaN or above 0.
    """
    chosen, rejected = np.asarray(mean_chosen, dtype=np.float64), np.asarray(mean_rejected, dtype=np.float64)
    if chosen.shape != rejected.shape:
        raise BadInput(f"mean_chosen and mean_rejected differ in shape: {chosen.shape} and {rejected.shape}")
    if np.isnan(rejected).any() or np.isnan(chosen).any() or (chosen > 0).any():
        raise BadInput("a mean log-probability is NaN or above 0")
    return expected_calibration_error(np.exp(chosen), chosen > rejected, n_bins=n_bins)
