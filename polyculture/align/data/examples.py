"""The data an objective trains on: prompts with their completions, out of columns named as TRL names them.

=============== ==================================================================================
rows            columns
=============== ==================================================================================
pairs           ``prompt, chosen, rejected``; without a prompt it is what both begin with
labels          ``prompt, completion, label`` (true: wanted)
rankings        ``prompt, responses, scores`` (lists; higher is better)
demonstrations  ``prompt, completion`` (or ``response``), or ``messages`` whose last turn is learned
prompts         ``prompt``
=============== ==================================================================================

Texts are plain strings, or lists of chat messages. Pairs also serve objectives of labels (each side is an example), of
demonstrations (the chosen) and of rankings (of two); rankings also serve objectives of pairs and demonstrations; every
kind serves objectives that sample and need prompts alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, Literal

from polyculture.align.data.splitting import alike, answer_after, as_turn, split_prompt
from polyculture.align.inputs import Kind
from polyculture.align.objective import names
from polyculture.errors import BadInput
from polyculture.llm.base import Prompt, as_messages, as_text

Form = Literal["pairs", "labels", "rankings", "demonstrations", "prompts"]
Messages = Sequence[Mapping[str, str]]
Number = float | tuple[float, ...]

RESPONSE = ("completion", "response")
SERVES: dict[Form, tuple[Kind, ...]] = {
    "pairs": ("pairs", "demonstrations", "labels", "rankings", "samples"),
    "rankings": ("rankings", "pairs", "demonstrations", "samples"),
    "labels": ("labels", "samples"),
    "demonstrations": ("demonstrations", "samples"),
    "prompts": ("samples",),
}
WANTS: dict[Kind, str] = {
    "pairs": "prompt, chosen, rejected (or prompt, responses, scores)",
    "demonstrations": "prompt, completion (or messages, or prompt, chosen, rejected)",
    "labels": "prompt, completion, label (or prompt, chosen, rejected)",
    "rankings": "prompt, responses, scores (or prompt, chosen, rejected)",
    "samples": "prompt",
}
LABELS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
MARGIN_REWARDS = ("margin_rewards_chosen", "margin_rewards_rejected")


@dataclass(frozen=True)
class Example:
    """One prompt and the completions that are compared.

    Args:
        prompt: text, or chat messages.
        completions: texts, or lists of the messages that follow the prompt: of pairs (chosen, rejected), of rankings
            best first, of demonstrations and labels one, of prompts none.
        place: where it comes from, for messages.
        desirable: of labels, whether the completion is wanted.
        numbers: columns of numbers.
    """

    prompt: Prompt
    completions: tuple[str | Messages, ...]
    place: str = ""
    desirable: bool = True
    numbers: Mapping[str, Number] = field(default_factory=dict)

    def texts(self) -> list[str]:
        """The completions as text."""
        return [completion_text(completion) for completion in self.completions]


@dataclass(frozen=True)
class Rejected:
    """An example that can't be trained on: where, why, and what it was."""

    place: str
    reason: str
    row: Mapping[str, Any]


class PlacedRow(dict[str, Any]):
    """A row that knows where in the data it stands.

    Args:
        row: its columns.
        place: where it comes from, for messages.
    """

    def __init__(self, row: Mapping[str, Any], place: str) -> None:
        super().__init__(row)
        self.place = place


