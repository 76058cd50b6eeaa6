"""Making, not Taking, the Best of N (2025, arXiv:2510.00931): fusing candidates can pass the best of them.

Simulated: a target of 12 segments from 20 symbols; in a candidate each segment is wrong (another symbol) with
probability 0.35. Best-of-n knows the true share of right segments up to noise of 0.08; the fusor sees no truth and
takes the most frequent symbol of each segment. Under the control a candidate is all right or all wrong, as where an
answer counts only as a whole.
"""

from __future__ import annotations

import time

import numpy as np

from polyculture.decode.best_of_n import best_of_n
from polyculture.decode.fusion_measures import segment_majority
from polyculture.reproductions.finding import Curve, Finding, Interval, Plot, Scale

SEGMENTS, SYMBOLS, WRONG, NOISE = 12, 20, 0.35, 0.08
SIZES = (2, 3, 5, 7, 9)
METHODS = ("single", "best-of-n", "oracle", "fusion")


def pool(rng: np.random.Generator, n: int, *, monolithic: bool) -> tuple[np.ndarray, np.ndarray]:
    """A target (s,) and n candidates (n, s)."""
    target = rng.integers(SYMBOLS, size=SEGMENTS)
    shape = (n, 1) if monolithic else (n, SEGMENTS)
    wrong = np.broadcast_to(rng.random(shape) < WRONG, (n, SEGMENTS))
    other = (target + rng.integers(1, SYMBOLS, size=(n, SEGMENTS))) % SYMBOLS
    return target, np.where(wrong, other, target)


def qualities(items: int, n: int, rng: np.random.Generator, *, monolithic: bool) -> tuple[dict[str, float], float]:
    """Mean share of right segments for each way of answering, and exact matches of fusion minus those of best-of-n."""
    got: dict[str, list[float]] = {name: [] for name in METHODS}
    exact = []
    for _ in range(items):
        target, candidates = pool(rng, n, monolithic=monolithic)
        share = (candidates == target).mean(axis=1)
        fused = float((segment_majority(candidates) == target).mean())
        chosen = float(share[best_of_n(share + NOISE * rng.standard_normal(n))])
        for name, value in zip(METHODS, (float(share[0]), chosen, float(share.max()), fused), strict=True):
            got[name].append(value)
        exact.append(float(fused == 1) - float(chosen == 1))
    return {name: float(np.mean(values)) for name, values in got.items()}, float(np.mean(exact))


def reproduce(*, scale: Scale, seed: int) -> Finding:
    """Quality of a single candidate, best-of-n, the oracle's choice and fusion, by number of candidates."""
    began = time.perf_counter()
    seeds, items = (2, 400) if scale == "smoke" else (5, 2000)
    runs, whole, identical = [], [], True
    for s in range(seeds):
        rng = np.random.default_rng([seed, s])
        runs.append({n: qualities(items, n, rng, monolithic=False)[0] for n in SIZES})
        whole.append({n: qualities(items, n, rng, monolithic=True) for n in SIZES})
        _, candidates = pool(rng, 1, monolithic=False)
        identical &= np.array_equal(segment_majority(np.repeat(candidates, 5, axis=0)), candidates[0])
    mean = {name: {n: float(np.mean([r[n][name] for r in runs])) for n in SIZES} for name in METHODS}
    control = {name: {n: float(np.mean([r[n][0][name] for r in whole])) for n in SIZES} for name in METHODS}
    exact = float(np.mean([r[5][1] for r in whole]))
    checks = {
        f"fusion passes the oracle's choice by more than .08 with {n} candidates": mean["fusion"][n] - mean["oracle"][n]
        > 0.08
        for n in SIZES
        if n >= 5
    }
    checks |= {
        "fusion of two is about a single candidate (ties)": abs(mean["fusion"][2] - mean["single"][2]) < 0.05,
        "control, all right or all wrong: fusion of five is below best-of-n": control["fusion"][5]
        < control["best-of-n"][5],
        "control, all right or all wrong: fusion of five has fewer exact matches": exact < 0,
        "control, identical candidates: fusion is the candidate": bool(identical),
    }
    sizes = [float(n) for n in SIZES]
    return Finding(
        slug="fusion-of-n",
        claim="Where quality is spread over the candidates, an answer made of them is better than the best of them.",
        metric="mean share of right segments",
        values={f"{m}, N={n}": Interval.of([r[n][m] for r in runs]) for m in METHODS for n in (2, 3, 5, 9)},
        control="A candidate is all right or all wrong: there is nothing to combine, and the effect reverses.",
        control_values={
            f"{m}, N={n}, all or nothing": Interval.of([r[n][0][m] for r in whole]) for m in METHODS for n in (3, 5)
        }
        | {"exact match, fusion - best-of-n, N=5": Interval.of([r[5][1] for r in whole])},
        checks=checks,
        scale=scale,
        seed=seed,
        seconds=time.perf_counter() - began,
        plot=Plot(
            "Fusion against selection",
            "candidates N",
            "share of right segments",
            [Curve(m, sizes, [mean[m][n] for n in SIZES]) for m in METHODS]
            + [Curve("fusion, all or nothing", sizes, [control["fusion"][n] for n in SIZES])],
        ),
        notes=("The fusor is a majority vote on segments, not a language model; it sees neither truth nor reward.",),
    )
