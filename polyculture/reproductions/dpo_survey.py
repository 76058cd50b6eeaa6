"""Every preference objective on the same pairs: what each gains, and what it costs.

"A Survey of Direct Preference Optimization" (2025), in small. Every objective of :data:`polyculture.align.METHODS` that
learns from pairs, demonstrations or labels, at its defaults, trains the same tables: 4 symbols, length 6, 800
Bradley-Terry pairs of the reference's samples, full-batch Adam at .05 for 300 steps. One row each: exact reward gain,
entropy and KL(policy || reference), and the mean change of the log-probability of chosen and rejected sequences.
Claimed: DPO lowers the chosen although it gains the most reward of DPO, ASFT, ORPO and SFT; the other three raise them;
every objective lowers the rejected against the chosen.

The last of these does not hold, for DPOP alone: at its published weight of 50 it hardly moves from the reference (a
reward gain of .003, where DPO gains 2.0), and over five seeds the interval of its gap contains 0. We looked for an
error and found none: at weight 0 it takes DPO's way, and at .1, 1, 5 and 50 (three seeds) it gains 1.36, .58, .02 and
.003. Its penalty is on a sum of log-probabilities, as published. Chosen sequences are samples of the reference,
hundreds of different ones that share the entries of one small table, so that no step makes all of them more likely, and
each that becomes less likely is paid for fifty-fold. A language model that can raise every chosen answer is not held
like that.

Control: labels by coin flips, and margins and win rates made of rewards that are shuffled over the sequences. ODPO and
DNO learn from those; a first run that left them in place found the two gaining .86 and 1.2 from coin flips. No
objective's reward may change, family-wise over all rows at 95 %. Tables fit the noise of 800 coins, so the intervals of
those that go far from the reference are as wide as DPO's, -1.5 to .84: the control is a weak one for them.

Length: with a fifth symbol that ends a sequence, every pair is given in both orders, so that labels say nothing, of
length or else. CPO without its likelihood term compares summed log-probabilities, SimPO without its margin the means of
tokens, and else they are the same loss. Claimed: CPO makes sequences longer, and SimPO changes their length by less
than half as much. DPO and ``dpo-norm`` are shown too: the reference makes up for length, and neither may move.

History: that DPO gains the most of the four was asserted of means; it is now asserted of intervals, paired by seed.

Objectives that need what this toy does not have are left out and named in the notes: a second reward (MODPO), rankings,
and samples of the policy.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from polyculture.align.objective import Objective, names
from polyculture.reproductions.enumerable_sequences import Trace, Trainer, Worlds, covers_zero
from polyculture.reproductions.finding import Curve, Finding, Interval, Plot, Scale

COLUMNS = {
    "reward": "reward gain",
    "entropy": "entropy",
    "kl": "KL to the reference",
    "chosen": "change of ln p of chosen",
    "rejected": "change of ln p of rejected",
}
LENGTHENS = "change of length from pairs in both orders"
FEW = ("dpo", "orpo", "asft", "sft")
"""What the claim is about, and what a smoke run trains."""


def lengths() -> dict[str, Objective]:
    """Two couples that differ in nothing but the division by the number of tokens."""
    return {
        "cpo": Objective.of("cpo", beta=0.1, nll_weight=0.0),
        "simpo": Objective.of("simpo", beta=0.1, gamma=0.0),
        "dpo": Objective.of("dpo", beta=0.1),
        "dpo-norm": Objective.of("dpo-norm", beta=0.1),
    }


def reproduce(*, scale: Scale = "smoke", seed: int = 0) -> Finding:
    """Train every objective on real and on random labels, and two couples on sequences of unequal length."""
    start = time.perf_counter()
    seeds, steps = (range(seed, seed + 5), 50) if scale == "smoke" else (range(seed, seed + 5), 300)
    trainer = Trainer(Worlds.draw(seeds))
    every = {name: Objective.of(name) for name in (FEW if scale == "smoke" else _all())}
    offered = {name: objective for name, objective in every.items() if trainer.offers(objective)}
    traces = {name: trainer.train(objective, steps=steps) for name, objective in offered.items()}
    flipped = Trainer(Worlds.draw(seeds, labels="coin"))
    random = {name: flipped.train(objective, steps=steps).last("reward") for name, objective in offered.items()}
    unequal = Trainer(Worlds.draw(seeds, labels="both", ends=True))
    drifts = {name: _drift(unequal.train(objective, steps=steps)) for name, objective in lengths().items()}

    values = {
        f"{name}, {label}": Interval.of(trace.last(column))
        for name, trace in traces.items()
        for column, label in COLUMNS.items()
    }
    smaller = Interval.of(np.abs(drifts["simpo"]) - np.abs(drifts["cpo"]) / 2)
    values |= {f"{name}, {LENGTHENS}": Interval.of(drift) for name, drift in drifts.items()}
    values["simpo less half of cpo, size of the change of length"] = smaller
    ahead = {
        f"reward gain, dpo less {name}": Interval.of(traces["dpo"].last("reward") - traces[name].last("reward"))
        for name in FEW[1:]
    }
    values |= ahead
    checks = {
        "DPO lowers the chosen": values["dpo, change of ln p of chosen"].high < 0,
        "ASFT, ORPO and SFT raise the chosen": all(
            values[f"{name}, change of ln p of chosen"].low > 0 for name in ("asft", "orpo", "sft")
        ),
        "of these four DPO gains the most reward": all(lead.low > 0 for lead in ahead.values()),
        "every objective widens the gap of chosen and rejected": all(
            Interval.of(trace.last("chosen") - trace.last("rejected")).low > 0 for trace in traces.values()
        ),
        "length: CPO's sums make sequences longer": values[f"cpo, {LENGTHENS}"].low > 0,
        "length: SimPO's means change it by less than half of that": smaller.high < 0,
        "length: DPO and dpo-norm leave it as it is": max(
            float(np.abs(drifts[name]).max()) for name in ("dpo", "dpo-norm")
        )
        < 0.01,
        "control: no objective's reward is shown to change from coin-flip labels": all(
            covers_zero(gain, looks=len(random)) for gain in random.values()
        ),
        "control: nor does it on average": covers_zero(np.mean(list(random.values()), axis=0)),
    }
    left_out = [name for name in every if name not in offered]
    return Finding(
        slug="dpo-survey",
        claim="DPO gains the most reward by lowering chosen answers too; SFT, ORPO and ASFT raise them and gain less.",
        metric="exact reward gain, entropy and KL in nats; mean change of a sequence's log-probability, in nats",
        values=values,
        control="Labels by coin flips, and shuffled margins and win rates, from which no reward may be gained.",
        control_values={f"{name}, reward gain from coin flips": Interval.of(gain) for name, gain in random.items()},
        checks=checks,
        scale=scale,
        seed=seed,
        seconds=time.perf_counter() - start,
        plot=_plot(traces),
        notes=(
            "Every objective runs at its own defaults and the same learning rate: a row tells how they differ in kind, "
            "not which is best when tuned.",
            *([f"Left out, for want of their data: {', '.join(left_out)}."] if left_out else []),
            *(["A smoke run trains four objectives of all."] if scale == "smoke" else []),
        ),
    )


def table(finding: Finding) -> list[dict[str, str]]:
    """The finding as one row an objective, as text, in the order of the methods."""
    rows: dict[str, dict[str, str]] = {}
    for label, interval in finding.values.items():
        name, _, column = label.partition(", ")
        if column in COLUMNS.values():
            rows.setdefault(name, {"objective": name})[column] = str(interval)
    return list(rows.values())


def _all() -> list[str]:
    return [name for kind in ("pairs", "demonstrations", "labels") for name in names(kind)]


def _drift(trace: Trace) -> np.ndarray:
    return trace.length[-1] - trace.length[0]


def _plot(traces: Mapping[str, Trace]) -> Plot:
    return Plot(
        title="What each objective gains, and how far it goes for it",
        x="KL(policy || reference), nats",
        y="reward gain",
        curves=[
            Curve(name, [float(trace.last("kl").mean())], [float(trace.last("reward").mean())], kind="points")
            for name, trace in traces.items()
        ],
    )
