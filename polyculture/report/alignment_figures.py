"""The plots of an alignment run: the path through reward and diversity, and what was logged and watched over steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from polyculture.align.watching.log import Observation
from polyculture.align.watching.measures import mean_interval
from polyculture.report.figure import Figure
from polyculture.reproductions.finding import Curve, Plot


@dataclass(frozen=True)
class Group:
    """Plots of one section."""

    id: str
    name: str
    title: str
    text: str
    figures: Sequence[Figure]


@dataclass(frozen=True)
class Lines:
    """One plot over steps: the numbers to draw, by their names in the log or the watch, and what they are called."""

    id: str
    title: str
    y: str
    series: Mapping[str, str]
    caption: str = ""
    percent: bool = False


LOGGED = (
    Lines("loss", "Loss", "loss", {"loss": "training", "eval_loss": "held out"}),
    Lines(
        "accuracy",
        "Preferred by the implicit reward",
        "share of pairs",
        {"rewards/accuracies": "training", "eval_rewards/accuracies": "held out"},
        "How often the chosen answer has the higher implicit reward; a coin gives 50 %.",
        percent=True,
    ),
    Lines(
        "margins",
        "Implicit rewards",
        "implicit reward",
        {
            "rewards/margins": "margin",
            "rewards/chosen": "chosen",
            "rewards/rejected": "rejected",
            "eval_rewards/margins": "margin, held out",
        },
        "What the objective counts as reward, relative to the reference: not the reward of sampled answers.",
    ),
    Lines(
        "logps",
        "Log-likelihood in training",
        "nats an answer",
        {
            "logps/chosen": "chosen",
            "logps/rejected": "rejected",
            "logps/desirable": "desirable",
            "logps/undesirable": "undesirable",
        },
        "Whole answers of the training data, so it varies with their length.",
    ),
)

WATCHED: Sequence[tuple[str, str, str, str, Sequence[Lines]]] = (
    (
        "answers",
        "Reward, diversity",
        "Reward and diversity",
        "Of answers sampled to held-out prompts.",
        (
            Lines("reward", "Reward", "mean reward", {"reward": "reward"}, "The band is a 95 % interval over prompts."),
            Lines(
                "vendi-prompt",
                "Diversity for one prompt",
                "Vendi score",
                {"vendi_prompt": "for one prompt"},
                "From 1, all answers alike, to the number of answers a prompt. The band is "
                "a 95 % interval over prompts.",
            ),
            Lines(
                "vendi-across",
                "Diversity across prompts",
                "Vendi score",
                {"vendi_across": "across prompts"},
                "From 1, the same answer to every prompt, to the number of prompts.",
            ),
            Lines(
                "ead",
                "Distinct phrases",
                "EAD",
                {"ead_prompt": "for one prompt", "ead_across": "across prompts"},
                "Distinct runs of 1 to 5 words over the number expected of as many random ones; it allows for length.",
            ),
            Lines("length", "Length of answers", "tokens", {"length": "mean length"}),
            Lines("ended", "Answers that came to an end", "share", {"ended": "ended"}, percent=True),
        ),
    ),
    (
        "likelihoods",
        "Likelihood",
        "Likelihood of chosen and rejected answers",
        "Of held-out pairs, without the reference. Both may fall: that alone is no bad sign, but the further they "
        "fall, the more of the probability goes to answers that nobody wrote.",
        (
            Lines("likelihood", "Log-likelihood", "nats a token", {"chosen": "chosen", "rejected": "rejected"}),
            Lines(
                "likelier",
                "Pairs whose chosen answer is likelier",
                "share of pairs",
                {"chosen_likelier": "chosen is likelier, by token"},
                percent=True,
            ),
        ),
    ),
    (
        "openness",
        "Openness",
        "How open the next token is",
        "Where the policy writes, at temperature 1. The alarm looks at the entropy and the mass of the likeliest "
        "tokens.",
        (
            Lines(
                "top-k-entropy",
                "Entropy of the likeliest tokens",
                "bits",
                {"top_k_entropy": "top-k entropy"},
                "The band is a 95 % interval over prompts. The alarm compares prompt by prompt, which is finer.",
            ),
            Lines(
                "top-k-mass",
                "Mass of the likeliest tokens",
                "probability",
                {"top_k_mass": "top-k mass"},
                "The band is a 95 % interval over prompts.",
                percent=True,
            ),
            Lines("entropy", "Entropy of the whole vocabulary", "nats", {"entropy": "entropy"}),
        ),
    ),
    (
        "distance",
        "Distance",
        "Distance from the reference",
        "Each divergence is taken over the whole vocabulary, on answers sampled from its first argument.",
        (
            Lines(
                "kl",
                "Divergence of a token",
                "nats a token",
                {"reverse_kl": "KL(policy ‖ reference)", "forward_kl": "KL(reference ‖ policy)"},
                "The first grows when the policy writes what the reference would not, the second when it no longer "
                "writes what the reference would.",
            ),
            Lines(
                "kl-sample",
                "Divergence of an answer",
                "nats an answer",
                {"reverse_kl_sample": "KL(policy ‖ reference)", "forward_kl_sample": "KL(reference ‖ policy)"},
                "Summed over an answer's tokens, up to the length at which samples are cut.",
            ),
        ),
    ),
)


COLOURS = {"chosen": 0, "rejected": 1, "margin": 2, "margin, held out": 4}


def diversity_name(watch: Mapping[str, Any]) -> str:
    """The diversity on the frontier: that of one prompt's answers, where there are several."""
    return "vendi_across" if watch.get("samples") == 1 else "vendi_prompt"


