"""Quality goes with accuracy in distribution, diversity with accuracy out of it, and at a fixed budget they trade off.

"Surveying the Effects of Quality, Diversity, and Complexity in Synthetic Data From Large Language Models" (2024): here
400 handwritten digits train a support vector machine. Quality is the share of labels that are right; diversity is the
number of rotation angles the images come from, always 400 images in all. In distribution is upright digits, out of it
upright digits turned by angles that no training image has.

The control has seven "domains" which are all upright: the same number of images, split the same way. More of the same
is not diversity, so accuracy out of distribution must stay where one domain left it.

Also reported: the mean distance between training images. It FALLS with more domains, because turning an 8 x 8 image
blurs it; distance in pixels does not see this kind of diversity.
"""

from __future__ import annotations

import time

import numpy as np

from polyculture.measure.spread import mean_pairwise_distance
from polyculture.reproductions.finding import Curve, Finding, Interval, Plot, Scale

TRAIN, TEST = 400, 500
TRAIN_ANGLES = (0, -40, -24, -8, 8, 24, 40)
UNSEEN_ANGLES = (-32, -16, 16, 32)
NOISES = (0.0, 0.2, 0.4)
DOMAINS = (1, 3, 7)


def _turned() -> tuple[dict[int, np.ndarray], np.ndarray]:
    """Every digit at every angle, (n, 64) each, and the labels."""
    from scipy.ndimage import rotate
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    square = images.reshape(-1, 8, 8)
    turned = {
        angle: rotate(square, angle, axes=(1, 2), reshape=False, order=1).reshape(len(images), -1)
        for angle in {*TRAIN_ANGLES, *UNSEEN_ANGLES}
    }
    return turned, labels


def _measure(
    turned: dict[int, np.ndarray], labels: np.ndarray, noise: float, angles: list[int], split: np.ndarray, seed: int
) -> tuple[float, float, float]:
    """Accuracy in and out of distribution, and the mean Euclidean distance between training images."""
    from sklearn.svm import SVC

    rng = np.random.default_rng(seed)
    test, pool = split[:TEST], split[TEST:]
    rows = rng.choice(pool, TRAIN, replace=False)
    domain = rng.permutation(np.arange(TRAIN) % len(angles))
    X = np.stack([turned[angles[d]][row] for row, d in zip(rows, domain, strict=True)])
    y = np.where(rng.random(TRAIN) < noise, rng.integers(10, size=TRAIN), labels[rows])
    model = SVC(C=10, kernel="rbf").fit(X, y)
    inside = model.score(turned[0][test], labels[test])
    outside = float(np.mean([model.score(turned[angle][test], labels[test]) for angle in UNSEEN_ANGLES]))
    return float(inside), outside, mean_pairwise_distance(X, metric="euclidean")


def reproduce(*, scale: Scale = "smoke", seed: int = 0) -> Finding:
    """Accuracy in and out of distribution by share of wrong labels and number of domains, over seeds."""
    start = time.perf_counter()
    seeds = range(seed, seed + (2 if scale == "smoke" else 12))
    turned, labels = _turned()
    found: dict[str, list[float]] = {}
    control: dict[str, list[float]] = {}
    for s in seeds:
        rng = np.random.default_rng([s, 1])
        split = rng.permutation(len(labels))
        others = rng.permutation(TRAIN_ANGLES[1:]).tolist()
        for noise in NOISES:
            for domains in DOMAINS:
                angles = [0, *others[: domains - 1]]
                inside, outside, spread = _measure(turned, labels, noise, angles, split, s)
                found.setdefault(f"in, noise {noise}, domains {domains}", []).append(inside)
                found.setdefault(f"out, noise {noise}, domains {domains}", []).append(outside)
                if noise == 0:
                    found.setdefault(f"distance, domains {domains}", []).append(spread)
        # Another draw of images than the one it is compared with, so that the comparison is not of a thing with itself.
        inside, outside, spread = _measure(turned, labels, 0.0, [0] * 7, split, s + 1000)
        control.setdefault("in, seven upright domains", []).append(inside)
        control.setdefault("out, seven upright domains", []).append(outside)
        control.setdefault("distance, seven upright domains", []).append(spread)

    mean = {name: float(np.mean(values)) for name, values in found.items()}
    held = {name: float(np.mean(values)) for name, values in control.items()}
    first, last, few, many = NOISES[0], NOISES[-1], DOMAINS[0], DOMAINS[-1]
    checks = {
        "accuracy out of distribution rises by more than .2 from 1 to 7 domains at every noise": all(
            mean[f"out, noise {n}, domains {many}"] - mean[f"out, noise {n}, domains {few}"] > 0.2 for n in NOISES
        ),
        "accuracy in distribution falls by more than .1 from noise 0 to .4 at every number of domains": all(
            mean[f"in, noise {first}, domains {d}"] - mean[f"in, noise {last}, domains {d}"] > 0.1 for d in DOMAINS
        ),
        "accuracy in distribution is lower at 7 domains than at 1 at every noise": all(
            mean[f"in, noise {n}, domains {many}"] < mean[f"in, noise {n}, domains {few}"] for n in NOISES
        ),
        "control: seven upright domains gain less than .1 over one out of distribution": (
            held["out, seven upright domains"] - mean[f"out, noise {first}, domains {few}"] < 0.1
        ),
    }
    return Finding(
        slug="qdc-survey",
        claim="Quality drives accuracy in distribution, diversity accuracy out of it; at a fixed size they trade off.",
        metric=f"accuracy on {TEST} held-out digits, upright (in) and turned by unseen angles (out)",
        values={name: Interval.of(values) for name, values in found.items()},
        control="Seven training domains that are all upright: more of the same is not diversity.",
        control_values={name: Interval.of(values) for name, values in control.items()},
        checks=checks,
        scale=scale,
        seed=seed,
        seconds=time.perf_counter() - start,
        plot=_plot(found),
        notes=(
            "Complexity, the survey's third axis, is not varied here.",
            "Turning blurs, so the mean distance in pixels falls as domains are added; it is reported, not asserted.",
        ),
    )


def _plot(found: dict[str, list[float]]) -> Plot:
    curves = []
    for where, title in (("in", "in distribution"), ("out", "out of distribution")):
        for noise in NOISES:
            each = [Interval.of(found[f"{where}, noise {noise}, domains {d}"]) for d in DOMAINS]
            low, high = [i.low for i in each], [i.high for i in each]
            curves.append(Curve(f"{title}, {noise:.0%} random labels", DOMAINS, [i.mean for i in each], low, high))
    return Plot("More training domains, same number of images", "training domains", "accuracy", curves)