def readable_rows(
    rows: Sequence[Mapping[str, Any]],
    kind: Kind,
    *,
    columns: Sequence[str] = (),
    source: str = "row",
    name: str = "",
    skip: bool = False,
) -> tuple[list[dict[str, Any]], list[Rejected]]:
    """The rows that can be read as one kind of examples, each with its place, and those that can't, with the reason.

    Args:
        rows: dicts; all are read as the first one is.
        kind: what the objective trains on.
        columns: columns of numbers that it needs.
        source: where the rows come from, for messages.
        name: of the objective, for messages.
        skip: set aside what can't be read; otherwise it is an error.

    Raises:
        BadInput: the columns don't fit the objective, no row can be read, or one can't and is not to be skipped.
    """
    form = _fitting_form(rows, kind, source, name)
    kept: list[dict[str, Any]] = []
    unread: list[Rejected] = []
    for number, row in enumerate(rows, 1):
        place = f"{source} row {number}"
        try:
            for _ in _examples(row, form, kind, columns, place):
                pass
        except BadInput as error:
            if not skip:
                raise
            unread.append(Rejected(place, str(error).removeprefix(f"{place}: "), row))
        else:
            kept.append(PlacedRow(row, place))
    if not kept:
        raise BadInput(f"{source}: no row can be read; {unread[0].place}: {unread[0].reason}")
    return kept, unread


def read_examples(
    rows: Iterable[Mapping[str, Any]], kind: Kind, *, columns: Sequence[str] = (), source: str = "row", name: str = ""
) -> tuple[list[Example], list[Rejected]]:
    """Examples of one kind out of rows, and the rows that hold none, with the reason.

    Args:
        rows: dicts; all are read as the first one is. A PlacedRow is named by its own place.
        kind: what the objective trains on.
        columns: columns of numbers that it needs.
        source: where the rows come from, for messages.
        name: of the objective, for messages.

    Raises:
        BadInput: the columns don't fit the objective, a row lacks one or holds something else in it, or no row is left.
    """
    held = rows if isinstance(rows, Mapping) else list(rows)
    form = _fitting_form(held, kind, source, name)
    examples: list[Example] = []
    rejected: list[Rejected] = []
    for number, row in enumerate(held, 1):
        place = row.place if isinstance(row, PlacedRow) else f"{source} row {number}"
        for example in _examples(row, form, kind, columns, place):
            reason = _unusable(example, kind)
            if reason:
                rejected.append(Rejected(place, reason, row))
            else:
                examples.append(example)
    if not examples:
        first = rejected[0] if rejected else None
        raise BadInput(f"{source}: no row can be used" + (f"; {first.place}: {first.reason}" if first else ""))
    return examples, rejected


def completion_text(completion: str | Messages) -> str:
    """A completion as text: as it is, or the contents of its messages."""
    return completion if isinstance(completion, str) else "\n".join(turn["content"] for turn in completion)


def _fitting_form(rows: Any, kind: Kind, source: str, name: str) -> Form:
    if not rows:
        raise BadInput(f"{source}: there are no rows")
    if isinstance(rows, Mapping) or not isinstance(rows[0], Mapping):
        raise BadInput(f"{source}: should be rows, each a dict of columns; of several data sets or splits give one")
    form = _form(rows[0])
    if form is None or kind not in SERVES[form]:
        raise BadInput(_does_not_fit(rows[0], form, kind, source, name))
    return form


def _form(row: Mapping[str, Any]) -> Form | None:
    has = set(row)
    if {"chosen", "rejected"} <= has:
        return "pairs"
    if {"prompt", "responses", "scores"} <= has:
        return "rankings"
    if "prompt" in has and has & set(RESPONSE):
        return "labels" if "label" in has else "demonstrations"
    if "messages" in has:
        return "demonstrations"
    return "prompts" if "prompt" in has else None


def _does_not_fit(row: Mapping[str, Any], form: Form | None, kind: Kind, source: str, name: str) -> str:
    there = ", ".join(row)
    message = f"{source}: objective '{name}' needs the columns {WANTS[kind]}; there are {there}"
    if form is None:
        return f"{message}; rename yours, as with --column prompt=column:{next(iter(row), 'NAME')}"
    fitting = [objective for one in SERVES[form] for objective in names(one)]
    more = f" and {len(fitting) - 6} more" if len(fitting) > 7 else ""
    return f"{message}, which fit {', '.join(fitting[:6] if more else fitting)}{more}"


