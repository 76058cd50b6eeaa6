"""A page of policies compared: wins against diversity, in and out of distribution, and what is said of the claims."""

from __future__ import annotations

import numpy as np

from polyculture.report.comparison import Table
from polyculture.report.document import document
from polyculture.report.figure import Figure
from polyculture.reproductions.finding import Curve, Plot
from polyculture.studies.intervals import Estimate, mean, over_draws
from polyculture.studies.policy_comparison import HEADLINE, Place, Policy
from polyculture.studies.rlhf_findings import Found

WHERE: dict[Place, str] = {"inside": "in distribution", "outside": "out of distribution"}
SHOWN, CHARACTERS = 3, 300
"""Outputs a policy and characters of each that the page shows."""
POINTS = 15


def render_policies(found: Found, *, title: str, lead: str = "") -> str:
    """The study of RLHF, or a comparison of policies, as HTML that needs no network.

    Args:
        found: what it found.
        title: the page's title.
        lead: what was compared, in a sentence.
    """
    figures = [_frontier(found, place, across=False) for place in found.places]
    figures += [_frontier(found, "inside", across=True), _by_metric(found), *_training(found)]
    return document(
        "policies.html",
        title=title,
        data={},
        figures=figures,
        order=[figure.id for figure in figures],
        tables=[
            policy_table(found),
            claim_table(found),
            *(per_input_table(found, place) for place in found.places),
            *(across_table(found, place) for place in found.places),
        ],
        examples=[
            {
                "prompt": _cut(prompt),
                "outputs": [(name, [_cut(text) for text in texts[:SHOWN]]) for name, texts in outputs.items()],
            }
            for prompt, outputs in found.examples
        ],
        lead=lead,
        notes=[f"Wins are counted by {found.judge}.", *found.notes],
    )


def policy_table(found: Found) -> Table:
    """Wins, the generalisation gap, the distance from SFT and the length of every policy."""
    places = found.places
    rows: list[list[str | float | None]] = []
    for policy in found.policies.values():
        wins: list[str | float | None] = [share(mean(policy.measured[place].wins)) for place in places]
        scores: list[str | float | None] = [mean(policy.measured[place].scores).value for place in places]
        gap = None if policy.gap is None else f"{100 * policy.gap:.1f} points"
        nats = [policy.kl] if found.rl is not None else []
        rows.append([policy.name, *wins, gap, *scores, *nats, policy.measured["inside"].length])
    columns = [f"wins {WHERE[place]}" for place in places]
    judged = [f"judge's score {WHERE[place]}" for place in places]
    nats_column = ["nats from SFT"] if found.rl is not None else []
    return Table("Policies", ["policy", *columns, "gap", *judged, *nats_column, "words an output"], rows)


def per_input_table(found: Found, place: Place) -> Table:
    """Diversity of every policy's outputs for one input, the mean over inputs, by every metric."""
    metrics = list(found.policies[found.first].measured[place].per_input)
    rows: list[list[str | float | None]] = [
        [name, *(str(mean(policy.measured[place].per_input[metric])) for metric in metrics)]
        for name, policy in found.policies.items()
    ]
    return Table(f"Diversity for one input, {WHERE[place]}", ["policy", *metrics], rows)


def across_table(found: Found, place: Place) -> Table:
    """Diversity of every policy's outputs across inputs, and of all of them pooled, by every metric."""
    metrics = list(found.policies[found.first].measured[place].per_input)
    rows: list[list[str | float | None]] = []
    for policy in found.policies.values():
        held = policy.measured[place]
        across: list[str | float | None] = [str(over_draws(held.across[name])) for name in metrics]
        rows.append([policy.name, *across, *(held.pooled[name] for name in metrics)])
    columns = [*metrics, *(f"{name}, pooled" for name in metrics)]
    return Table(f"Diversity across inputs, {WHERE[place]}", ["policy", *columns], rows)


