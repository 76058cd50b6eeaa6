"""DiverGen: generated examples help by how varied they are; more of the same do not replace variety.

DiverGen: Improving Instance Segmentation by Learning Wider Data Distribution with More Diverse Generative Data (2024),
Tables 1 to 3 and Section 3.1, on the handwritten digits of scikit-learn in place of segmented objects. Real data are 4
images of each of the digits 0 to 4 ("rare") and 25 of the others. A "generator" is a way to distort an image (shift,
rotation, blur, noise), a "prompt" an image it starts from, out of a split of 200 that is used for nothing else. 600
generated images join the real ones, which count three times; a small network is trained on both.

The filter meets 923 generated images of which 35 % show another digit than they should, and takes out the 35 % of each
category that are least like its real images.

Not asserted: that more generators help. Here they make no reliable difference.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from polyculture.measure.energy import train_validation_gap
from polyculture.pool import Pool
from polyculture.quality.inter_similarity import mean_similarity
from polyculture.reproductions.finding import Curve, Finding, Interval, Plot, Scale
from polyculture.select.divergen import DiverGen

CLASSES, SOURCES, GENERATED, REPEATS, HIDDEN, EPOCHS, WRONG = 10, 200, 600, 3, 64, 120, 0.35
Distort = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def _shift(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    from scipy.ndimage import shift

    return shift(image, rng.uniform(-1, 1, 2), order=1)


def _rotation(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    from scipy.ndimage import rotate

    return rotate(image, rng.uniform(-20, 20), reshape=False, order=1)


def _blur(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(image, rng.uniform(0.2, 0.8))


def _noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.clip(image + 0.15 * rng.normal(size=image.shape), 0, 1)


GENERATORS: tuple[Distort, ...] = (_shift, _rotation, _blur, _noise)


@dataclass(frozen=True)
class World:
    """Real training images, images to generate from, and a test set; images are (n, 8, 8) in [0, 1]."""

    real: np.ndarray
    real_labels: np.ndarray
    sources: np.ndarray
    source_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray

    def prototypes(self, prompts: int) -> np.ndarray:
        """The first ``prompts`` source images of every class, (classes, prompts, 8, 8)."""
        return np.stack([self.sources[self.source_labels == c][:prompts] for c in range(CLASSES)])

    def generate(
        self, n: int, generators: int, prompts: int, rng: np.random.Generator, *, wrong: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Make n images, the same number of every class and generator; a share of them shows another class."""
        labels = np.arange(n) % CLASSES
        held = self.prototypes(prompts)
        shown = np.where(rng.random(n) < wrong, (labels + rng.integers(1, CLASSES, n)) % CLASSES, labels)
        makers = (np.arange(n) // CLASSES) % generators
        starts = rng.integers(prompts, size=n)
        images = [GENERATORS[maker](held[c, start], rng) for maker, c, start in zip(makers, shown, starts, strict=True)]
        return np.stack(images), labels

    def filtered(self, images: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
        """Rows that are left of generated images once the share least like the real ones of each class is out."""
        similarity = np.empty(len(labels))
        for c in range(CLASSES):
            rows = labels == c
            similarity[rows] = mean_similarity(_flat(images[rows]), _flat(self.real[self.real_labels == c]))
        pool = Pool.from_arrays(quality=similarity, groups=labels)
        return DiverGen(quantile=WRONG, min_keep=0).select(pool, GENERATED, rng=seed)


def world(rng: np.random.Generator) -> World:
    """Split the digits: 4 images of each rare class and 25 of the others are real, 200 are there to generate from."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = rng.permutation(len(labels))
    images, labels = images[order].reshape(-1, 8, 8) / 16, labels[order]
    real = np.concatenate([np.flatnonzero(labels == c)[: 4 if c < 5 else 25] for c in range(CLASSES)])
    rest = np.setdiff1d(np.arange(len(labels)), real)
    sources = np.concatenate([rest[labels[rest] == c][: SOURCES // CLASSES] for c in range(CLASSES)])
    test = np.setdiff1d(rest, sources)
    return World(images[real], labels[real], images[sources], labels[sources], images[test], labels[test])


def taught(held: World, images: np.ndarray | None, labels: np.ndarray | None, seed: int) -> dict[str, float]:
    """Accuracy, accuracy on the rare classes, and the gaps in cross-entropy and energy, of a network taught these."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    x, y = [np.repeat(_flat(held.real), REPEATS, axis=0)], [np.repeat(held.real_labels, REPEATS)]
    if images is not None and labels is not None:
        x.append(_flat(images))
        y.append(labels)
    network = MLPClassifier((HIDDEN,), max_iter=EPOCHS, n_iter_no_change=EPOCHS, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a fixed number of epochs is what is wanted
        network.fit(np.concatenate(x), np.concatenate(y))

    def logits(images: np.ndarray) -> np.ndarray:
        hidden = np.maximum(_flat(images) @ network.coefs_[0] + network.intercepts_[0], 0)
        return np.asarray(hidden @ network.coefs_[1] + network.intercepts_[1])

    train, test = logits(held.real), logits(held.test)
    energy_gap = train_validation_gap(train, test)
    assert isinstance(energy_gap, float)  # one number, for no groups were asked for
    right = test.argmax(axis=1) == held.test_labels
    return {
        "accuracy": float(right.mean()),
        "rare": float(right[held.test_labels < 5].mean()),
        "gap": abs(_cross_entropy(test, held.test_labels) - _cross_entropy(train, held.real_labels)),
        "energy gap": energy_gap,
    }


def _cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    from scipy.special import log_softmax

    return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())


def _flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1)


def reproduce(*, scale: Scale = "smoke", seed: int = 0) -> Finding:
    """Accuracy and gaps by what was generated, with and without the filter, and for copies, over seeds."""
    start = time.perf_counter()
    values: dict[str, list[float]] = {}
    control: dict[str, list[float]] = {}

    def note(held: dict[str, list[float]], name: str, found: dict[str, float]) -> None:
        for what, value in found.items():
            held.setdefault(f"{what}: {name}", []).append(value)

    for s in range(seed, seed + (1 if scale == "smoke" else 6)):
        held = world(np.random.default_rng([s, 0]))
        note(values, "real only", taught(held, None, None, s))
        for generators in (1, 4):
            for prompts in (1, 10):
                made = held.generate(GENERATED, generators, prompts, np.random.default_rng([s, 1]))
                note(values, _name(generators, prompts), taught(held, *made, s))
        images, labels = held.generate(
            round(GENERATED / (1 - WRONG)), 4, 10, np.random.default_rng([s, 2]), wrong=WRONG
        )
        note(values, "unfiltered", taught(held, images[:GENERATED], labels[:GENERATED], s))
        rows = held.filtered(images, labels, s)
        note(values, "filtered", taught(held, images[rows], labels[rows], s))
        copies = np.repeat(held.prototypes(1)[:, 0], 4 * GENERATED // CLASSES, axis=0)
        note(control, "2 400 copies", taught(held, copies, np.repeat(np.arange(CLASSES), 4 * GENERATED // CLASSES), s))
    mean = {name: float(np.mean(v)) for name, v in (values | control).items()}
    one, ten = _name(1, 1), _name(1, 10)
    return Finding(
        slug="divergen",
        claim="As many generated examples teach more the more varied they are, and a filter by similarity to real ones "
        "takes out those that show something else.",
        metric="accuracy on real images (all, and the five rare classes), |cross-entropy on validation - on training|, "
        "and the same gap of mean free energies",
        values={name: Interval.of(v) for name, v in values.items()},
        control="2 400 exact copies of one image a class: four times the scale without variety",
        control_values={name: Interval.of(v) for name, v in control.items()},
        checks={
            "ten prompts beat one by 0.03": mean[f"accuracy: {ten}"] > mean[f"accuracy: {one}"] + 0.03,
            "ten prompts narrow the gap": mean[f"gap: {ten}"] < mean[f"gap: {one}"],
            "ten prompts beat real images alone": mean[f"accuracy: {ten}"] > mean["accuracy: real only"],
            "the filter helps": mean["accuracy: filtered"] > mean["accuracy: unfiltered"],
            "control: copies stay below the varied": mean["accuracy: 2 400 copies"] < mean[f"accuracy: {_name(4, 10)}"],
        },
        scale=scale,
        seed=seed,
        seconds=time.perf_counter() - start,
        plot=_plot({name: Interval.of(v) for name, v in values.items()}),
        notes=("The number of generators is reported, not asserted: it makes no reliable difference here.",),
    )


def _name(generators: int, prompts: int) -> str:
    return f"{generators} generator{'s' * (generators > 1)}, {prompts} prompt{'s' * (prompts > 1)}"


def _plot(values: dict[str, Interval]) -> Plot:
    names = ["real only", *(_name(g, p) for p in (1, 10) for g in (1, 4)), "unfiltered", "filtered"]
    curves = []
    for what in ("accuracy", "rare"):
        held = [values[f"{what}: {name}"] for name in names]
        curves.append(
            Curve(what, names, [v.mean for v in held], [v.low for v in held], [v.high for v in held], kind="bars")
        )
    return Plot("What 600 generated images add", "generated images", "accuracy on real images", curves)
