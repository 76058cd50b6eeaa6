"""The page of a utility-risk frontier: what each minimizer leaves to the service and to an adversary."""

from __future__ import annotations

from collections.abc import Sequence

from polyculture.privacy.frontier import FrontierRow
from polyculture.report.comparison import Table, render_series
from polyculture.report.figure import Figure
from polyculture.reproductions.finding import Curve, Plot


def render_minimization(rows: Sequence[FrontierRow], *, source: str = "", records: int = 0) -> str:
    """Minimizers at their settings, as HTML that needs no network.

    Args:
        rows: what :func:`polyculture.privacy.frontier.frontier` measured.
        source: where the records came from.
        records: how many there are.
    """
    attacks = list(rows[0].risks)
    names = list(dict.fromkeys(row.minimizer for row in rows))
    figures = []
    for place, attack in enumerate(attacks):
        curves, labels = [], {}
        for name in names:
            own = sorted((row for row in rows if row.minimizer == name), key=lambda row: row.risks[attack].error)
            errors = [row.risks[attack].error for row in own]
            curves.append(Curve(name, errors, [row.utility for row in own], kind="line" if len(own) > 1 else "points"))
            labels[name] = [row.label for row in own]
        plot = Plot(f"Utility against {attack}", f"{attack}: the adversary's error", "the service's accuracy", curves)
        figures.append(Figure(f"attack-{place}", plot, "Further up and to the right is better.", labels=labels))
    table = Table(
        "Every minimizer",
        ["minimizer", "setting", "utility", "coarseness", *(f"{attack} error" for attack in attacks), "time"],
        [
            [
                row.minimizer,
                row.label,
                row.utility,
                row.gcp,
                *(row.risks[attack].error for attack in attacks),
                f"{row.seconds:.1f} s",
            ]
            for row in rows
        ],
    )
    lead = f"{len(names)} minimizers on {records:,} records{f' of {source}' if source else ''}."
    notes = ["Utility and risk are measured on records that neither the generalisation nor the classifier has seen."]
    return render_series("Collecting less", figures, table=table, lead=lead, notes=notes)
