"""The page of an alignment run: what training did to the answers' reward and diversity, and what it cost.

What the run's folder lacks (see :mod:`polyculture.report.alignment_run`) the page leaves out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from polyculture.align.watching.log import Observation, alarm_in_words
from polyculture.files import atomic
from polyculture.report.alignment_figures import diversity_name, figures_of
from polyculture.report.alignment_run import AlignmentReport, read_alignment
from polyculture.report.document import document, number, percent
from polyculture.report.page import change_in_words, flat_parameters


def render_alignment(report: AlignmentReport | Path | str, *, title: str = "") -> str:
    """The page as HTML that needs no network.

    Args:
        report: the run, or its folder.
        title: of the page; by default the objective and the data.
    """
    run = read_alignment(report) if isinstance(report, (str, Path)) else report
    alarm = run.alarm
    marks = dict(run.marks) | ({"alarm": float(alarm["step"])} if alarm else {})
    groups = figures_of(run.observations, run.log, run.watch, marks)
    summary = run.summary
    objective = str(summary.get("objective") or run.settings.get("objective") or "alignment")
    data = _short(summary.get("data") or run.settings.get("data"))
    return document(
        "alignment.html",
        title=title or (f"{objective} on {data}" if data else f"A run of {objective}"),
        data={},
        figures=[figure for group in groups for figure in group.figures],
        groups=groups,
        lead=_lead(run, objective),
        facts=_facts(run),
        sentences=_sentences(run),
        alarm=_alarm(run),
        notes=_notes(run),
        cards=list(_cards(run)),
        samples=_samples(run),
        aside=run.aside,
        left_out=_left_out(run),
        settings=_table(run.settings or run.watch),
        outcome=_table({name: value for name, value in summary.items() if name not in SHOWN_APART}),
        versions=summary.get("versions") or {},
    )


def write_alignment(folder: Path | str, path: Path | None = None) -> Path:
    """Write the page of a run, atomically.

    Args:
        folder: of the run.
        path: of the page; by default ``report.html`` in the folder.

    Returns:
        The path.
    """
    page = render_alignment(folder)
    target = path or Path(folder) / "report.html"
    with atomic(target) as file:
        file.write(page)
    return target


SHOWN_APART = ("versions", "log", "alarm", "objective", "model", "reference", "data", "cuts")

CARDS: Sequence[tuple[str, str, str, bool | None]] = (
    ("reward", "Reward", "Mean reward ({reward}) of sampled answers to held-out prompts.", True),
    (
        "vendi_prompt",
        "Diversity for one prompt",
        "Vendi score: how many entirely different answers the {samples} to a prompt amount to.",
        True,
    ),
    (
        "vendi_across",
        "Diversity across prompts",
        "Vendi score of one answer to each prompt: it falls when all prompts get the same kind of answer.",
        True,
    ),
    ("top_k_entropy", "Openness", "Entropy, in bits, of the {k} likeliest next tokens where the policy writes.", None),
    ("reverse_kl_sample", "Distance from the reference", "KL(policy ‖ reference) of an answer, in nats.", None),
    ("chosen", "Likelihood of chosen answers", "Mean log-likelihood a token of held-out chosen answers.", None),
    ("rejected", "Likelihood of rejected answers", "Mean log-likelihood a token of held-out rejected answers.", None),
    ("length", "Length", "Tokens of a sampled answer, cut at {max_new_tokens}.", None),
)


def _lead(run: AlignmentReport, objective: str) -> str:
    summary = run.summary
    model = _short(summary.get("model") or run.settings.get("model")) or "A model"
    examples, data = summary.get("examples"), _short(summary.get("data") or run.settings.get("data"))
    steps = summary.get("steps") or max([0, *(one.step for one in run.observations)])
    on = f" on {number(examples)} examples" if isinstance(examples, int) else ""
    of = f" of {data}" if on and data else (f" on {data}" if data else "")
    return f"{model} was trained with {objective}{on}{of}, for {number(int(steps))} steps."


def _sentences(run: AlignmentReport) -> list[str]:
    """What happened, in words."""
    if len(run.observations) < 2:
        return []
    first, last = run.observations[0], run.observations[-1]
    told = []
    if _both(first, last, "reward"):
        told.append(
            f"The mean reward of its answers to held-out prompts went from {_with_interval(first)} "
            f"to {_with_interval(last)}."
        )
    name = diversity_name(run.watch)
    if _both(first, last, name):
        before, after = first.metrics[name], last.metrics[name]
        what = (
            f"its {run.watch.get('samples', 'several')} answers to one prompt amounted to {number(before, 3)} "
            f"different ones before and {number(after, 3)} after"
            if name == "vendi_prompt"
            else f"its answers to different prompts amounted to {number(before, 3)} different ones before and "
            f"{number(after, 3)} after"
        )
        told.append(f"{what[0].upper()}{what[1:]} (Vendi score, {run.watch.get('embedder', 'its embedder')}).")
    if _both(first, last, "chosen") and _both(first, last, "rejected"):
        moved = [last.metrics[side] - first.metrics[side] for side in ("chosen", "rejected")]
        words = ["rose" if m > 0 else "fell" if m < 0 else "stayed" for m in moved]
        amounts = [f"{words[i]} by {number(abs(moved[i]), 2)}" for i in (0, 1)]
        told.append(
            f"The log-likelihood of held-out chosen answers {amounts[0]} nats a token; "
            f"that of rejected ones {amounts[1]}."
        )
    return told


def _alarm(run: AlignmentReport) -> str:
    alarm = run.alarm
    if not alarm:
        return ""
    watch = {"k": 10, "window": 2, "collapse": 0.5} | {
        name: run.watch[name] for name in ("k", "window", "collapse") if name in run.watch
    }
    saw = alarm_in_words(str(alarm["reason"]), **watch)
    return (
        f"At step {number(int(alarm['step']))} the policy showed a sign of over-optimisation ({alarm['reason']}): "
        f"{saw}. The last evaluation before it was at step {number(int(alarm['stop_at']))}: compare the final model "
        f"with {f'that of {run.kept}' if run.kept else 'a checkpoint from there'} before you use it."
    )


def _notes(run: AlignmentReport) -> list[str]:
    notes = []
    if not run.observations:
        notes.append("The policy was not watched, so nothing is known of its answers: hold some rows out to watch it.")
    elif len(run.observations) < 2:
        notes.append("There is one evaluation only, so nothing can be said of a change.")
    if run.marks:
        notes.append(
            "The run has several stages. Divergences and implicit rewards are relative to the reference of their own "
            "stage, so they are no single curve over stages."
        )
    return notes


def _facts(run: AlignmentReport) -> list[tuple[str, str]]:
    summary = run.summary
    facts = [(label, str(summary[name])) for name, label in FACTS if summary.get(name)]
    if run.observations:
        watched = "none raised" if run.watch.get("alarm") != "off" else "off"
        facts.append(("Alarm", f"{run.alarm['reason']}, step {run.alarm['step']}" if run.alarm else watched))
    if isinstance(summary.get("seconds"), (int, float)):
        watching = sum(one.seconds for one in run.observations)
        of_it = f", {_duration(watching)} of it watching" if watching else ""
        facts.append(("Time", _duration(float(summary["seconds"])) + of_it))
    return facts


FACTS = (("model", "Model"), ("reference", "Reference"), ("data", "Data"))


def _cards(run: AlignmentReport) -> Iterator[dict[str, Any]]:
    if len(run.observations) < 2:
        return
    first, last = run.observations[0], run.observations[-1]
    known = {"reward": "", "samples": "several", "k": 10, "max_new_tokens": "a limit", **run.watch}
    for name, title, meaning, higher in CARDS:
        if not _both(first, last, name) or (name == "vendi_prompt" and run.watch.get("samples") == 1):
            continue
        before, after = first.metrics[name], last.metrics[name]
        change, verdict = change_in_words(before, after, higher)
        ends = [_ends(one, name) for one in (first, last)]
        if not all(ends) or (ends[0] and ends[1] and ends[0][0] <= ends[1][1] and ends[1][0] <= ends[0][1]):
            verdict = "same"  # the change may be chance
        yield {
            "name": title,
            "meaning": meaning.format(**known),
            "direction": "higher is better" if higher else "",
            "before": before,
            "after": after,
            "intervals": [_bracketed(one) for one in ends],
            "change": change,
            "verdict": verdict,
        }


def _samples(run: AlignmentReport) -> list[dict[str, Any]]:
    """Prompts with their answers before and after."""
    if not run.observations:
        return []
    first, last = run.observations[0], run.observations[-1]
    before = {one["prompt"]: one for one in first.samples}
    shown = []
    for one in last.samples:
        sides = [("after", last.step, one)]
        if last.step > first.step and one["prompt"] in before:
            sides.insert(0, ("before", first.step, before[one["prompt"]]))
        shown.append(
            {
                "prompt": one["prompt"].strip(),  # the blank lines that prompts begin with are no news
                "sides": [
                    {
                        "name": name,
                        "step": step,
                        "answers": [
                            {"text": text.strip(), "reward": rewards[i] if i < len(rewards) else None}
                            for i, text in enumerate(held["answers"])
                        ],
                    }
                    for name, step, held in sides
                    for rewards in [held.get("rewards") or []]
                ],
            }
        )
    return shown


def _left_out(run: AlignmentReport) -> list[str]:
    """What was not trained on, in sentences."""
    summary = run.summary
    told = []
    counts = [summary.get(name) for name in ("rows", "examples", "held_out")]
    if isinstance(counts[0], int) and isinstance(counts[1], int):
        told.append(f"{number(counts[0])} rows gave {number(counts[1])} examples to train on.")
    if isinstance(counts[2], int):
        told.append(f"{_rows(counts[2])} held out.")
    dropped = sum(one.count for one in run.aside) or summary.get("rejected") or 0
    if isinstance(dropped, int):
        share = (
            f" ({percent(dropped / (counts[0] + (counts[2] or 0)))})"
            if isinstance(counts[0], int) and counts[0]
            else ""
        )
        told.append(f"{_rows(dropped)} set aside{share}." if dropped else "No row was set aside.")
    if summary.get("cuts"):
        cuts = str(summary["cuts"])
        told.append(f"{cuts[0].upper()}{cuts[1:]}.")
    return told


def _rows(n: int) -> str:
    return "1 row was" if n == 1 else f"{number(n)} rows were"


def _table(held: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, text) for name, text in flat_parameters(held) if text not in ("null", "")]


def _both(first: Observation, last: Observation, name: str) -> bool:
    return all(math.isfinite(one.metrics.get(name, math.nan)) for one in (first, last))


def _ends(one: Observation, name: str) -> tuple[float, float] | None:
    low, high = (one.metrics.get(f"{name}_{end}", math.nan) for end in ("low", "high"))
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None


def _bracketed(ends: tuple[float, float] | None) -> str:
    return "" if ends is None else f"[{number(ends[0], 3)}, {number(ends[1], 3)}]"


def _with_interval(one: Observation) -> str:
    return f"{number(one.metrics['reward'], 3)} {_bracketed(_ends(one, 'reward'))}".strip()


def _short(value: Any) -> str:
    """The last part of a path, the last two where that says nothing; a hub id as it is."""
    text = "" if value is None else str(value)
    if not text.startswith(("/", ".", "~")) and text.count("/") < 2:
        return text
    path = Path(text)
    plain = path.name in ("model", "final", "data") or path.name.startswith("checkpoint-")
    return "/".join(path.parts[-2:]) if plain else path.name


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{number(seconds, 2)} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