def _examples(row: Mapping[str, Any], form: Form, kind: Kind, columns: Sequence[str], place: str) -> Iterable[Example]:
    if form == "pairs":
        prompt, chosen, rejected = _pair(row, place)
        numbers = _numbers(row, columns, place)
        both = (chosen, rejected)
        if kind == "labels":
            if _same(chosen, rejected):
                return [Example(prompt, both, place)]  # to be set aside with its reason
            return [Example(prompt, (one,), place, one is chosen, numbers) for one in both]
        kept = {"demonstrations": both[:1], "samples": both[:1]}.get(kind, both)
        return [Example(prompt, kept, place, numbers=numbers)]
    if form == "rankings":
        return _ranking(row, kind, columns, place)
    prompt, completions, label = _single(row, form, place)
    return [Example(prompt, completions, place, label, _numbers(row, columns, place))]


def _pair(row: Mapping[str, Any], place: str) -> tuple[Prompt, Any, Any]:
    chosen, rejected = (_said(row, column, place) for column in ("chosen", "rejected"))
    if isinstance(chosen, str) != isinstance(rejected, str):
        raise BadInput(f"{place}: chosen and rejected should both be text, or both lists of messages")
    if row.get("prompt") is None:
        return split_prompt(chosen, rejected)
    prompt = _said(row, "prompt", place)
    if isinstance(chosen, str):
        # A prompt of messages with plain answers means that each answer is the assistant's turn.
        if not isinstance(prompt, str):
            return prompt, as_turn(chosen), as_turn(rejected)
        return prompt, chosen, rejected
    asked = as_messages(prompt)
    return asked, answer_after(chosen, asked), answer_after(rejected, asked)


def _ranking(row: Mapping[str, Any], kind: Kind, columns: Sequence[str], place: str) -> Iterable[Example]:
    prompt = _said(row, "prompt", place)
    responses, scores = row.get("responses"), row.get("scores")
    if not isinstance(responses, (list, tuple)) or not isinstance(scores, (list, tuple)):
        raise BadInput(f"{place}: 'responses' and 'scores' should be lists; JSON lines and Parquet can hold them")
    if len(responses) != len(scores):
        raise BadInput(f"{place}: there are {len(responses)} responses and {len(scores)} scores; give one for each")
    known = [
        (_number(score, "scores", place), _said({"responses": one}, "responses", place))
        for score, one in zip(scores, responses, strict=True)
        if score is not None and not (isinstance(score, float) and math.isnan(score))
    ]
    ranked = sorted(known, key=lambda scored: -scored[0])  # stable: ties keep the order of the data
    prompt, answers = alike(prompt, [one for _, one in ranked])
    ranked = [(score, one) for (score, _), one in zip(ranked, answers, strict=True)]
    if not ranked:
        return [Example(prompt, (), place)]
    numbers = _numbers(row, [c for c in columns if c != "margin"], place)
    if kind in ("demonstrations", "samples"):
        return [Example(prompt, (ranked[0][1],), place, numbers=numbers)]
    if kind == "rankings":
        distinct = [one for i, (score, one) in enumerate(ranked) if i == 0 or score < ranked[i - 1][0]]
        return [Example(prompt, tuple(distinct), place, numbers=numbers)]
    best = ranked[0]
    worse = [other for other in ranked if other[0] < best[0]]
    if not worse:
        return [Example(prompt, (best[1],), place)]
    pairs = []
    for score, one in reversed(worse):
        margin = {"margin": best[0] - score} if "margin" in columns else {}
        pairs.append(Example(prompt, (best[1], one), place, numbers={**numbers, **margin}))
    return pairs


