"""Reinforcement learning from feedback wins more and varies less than the policy it started from.

"Understanding the Effects of RLHF on LLM Generalisation and Diversity" (2023), in small: a contextual bandit that
answers x in R^8 with 6 tokens out of 12, each slot a softmax of x W_t. The true reward is a sum of (x U_t)[y_t], and
demonstrators sample from its softmax. Supervised fine-tuning (SFT) fits 600 demonstrations; a linear reward model fits
2 000 comparisons of SFT samples; with both linear, the KL-regularised optimum of RL is exactly W_SFT + R / beta.
Best-of-16 (BoN) takes the SFT sample that the reward model likes best. A policy wins where its true reward is above a
fresh demonstrator's. Out of distribution the contexts move by 1.5 in every coordinate, in random directions.

All policies are sampled with the same uniform draws, so that they differ by what they are and not by luck; differences
are paired by seed. Two controls. At beta = 1000 RL may not leave SFT and must equal it in everything. And RL at beta 1
for a reward model of coin-flip comparisons, on the same pairs, must not win more. It wins a little less (.009 in, .017
out of distribution). Coin flips nearly cancel in the fit, so that this reward is small and variety falls by only .004.

History: the checks of wins and variety compared means; they now ask for paired 95 % intervals above 0 in every
comparison, and the control of coin flips was added with them, before the one run that followed.

Not asserted: that the lead of RL over SFT grows with the shift, for it shrinks in this toy (.164 to .138), and that BoN
keeps more diversity than RL. Where RL wins as often as BoN (beta = .3: .004 less) BoN is more varied by .006 (.003 to
.010), which is little beside the .17 that both have lost. The values are reported.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np

from polyculture.measure.ngrams import distinct_averaged
from polyculture.measure.per_input import diversity_by_input, generalisation_gap
from polyculture.reproductions.finding import Curve, Finding, Interval, Plot, Scale

WIDTH, SLOTS, TOKENS = 8, 6, 12
DEMONSTRATIONS, COMPARISONS, OUTPUTS, BEST_OF = 600, 2000, 16, 16
BETAS = (3.0, 1.0, 0.3)
CONTROL_BETA = 1000.0
HELD, COINS = f"RL beta {CONTROL_BETA:g}", "RL beta 1 for coin flips"


@dataclass(frozen=True)
class World:
    """The true reward U, the fitted policy and reward models, (slots, width, tokens) each, and the test contexts."""

    truth: np.ndarray
    sft: np.ndarray
    reward: np.ndarray
    noise: np.ndarray
    inside: np.ndarray
    outside: np.ndarray


def scores(x: np.ndarray, W: np.ndarray) -> np.ndarray:
    """Logits of every slot, (n, slots, tokens)."""
    return np.einsum("nd,tdv->ntv", x, W)


def softmax(z: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    p = np.exp(z - z.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


def draw(logits: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Tokens of (n, slots, tokens) logits by inverse transform: uniform (..., n, slots) -> tokens of that shape."""
    edges = softmax(logits).cumsum(axis=-1)
    return np.minimum((uniform[..., None] > edges).sum(axis=-1), logits.shape[-1] - 1)


def value(x: np.ndarray, y: np.ndarray, W: np.ndarray) -> np.ndarray:
    """Sum over slots of (x W_t)[y_t], for tokens y of shape (..., n, slots)."""
    z = scores(x, W)
    n, t = np.arange(len(x))[:, None], np.arange(SLOTS)[None, :]
    return z[n, t, y].sum(axis=-1)


