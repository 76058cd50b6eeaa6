"""Best-of-Majority (2025, arXiv:2510.03199): the gate keeps best-of-n from getting worse with more samples.

Simulated: 400 possible answers, the right one with probability 0.05 (coverage C* = 20), three wrong ones with 0.25 /
0.20 / 0.10, the other 396 sharing 0.40 (Dirichlet(2)). The reward is 0.9 for the right answer, U(0, 0.4) for the
frequent wrong ones, U(0, 0.5) for rare ones, of which 4 % are "hacked": U(0.9, 1.2). alpha is the theory's 3 / (4
C*).
"""

from __future__ import annotations

import time

import numpy as np

from polyculture.decode.best_of_majority import alpha_from_coverage, trusted
from polyculture.decode.groups import by_count, by_score, group_answers
from polyculture.reproductions.finding import Curve, Finding, Interval, Plot, Scale

RIGHT, ANSWERS, COVERAGE = 0, 400, 20.0
SIZES = (20, 50, 100, 200, 500, 2000)


def problem(rng: np.random.Generator, hacked: float) -> tuple[np.ndarray, np.ndarray]:
    """The probabilities of the answers and their rewards."""
    p = np.concatenate([[0.05, 0.25, 0.20, 0.10], 0.40 * rng.dirichlet(np.full(ANSWERS - 4, 2.0))])
    reward = np.concatenate([[0.9], rng.uniform(0, 0.4, 3), rng.uniform(0, 0.5, ANSWERS - 4)])
    rare = np.arange(4, ANSWERS)
    fooled = rare[rng.random(len(rare)) < hacked]
    reward[fooled] = rng.uniform(0.9, 1.2, len(fooled))
    return p, reward


def pass_rates(n_problems: int, rng: np.random.Generator, *, hacked: float, k: int) -> dict[str, np.ndarray]:
    """Share of problems with the right answer among the k submitted, for each number of samples."""
    alpha = alpha_from_coverage(COVERAGE)
    hits = {name: np.zeros(len(SIZES)) for name in ("best-of-n", "best-of-majority", "majority", "coverage")}
    for _ in range(n_problems):
        p, reward = problem(rng, hacked)
        drawn = rng.choice(ANSWERS, SIZES[-1], p=p)
        for j, n in enumerate(SIZES):
            answers = drawn[:n].tolist()
            rewards = reward[drawn[:n]].tolist()
            groups = group_answers(answers, rewards)
            hits["best-of-n"][j] += RIGHT in [g.key for g in by_score(trusted(groups, 0.0))[:k]]
            hits["best-of-majority"][j] += RIGHT in [g.key for g in by_score(trusted(groups, alpha))[:k]]
            hits["majority"][j] += RIGHT in [g.key for g in by_count(groups)[:k]]
            hits["coverage"][j] += RIGHT in answers
    return {name: counts / n_problems for name, counts in hits.items()}


def reproduce(*, scale: Scale, seed: int) -> Finding:
    """Pass@1 over numbers of samples, for best-of-n, majority and best-of-majority."""
    began = time.perf_counter()
    seeds, problems = (2, 50) if scale == "smoke" else (5, 300)
    runs, free, wide = [], [], []
    for s in range(seeds):
        runs.append(pass_rates(problems, np.random.default_rng([seed, s]), hacked=0.04, k=1))
        free.append(pass_rates(problems, np.random.default_rng([seed, s]), hacked=0.0, k=1))
        few = max(10, problems // 10)
        wide.append(pass_rates(few, np.random.default_rng([seed, s]), hacked=0.04, k=ANSWERS))
    mean = {name: np.mean([r[name] for r in runs], axis=0) for name in runs[0]}
    clean = {name: np.mean([r[name] for r in free], axis=0) for name in free[0]}
    bon, bom, vote = mean["best-of-n"], mean["best-of-majority"], mean["majority"]
    at = SIZES.index
    slack = 0.05 if scale == "full" else 0.12  # a problem more or less weighs more in smoke
    checks = {
        "best-of-n falls by more than .3 from 20 to 500 samples": bool(bon[at(500)] < bon[at(20)] - 0.3),
        "best-of-majority passes .9 at 2000 samples": bool(bom[at(2000)] > 0.9),
        f"best-of-majority does not fall from 100 samples on (up to {slack:g})": bool(
            (np.diff(bom[at(100) :]) > -slack).all()
        ),
        "majority stays below .1 from 100 samples on": bool((vote[at(100) :] < 0.1).all()),
        "control, no hacked answers: best-of-n is at least as good at every size": bool(
            (clean["best-of-n"] >= clean["best-of-majority"]).all()
        ),
        "control, k = all answers: best-of-n passes exactly where the right answer was drawn": all(
            np.array_equal(w["best-of-n"], w["coverage"]) for w in wide
        ),
    }
    names = {"best-of-n": "best-of-n", "best-of-majority": "best-of-majority", "majority": "majority"}
    return Finding(
        slug="best-of-majority",
        claim="With a reward that is wrong on rare answers, best-of-n gets worse with more samples and a majority vote "
        "never finds a minority answer, while best-of-majority keeps improving.",
        metric="Pass@1: share of problems whose submitted answer is right",
        values={
            f"{label}, N={n}": Interval.of([r[name][at(n)] for r in runs])
            for name, label in names.items()
            for n in (20, 100, 500, 2000)
        },
        control="No answer is over-rewarded: then the gate can only cost.",
        control_values={
            f"{label}, N={n}, no hacked answers": Interval.of([r[name][at(n)] for r in free])
            for name, label in names.items()
            for n in (20, 200, 2000)
        },
        checks=checks,
        scale=scale,
        seed=seed,
        seconds=time.perf_counter() - began,
        plot=Plot(
            "More samples: best-of-n is fooled, best-of-majority is not",
            "samples N",
            "Pass@1",
            [Curve(label, [float(n) for n in SIZES], mean[name].tolist()) for name, label in names.items()]
            + [Curve("best-of-n, no hacked answers", [float(n) for n in SIZES], clean["best-of-n"].tolist())],
        ),
        notes=("Simulated answers and rewards; no language model.",),
    )