def _single(row: Mapping[str, Any], form: Form, place: str) -> tuple[Prompt, tuple[Any, ...], bool]:
    if form == "demonstrations" and "messages" in row:
        turns = as_messages(_said(row, "messages", place))
        if not turns or turns[-1]["role"] != "assistant":
            raise BadInput(f"{place}: the last of 'messages' should be the assistant's, which is learned")
        return turns[:-1], (turns[-1:],), True
    prompt = _said(row, "prompt", place)
    if form == "prompts":
        return prompt, (), True
    completion = _said(row, next(column for column in RESPONSE if column in row), place)
    prompt, (completion,) = alike(prompt, [completion])
    label = LABELS.get(str(row.get("label", True)).lower())
    if label is None:
        raise BadInput(f"{place}: 'label' should be true or false, not {json.dumps(row['label'], default=str)}")
    return prompt, (completion,), label


def _said(row: Mapping[str, Any], column: str, place: str) -> Any:
    value = row.get(column)
    if isinstance(value, str):
        return _whole(value)
    if isinstance(value, (list, tuple)) and value and all(isinstance(turn, Mapping) for turn in value):
        for turn in value:
            if not isinstance(turn.get("role"), str) or not isinstance(turn.get("content"), str):
                raise BadInput(f"{place}: the messages in '{column}' should have a 'role' and a 'content', both text")
            if turn.get("tool_calls"):
                raise BadInput(
                    f"{place}: the messages in '{column}' call tools, which is not learned here; drop the row"
                )
        return [{"role": turn["role"], "content": _whole(turn["content"])} for turn in value]
    if value is None:
        raise BadInput(f"{place}: column '{column}' is missing or null; columns are {', '.join(row)}")
    raise BadInput(f"{place}: '{column}' should be text or a list of chat messages, not {type(value).__name__}")


def _whole(text: str) -> str:
    """The text; a lone surrogate, from a JSON escape, is no character, and no tokenizer takes it."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _numbers(row: Mapping[str, Any], columns: Sequence[str], place: str) -> dict[str, Number]:
    found: dict[str, Number] = {}
    for column in columns:
        if column == "margin" and "margin" not in row and {"score_chosen", "score_rejected"} <= set(row):
            found[column] = _number(row["score_chosen"], "score_chosen", place) - _number(
                row["score_rejected"], "score_rejected", place
            )
            continue
        if column not in row:
            made_by = "--margin-rewards" if column in MARGIN_REWARDS else f"--column {column}=SOURCE"
            raise BadInput(
                f"{place}: the objective needs the column '{column}'; columns are {', '.join(row)}; "
                f"compute it with {made_by}"
            )
        value = row[column]
        if isinstance(value, (list, tuple)):
            found[column] = tuple(_number(one, column, place) for one in value)
        else:
            found[column] = _number(value, column, place)
    return found


def _number(value: Any, column: str, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise BadInput(f"{place}: '{column}' should hold numbers, not {json.dumps(value, default=str)}")
    return float(value)


def _unusable(example: Example, kind: Kind) -> str:
    texts = example.texts()
    if not isinstance(example.prompt, str):
        if not example.prompt:
            return "no turn comes before the answers, so there is no prompt"
        first = {turns[0]["role"] for turns in example.completions if not isinstance(turns, str)}
        if example.prompt[-1]["role"] == "user" and "user" in first:
            return (
                "the prompt ends with the user's turn, and an answer begins with another; leave it out of one of them"
            )
    if kind in ("pairs", "rankings") and len(texts) < 2:
        return "fewer than two responses have different scores, so none is better"
    if any(not text.strip() for text in texts):
        which = ("chosen", "rejected")[[not text.strip() for text in texts].index(True)] if len(texts) == 2 else "one"
        return f"a completion is empty ({which})"
    if len(texts) == 2 and _same(*example.completions):
        return "chosen and rejected are the same"
    for name, value in example.numbers.items():
        if any(not math.isfinite(one) for one in (value if isinstance(value, tuple) else (value,))):
            return f"{name} is not a finite number"
    return ""


def _same(chosen: Any, rejected: Any) -> bool:
    return completion_text(chosen).strip() == completion_text(rejected).strip()


def prompt_text(prompt: Prompt) -> str:
    """A prompt as text, for reports and scorers."""
    return prompt if isinstance(prompt, str) else as_text(as_messages(prompt))