def claim_table(found: Found) -> Table:
    """The paper's claims: the difference that should be above 0, and whether its interval is."""
    rows: list[list[str | float | None]] = [[c.text, str(c.difference), c.verdict] for c in found.claims]
    if found.control is not None:
        name, differences = found.control
        rows += [
            [f"control: {name} differs from SFT ({what})", str(held), "it does" if held.sign else "not shown"]
            for what, held in differences.items()
        ]
    title = f"The paper's claims, of {found.rl}" if found.rl is not None else f"Compared with {found.first}"
    return Table(title, ["claim", "difference", "holds"], rows)


def share(held: Estimate) -> str:
    """A share with its interval, as percentages."""
    return f"{100 * held.value:.1f} % [{100 * held.low:.0f}, {100 * held.high:.0f}]"


def _frontier(found: Found, place: Place, *, across: bool) -> Figure:
    """Wins against diversity: RL as a line through its coefficients, the others as points."""

    def point(policy: Policy) -> tuple[float, Estimate]:
        held = policy.measured[place]
        x = over_draws(held.across[HEADLINE]) if across else mean(held.per_input[HEADLINE])
        return x.value, mean(held.wins)

    control = None if found.control is None else found.control[0]
    learned = [p for p in found.policies.values() if p.coefficient is not None and p.name != control]
    curves, labels = [], {}
    for name, policies in [
        *([("RL", learned)] if learned else []),
        *((p.name, [p]) for p in found.policies.values() if p not in learned),
    ]:
        points = [point(policy) for policy in policies]
        wins = [y for _, y in points]
        curves.append(
            Curve(
                name,
                [x for x, _ in points],
                [y.value for y in wins],
                [y.low for y in wins],
                [y.high for y in wins],
                kind="line" if len(points) > 1 else "points",
            )
        )
        labels[name] = [policy.name for policy in policies]
    what = "across inputs" if across else "for one input"
    line = (
        f"RL's line goes from KL {learned[0].coefficient:g} to KL {learned[-1].coefficient:g}."
        if len(learned) > 1
        else ""
    )
    return Figure(
        f"frontier-{place}{'-across' if across else ''}",
        Plot(
            f"Wins and diversity {what}, {WHERE[place]}",
            f"diversity {what} ({HEADLINE.upper()})",
            "share of wins",
            curves,
        ),
        f"Up is better, to the right more varied. {line}",
        labels=labels,
    )


def _by_metric(found: Found) -> Figure:
    sft = found.policies[found.first].measured["inside"].per_input
    metrics = [name for name in sft if sft[name].mean() > 0]
    curves = [
        Curve(
            policy.name,
            metrics,
            [float(policy.measured["inside"].per_input[m].mean() / sft[m].mean()) for m in metrics],
            kind="bars",
        )
        for policy in found.policies.values()
        if policy.name != found.first
    ]
    return Figure(
        "metrics",
        Plot(
            f"Diversity for one input beside {found.first}'s", "metric", f"share of {found.first}'s diversity", curves
        ),
        f"1 is as varied as {found.first}; in distribution.",
    )


def _training(found: Found) -> list[Figure]:
    logs = {
        policy.name: found.stages[f"rl-{policy.coefficient:g}"].get("log", ())
        for policy in found.policies.values()
        if policy.coefficient is not None
    }
    curves = [
        Curve(name, _means([line["kl"] for line in log]), _means([line["reward"] for line in log]))
        for name, log in logs.items()
        if log
    ]
    if not curves:
        return []
    plot = Plot("RL's way", "nats from SFT", "reward, in standard deviations of SFT's answers", curves)
    return [Figure("training", plot, f"Means of {POINTS} stretches of the training; all begin at 0 nats.")]


def _means(values: list[float]) -> list[float]:
    """The first value, and the means of POINTS stretches of the others."""
    parts = np.array_split(np.array(values[1:]), min(POINTS, len(values) - 1) or 1)
    return [values[0], *(float(part.mean()) for part in parts if len(part))]


def _cut(text: str) -> str:
    return text if len(text) <= CHARACTERS else f"{text[:CHARACTERS]} …"