def make_world(rng: np.random.Generator, contexts: int) -> World:
    """Fit the policy to demonstrations, one reward model to comparisons of its samples and one to coin flips."""
    truth = 0.7 * rng.normal(size=(SLOTS, WIDTH, TOKENS))
    x = rng.normal(size=(DEMONSTRATIONS, WIDTH))
    shown = np.eye(TOKENS)[draw(scores(x, truth), rng.random((len(x), SLOTS)))]
    sft = np.zeros_like(truth)
    for _ in range(300):
        gradient = np.einsum("nd,ntv->tdv", x, shown - softmax(scores(x, sft))) / len(x)
        sft += 0.5 * (gradient - 1e-2 * sft)
    x = rng.normal(size=(COMPARISONS, WIDTH))
    a, b = (draw(scores(x, sft), rng.random((len(x), SLOTS))) for _ in range(2))
    better = rng.random(len(x)) < 1 / (1 + np.exp(value(x, b, truth) - value(x, a, truth)))
    apart = np.eye(TOKENS)[a] - np.eye(TOKENS)[b]
    reward = fit_reward(x, apart, better)
    shift = 1.5 * rng.choice([-1.0, 1.0], WIDTH)
    inside, outside = rng.normal(size=(2, contexts, WIDTH))
    noise = fit_reward(x, apart, rng.random(len(x)) < 0.5)
    return World(truth, sft, reward, noise, inside, outside + shift)


def fit_reward(x: np.ndarray, apart: np.ndarray, better: np.ndarray) -> np.ndarray:
    """A linear reward model of comparisons: contexts (n, width), first less second answer one-hot, first better."""
    reward = np.zeros((SLOTS, WIDTH, TOKENS))
    for _ in range(300):
        p = 1 / (1 + np.exp(-np.einsum("ntv,ntv->n", apart, scores(x, reward))))
        gradient = np.einsum("n,nd,ntv->tdv", better - p, x, apart, optimize=True) / len(x)
        reward += 0.5 * (gradient - 1e-2 * reward)
    return reward


def judge(world: World, W: np.ndarray, seed: int, *, best_of: int = 1) -> dict[str, float]:
    """Win rates in and out of distribution, and diversity per and across inputs in distribution."""
    wins: list[np.ndarray] = []
    outputs = np.zeros((OUTPUTS, 0, SLOTS), dtype=np.int64)
    for place, x in enumerate((world.inside, world.outside)):
        rng = np.random.default_rng([seed, place])
        rival = draw(scores(x, world.truth), rng.random((OUTPUTS, len(x), SLOTS)))
        uniform = rng.random((best_of, OUTPUTS, len(x), SLOTS))
        y = draw(scores(x, W), uniform)
        best = value(x, y, world.reward).argmax(axis=0)
        y = np.take_along_axis(y, best[None, ..., None], axis=0)[0]
        wins.append((value(x, y, world.truth) > value(x, rival, world.truth)).mean(axis=0))
        outputs = y if place == 0 else outputs
    texts = [[" ".join(f"w{token}" for token in one) for one in of_input] for of_input in outputs.swapaxes(0, 1)]
    metric = partial(distinct_averaged, n_min=1, n_max=3)
    varied = diversity_by_input(texts, metrics={"distinct": metric}).metrics["distinct"]
    gap = generalisation_gap(*wins)
    return {
        "win in": gap.in_distribution,
        "win out": gap.out_of_distribution,
        "per input": varied.per_input,
        "across inputs": varied.across_input,
    }