def figures_of(
    observations: Sequence[Observation],
    log: Sequence[Mapping[str, Any]],
    watch: Mapping[str, Any],
    marks: Mapping[str, float],
) -> list[Group]:
    """The sections of plots; what has fewer than two points is left out.

    Args:
        observations: the evaluations.
        log: the trainer's log history.
        watch: how the run was watched.
        marks: words -> step.
    """
    groups = []
    path = _path(observations, watch)
    if path is not None:
        groups.append(Group("frontier", "Frontier", "Reward against diversity", "", [path]))
    training = [figure for lines in LOGGED if (figure := _over_steps(lines, log, {}, marks))]
    if training:
        groups.append(
            Group(
                "training",
                "Training",
                "Training",
                "As logged, on the training data unless it says otherwise.",
                training,
            )
        )
    seen = [{"step": one.step, **one.metrics, **_intervals(one)} for one in observations]
    for place, name, title, text, several in WATCHED:
        drawn = [figure for lines in several if (figure := _over_steps(lines, seen, BANDS, marks))]
        if drawn:
            groups.append(Group(place, name, title, text, drawn))
    return groups


BANDS = {name: (f"{name}_low", f"{name}_high") for name in ("reward", "vendi_prompt", "top_k_entropy", "top_k_mass")}


def _intervals(one: Observation) -> dict[str, float]:
    """Intervals of what is kept by prompt."""
    found: dict[str, float] = {}
    for name, values in one.by_prompt.items():
        _, found[f"{name}_low"], found[f"{name}_high"] = mean_interval(values)
    return found


def _path(observations: Sequence[Observation], watch: Mapping[str, Any]) -> Figure | None:
    name = diversity_name(watch)
    points = [
        (one.metrics["reward"], one.metrics[name], one.step)
        for one in observations
        if _finite(one.metrics.get("reward")) and _finite(one.metrics.get(name))
    ]
    if len(points) < 2:
        return None
    xs, ys, steps = zip(*points, strict=True)
    across = name == "vendi_across"
    plot = Plot(
        "Reward against diversity over training",
        f"mean reward ({watch.get('reward', 'reward')})",
        f"diversity {'across prompts' if across else 'for one prompt'} (Vendi score)",
        [Curve("evaluations", list(xs), list(ys))],
    )
    caption = (
        "Each point is an evaluation, shaded by its step. Further right is better, and "
        "further up is more diverse; where the path goes down to the right, diversity is paid for reward."
    )
    ends = [observations[i].metrics for i in (0, -1)]
    same = [words for key, words in (("reward", "reward"), (name, "diversity")) if _overlap(key, *ends)]
    if same:
        caption += f" The intervals of start and end overlap in {' and in '.join(same)}: that change may be chance."
    return Figure(
        "path",
        plot,
        caption,
        labels={"evaluations": [f"step {step:,}" for step in steps]},
        shades={"evaluations": [float(step) for step in steps]},
        shade="step",
        named={"evaluations": {0: "start", len(points) - 1: "end"}},
    )


def _overlap(name: str, a: Mapping[str, float], b: Mapping[str, float]) -> bool:
    """Whether the intervals of a metric at two evaluations overlap."""
    (low, high), (least, most) = ([one.get(f"{name}_{end}", math.nan) for end in ("low", "high")] for one in (a, b))
    return low <= most and least <= high


def _over_steps(
    lines: Lines, rows: Sequence[Mapping[str, Any]], bands: Mapping[str, tuple[str, str]], marks: Mapping[str, float]
) -> Figure | None:
    curves = []
    for name, shown in lines.series.items():
        held = [row for row in rows if _finite(row.get(name)) and _finite(row.get("step"))]
        if len(held) < 2:
            continue
        ends = bands.get(name)
        banded = ends is not None and all(_finite(row.get(end)) for row in held for end in ends)
        low, high = ([row[end] for row in held] if banded else [] for end in ends or ("", ""))
        curves.append(Curve(shown, [row["step"] for row in held], [row[name] for row in held], low, high))
    if not curves:
        return None
    plot = Plot(lines.title, "step", lines.y, curves)
    return Figure(lines.id, plot, lines.caption, percent=lines.percent, marks=marks, colours=COLOURS)


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
