"""The Vendi score counts what is there: classes, duplicates, modes; mean similarity does not.

The Vendi Score (2022), section 5, with the digits of scikit-learn (8 x 8 pixels, divided by 16) under an RBF kernel in
place of image embeddings. Three claims: the score grows with the number of classes in sets of one size; it collapses
where items are duplicated, while IntDiv hardly moves; on well separated modes of known number it is that number, while
IntDiv saturates.

Sets have 170 digits, the size of the smallest class rounded down, so that one class can fill a set without repeats.
"""

from __future__ import annotations

import time
from functools import cache

import numpy as np

from polyculture.measure.vendi import intdiv, vendi_score_kernel
from polyculture.reproductions.finding import Curve, Finding, Interval, Plot, Scale
from polyculture.space.kernels import median_gamma, rbf_kernel

SIZE = 170
CLASSES = range(1, 11)
MODES = range(1, 6)
FLAT, SHARP = 1e-9, 1e18
"""Bandwidths under which everything is alike, and nothing is."""


def reproduce(*, scale: Scale = "smoke", seed: int = 0) -> Finding:
    """Score sets of digits and of Gaussians whose variety is known.

    Args:
        scale: smoke takes 3 seeds, full 20.
        seed: the first seed.
    """
    start = time.perf_counter()
    seeds = range(seed, seed + (3 if scale == "smoke" else 20))
    gamma = 3 * median_gamma(digits()[0])
    growth = [[vendi(draw_classes(m, m, s), gamma) for m in CLASSES] for s in seeds]
    no_growth = [[vendi(draw_classes(10, m, s), gamma) for m in CLASSES] for s in seeds]
    rho = [spearman(scores) for scores in growth]
    control_rho = [spearman(scores) for scores in no_growth]
    falls, intdiv_falls, no_falls = np.transpose([duplicates(gamma, s) for s in seeds])
    modes = np.array([[modes_score(m, s) for m in MODES] for s in seeds])
    error = np.abs(modes[:, :, 0] / np.array(MODES) - 1).max(axis=1)
    late_gain = modes[:, 4, 1] - modes[:, 3, 1]
    flat = [vendi(gaussians(5, s), FLAT) for s in seeds]
    sharp = [vendi(gaussians(5, s), SHARP) / 200 for s in seeds]
    values = {
        "rank correlation of score and classes": Interval.of(rho),
        "score of distinct digits over that of duplicates": Interval.of(falls),
        "IntDiv of distinct digits over that of duplicates": Interval.of(intdiv_falls),
        "largest relative error on 1 to 5 modes": Interval.of(error),
        "IntDiv gained by the fifth mode": Interval.of(late_gain),
    }
    control = {
        "rank correlation, all classes always": Interval.of(control_rho),
        "score of distinct digits over that of other distinct digits": Interval.of(no_falls),
        "score of 5 modes, everything alike": Interval.of(flat),
        "score of 5 modes over items, nothing alike": Interval.of(sharp),
    }
    checks = {
        "the score follows the number of classes (rank correlation above 0.9)": float(np.mean(rho)) > 0.9,
        "without more classes it does not (below 0.6 either way)": abs(float(np.mean(control_rho))) < 0.6,
        "duplicates cost more than a factor of 8, for every seed": bool(np.min(falls) > 8),
        "the same duplicates cost IntDiv less than a factor of 1.5": bool(np.max(intdiv_falls) < 1.5),
        "without duplicates nothing is lost (within 10 %)": bool(np.all(np.abs(no_falls - 1) < 0.1)),
        "modes are counted to 10 %, for every seed": bool(error.max() < 0.1),
        "IntDiv gains less than 0.1 from the fifth mode": bool(late_gain.max() < 0.1),
        "a kernel that sees no difference scores 1, one that sees nothing else scores n": bool(
            np.max(flat) < 1.001 and np.min(sharp) > 0.999
        ),
    }
    return Finding(
        slug="vendi",
        claim="The Vendi score is the effective number of distinct items: it grows with classes, falls with "
        "duplicates, and counts separated modes, where mean similarity saturates.",
        metric="Vendi score of sets of 170 digits (200 Gaussians) under an RBF kernel",
        values=values,
        control="Sets of all ten classes at every step, distinct digits in place of duplicates, and bandwidths under "
        "which the kernel sees no difference, or nothing else.",
        control_values=control,
        checks=checks,
        scale=scale,
        seed=seed,
        seconds=time.perf_counter() - start,
        plot=Plot(
            "Vendi score of 170 digits",
            "classes in the set",
            "Vendi score",
            [_curve("m classes", growth), _curve("all ten classes (control)", no_growth)],
        ),
        notes=("The kernel's width is 3 / median squared distance of all digits; scores under other widths differ.",),
    )


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """The digits, (1797, 64) in [0, 1], and their labels."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return X / 16, y


def vendi(X: np.ndarray, gamma: float) -> float:
    """The Vendi score under the RBF kernel."""
    return vendi_score_kernel(rbf_kernel(X, gamma))


def draw_classes(classes: int, m: int, seed: int) -> np.ndarray:
    """SIZE digits without repeats from ``classes`` random classes, nearly as many of each."""
    X, y = digits()
    rng = np.random.default_rng([seed, classes, m])
    chosen = rng.choice(10, classes, replace=False)
    counts = np.full(classes, SIZE // classes) + (np.arange(classes) < SIZE % classes)
    rows = [rng.choice(np.flatnonzero(y == c), n, replace=False) for c, n in zip(chosen, counts, strict=True)]
    return X[np.concatenate(rows)]


def duplicates(gamma: float, seed: int) -> tuple[float, float, float]:
    """How often the score, and IntDiv, of 200 draws from 10 digits go into those of 200 distinct ones; the control."""
    X, _ = digits()
    rng = np.random.default_rng([seed, 77])
    order = rng.permutation(len(X))
    distinct, others, few = order[:200], order[200:400], rng.choice(order[400:410], 200)
    kernels = [rbf_kernel(X[rows], gamma) for rows in (distinct, others, few)]
    scores = [vendi_score_kernel(K) for K in kernels]
    return scores[0] / scores[2], intdiv(kernels[0]) / intdiv(kernels[2]), scores[0] / scores[1]


def gaussians(m: int, seed: int) -> np.ndarray:
    """200 points of m Gaussians of deviation 0.1 at 0, 10, 20, ..., (200, 1)."""
    rng = np.random.default_rng([seed, m, 99])
    return (10.0 * (np.arange(200) % m) + 0.1 * rng.standard_normal(200))[:, None]


def modes_score(m: int, seed: int) -> tuple[float, float]:
    """The Vendi score and IntDiv of m modes, gamma 0.5."""
    K = rbf_kernel(gaussians(m, seed), 0.5)
    return vendi_score_kernel(K), intdiv(K)


def spearman(scores: list[float]) -> float:
    """Rank correlation of scores with the number of classes."""
    from scipy.stats import spearmanr

    return float(spearmanr(CLASSES, scores)[0])


def _curve(name: str, scores: list[list[float]]) -> Curve:
    held = [Interval.of(column) for column in np.transpose(scores)]
    return Curve(name, list(CLASSES), [i.mean for i in held], [i.low for i in held], [i.high for i in held])
