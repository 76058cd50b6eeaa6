"""ASFT raises the chosen answers where DPO lowers them, on sequences that can all be written down.

"ASFT: Aligned Supervised Fine-Tuning through Absolute Likelihood" (2024), in small: tables of logits for 4 symbols and
length 6, 800 Bradley-Terry pairs of the reference's samples, full-batch Adam at .05 for 300 steps. Measured: the mean
change of the log-probability of chosen and rejected sequences, exact reward and entropy, and how much harder the loss
pushes on the rejected than on the chosen probability (of a token, geometric mean), median over pairs, before the first
step and after the last. Claimed: ASFT raises the chosen and DPO lowers them; ASFT lowers the rejected more than SFT
does; DPO's ratio grows beyond 1 as the rejected probability falls, ASFT's stays below 1.

Controls: ASFT with lambda 0 must take SFT's steps to the last bit; and trained on coin-flip labels ASFT must gain no
reward, nor prefer the chosen of pairs that it was not trained on; the two intervals are at 95 % together. Of the pairs
that it was trained on it does learn to prefer the chosen: tables have the room to remember noise.

DPO gains more reward in this toy than ASFT does; that is reported, not hidden.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor

from polyculture.align.objective import Objective
from polyculture.reproductions.enumerable_sequences import Trace, Trainer, Worlds, covers_zero
from polyculture.reproductions.finding import Curve, Finding, Interval, Plot, Scale

MEASURES = {
    "chosen": "change of ln p of chosen",
    "rejected": "change of ln p of rejected",
    "reward": "reward gain",
    "entropy": "entropy",
}


def likelihood_loss(mean_chosen: Tensor) -> Tensor:
    """SFT with each sequence weighing the same, as in ASFT's own likelihood term."""
    return -mean_chosen


def objectives() -> dict[str, Objective]:
    """What is compared, with the papers' defaults."""
    return {
        "ASFT": Objective.of("asft", lam=1.0, beta=1.0, ce_coef=1.0),
        "DPO": Objective.of("dpo", beta=0.1),
        "ORPO": Objective.of("orpo"),
        "SFT": Objective.of(likelihood_loss),
    }


def push_ratio(trainer: Trainer, table: Tensor, objective: Objective) -> np.ndarray:
    """(S,) median over pairs of |dL / dp_rejected| / |dL / dp_chosen|, p = exp(mean log-probability a token)."""
    given = {name: values.detach().clone() for name, values in trainer.inputs(table, objective).items()}
    side = "policy" if "policy_chosen" in objective.needs else "mean"
    pair = [given[f"{side}_{which}"].requires_grad_() for which in ("chosen", "rejected")]
    gradients = torch.autograd.grad(objective(given).sum(), pair)
    p = [given[f"mean_{which}"].detach().exp() for which in ("chosen", "rejected")]
    # Sequences are of one length, so that sums and means differ by a factor that cancels in the ratio.
    pushes = [gradient.abs() / chance for gradient, chance in zip(gradients, p, strict=True)]
    return (pushes[1] / pushes[0]).median(dim=1).values.numpy()


def reproduce(*, scale: Scale = "smoke", seed: int = 0) -> Finding:
    """ASFT, DPO, ORPO and SFT over seeds, and ASFT on coin-flip labels."""
    start = time.perf_counter()
    seeds, steps = (range(seed, seed + 5), 100) if scale == "smoke" else (range(seed, seed + 10), 300)
    trainer = Trainer(Worlds.draw(seeds))
    chosen = objectives()
    traces = {name: trainer.train(held, steps=steps, every=max(1, steps // 30)) for name, held in chosen.items()}
    values = {
        f"{method}, {label}": Interval.of(trace.last(name))
        for method, trace in traces.items()
        for name, label in MEASURES.items()
    }
    ratios = {
        f"{method}, push on rejected over chosen, {when}": Interval.of(push_ratio(trainer, table, chosen[method]))
        for method in ("ASFT", "DPO")
        for when, table in (("before", trainer.worlds.reference), ("after", traces[method].table[0]))
    }
    lower = Interval.of(traces["ASFT"].last("rejected") - traces["SFT"].last("rejected"))

    without = trainer.train(Objective.of("asft", lam=0.0), steps=steps)
    flipped = Trainer(Worlds.draw(seeds, labels="coin")).train(chosen["ASFT"], steps=steps)
    difference = float((without.table[0] - traces["SFT"].table[0]).abs().max())
    checks = {
        "ASFT raises the chosen": values["ASFT, change of ln p of chosen"].low > 0,
        "DPO lowers the chosen": values["DPO, change of ln p of chosen"].high < 0,
        "ASFT lowers the rejected more than SFT does": lower.high < 0,
        "after training DPO pushes harder on the rejected than on the chosen": ratios[
            "DPO, push on rejected over chosen, after"
        ].low
        > 1,
        "before and after training ASFT does not": all(
            ratios[f"ASFT, push on rejected over chosen, {when}"].high < 1 for when in ("before", "after")
        ),
        "control: with lambda = 0 every entry of the tables is SFT's": difference == 0,
        "control: no reward is gained from coin-flip labels": covers_zero(flipped.last("reward"), looks=2),
        "control: from coin-flip labels no preference in pairs not trained on": covers_zero(
            flipped.last("held_gap"), looks=2
        ),
    }
    return Finding(
        slug="asft",
        claim="ASFT raises the chosen answers, where DPO lowers them, and lowers the rejected more than SFT does.",
        metric="mean change of a sequence's log-probability, in nats; exact reward gain and entropy",
        values=values | ratios | {"ASFT less SFT, change of ln p of rejected": lower},
        control="lambda = 0, which must be SFT exactly; and coin-flip labels, which must teach no preference.",
        control_values={
            "largest difference of SFT's and lambda = 0's tables": Interval.of([difference]),
            "ASFT, reward gain from coin flips": Interval.of(flipped.last("reward")),
            "ASFT, chosen less rejected from coin flips, pairs not trained on": Interval.of(flipped.last("held_gap")),
            "ASFT, chosen less rejected from coin flips, pairs trained on": Interval.of(
                flipped.last("chosen") - flipped.last("rejected")
            ),
        },
        checks=checks,
        scale=scale,
        seed=seed,
        seconds=time.perf_counter() - start,
        plot=_plot(traces),
        notes=(
            "DPO gains more reward here than ASFT; an independent comparison (arXiv 2502.01237) finds that pointwise "
            "objectives do not beat pairwise ones.",
            "All sequences have one length, so dividing by it changes nothing but scale.",
        ),
    )


def _plot(traces: dict[str, Trace]) -> Plot:
    return Plot(
        title="Chosen answers while training",
        x="step",
        y="mean change of ln p of chosen, nats",
        curves=[Curve(name, trace.steps, np.mean(trace.chosen, axis=1).tolist()) for name, trace in traces.items()],
    )