def reproduce(*, scale: Scale = "smoke", seed: int = 0) -> Finding:
    """Wins and diversity of SFT, best-of-16 and RL at several strengths, over seeds."""
    start = time.perf_counter()
    n_seeds, contexts = (2, 100) if scale == "smoke" else (10, 200)
    found: dict[str, list[float]] = {}
    control: dict[str, list[float]] = {}
    for s in range(seed, seed + n_seeds):
        world = make_world(np.random.default_rng(s), contexts)
        policies = {"SFT": world.sft} | {f"RL beta {b:g}": world.sft + world.reward / b for b in BETAS}
        for name, W in policies.items():
            for what, number in judge(world, W, s).items():
                found.setdefault(f"{name}, {what}", []).append(number)
        for what, number in judge(world, world.sft, s, best_of=BEST_OF).items():
            found.setdefault(f"BoN, {what}", []).append(number)
        held = {HELD: world.sft + world.reward / CONTROL_BETA, COINS: world.sft + world.noise}
        for name, W in held.items():
            for what, number in judge(world, W, s).items():
                control.setdefault(f"{name}, {what}", []).append(number)

    def less(kind: str, one: str, other: str = "SFT") -> Interval:
        """One policy less another, paired by seed."""
        return Interval.of(np.subtract({**found, **control}[f"{one}, {kind}"], found[f"{other}, {kind}"]))

    kinds = ("win in", "win out", "per input", "across inputs")
    leads = {kind: less(kind, "RL beta 1") for kind in kinds}
    chain = ["SFT", *(f"RL beta {b:g}" for b in BETAS)]
    falls = {f"{a} less {b}, per input": less("per input", a, b) for a, b in pairwise(chain)}
    coins = {kind: less(kind, COINS) for kind in kinds}
    beside = {f"RL beta .3 less BoN, {kind}": less(kind, "RL beta 0.3", "BoN") for kind in kinds}
    apart = max(float(np.abs(np.subtract(control[f"{HELD}, {k}"], found[f"SFT, {k}"])).max()) for k in kinds)
    checks = {
        "RL (beta 1) wins more than SFT in distribution": _above(leads["win in"], scale),
        "RL (beta 1) wins more than SFT out of distribution": _above(leads["win out"], scale),
        "diversity per input falls from SFT through beta 3, 1, .3": all(_above(fall, scale) for fall in falls.values()),
        "control: at beta 1000 RL equals SFT within .02 in everything, in every run": apart < 0.02,
        "control: RL (beta 1) for a reward of coin flips has less than a tenth of the lead": all(
            coins[kind].mean < 0.1 * leads[kind].mean for kind in ("win in", "win out")
        ),
    }
    return Finding(
        slug="rlhf-diversity",
        claim="RLHF wins more than SFT in and out of distribution, and its outputs vary less for each input.",
        metric=f"share of wins over demonstrators; distinct n-grams, mean over n = 1..3, of {OUTPUTS} outputs an input",
        values={name: Interval.of(values) for name, values in found.items()}
        | {f"RL beta 1 less SFT, {kind}": lead for kind, lead in leads.items()}
        | falls
        | beside,
        control=f"beta = {CONTROL_BETA:g}: RL that may not leave SFT equals it. A reward of coin flips gains no wins.",
        control_values={name: Interval.of(values) for name, values in control.items()}
        | {f"{COINS} less SFT, {kind}": lead for kind, lead in coins.items()},
        checks=checks,
        scale=scale,
        seed=seed,
        seconds=time.perf_counter() - start,
        plot=_plot(found),
        notes=(
            "The lead of RL over SFT does not grow with the shift here, unlike in the paper: reported, not asserted.",
            "RL at beta .3 less best-of-16, which wins about as often, in diversity per input: "
            f"{beside['RL beta .3 less BoN, per input']}; reported, not asserted.",
            "All outputs have six tokens, so length does not confound the diversity.",
        ),
    )


def _above(difference: Interval, scale: Scale) -> bool:
    """Whether a difference is above 0; two seeds are too few for an interval."""
    return difference.low > 0 if scale == "full" else difference.mean > 0


def _plot(found: dict[str, list[float]]) -> Plot:
    names = ["SFT", *(f"RL beta {b:g}" for b in BETAS), "BoN"]
    curves = []
    for name in names:
        x, y = (Interval.of(found[f"{name}, {what}"]) for what in ("per input", "win in"))
        curves.append(Curve(name, [x.mean], [y.mean], [y.low], [y.high], kind="points"))
    return Plot("More wins, less variety", "diversity per input (distinct n-grams)", "win rate in distribution", curves)
