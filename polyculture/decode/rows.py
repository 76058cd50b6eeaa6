"""Prompts and candidates as files hold them: one JSON object a line."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polyculture.decode.trace import Candidate, Cost
from polyculture.errors import BadInput
from polyculture.llm.base import Prompt, as_messages, prompt_key

PROMPT_COLUMNS = ("prompt", "messages", "question", "instruction")
REFERENCE_COLUMNS = ("reference", "answer", "gold", "target")
TEXT_COLUMNS = ("response", "text", "completion")


@dataclass(frozen=True)
class PromptRow:
    """A prompt, its reference if there is one, and candidates if there are some.

    Args:
        prompt: a string or chat messages.
        reference: the right answer, bare or worked out.
        candidates: responses that exist already.
    """

    prompt: Prompt
    reference: str | None = None
    candidates: tuple[Candidate, ...] = ()


def read_rows(source: str | Path | Iterable[Mapping[str, Any]], *, need_candidates: bool = False) -> list[PromptRow]:
    """Rows from a JSON Lines file, or from dicts.

    A row is ``{"prompt", "reference"?, "candidates"?: [{"response", "model"?, "score"?, "logprob"?, "tokens"?}]}``.
    The prompt may also be called messages, question or instruction, the reference answer, gold or target, and the
    response text or completion. ``"responses"``, a list of texts or ``{model: text}``, is understood as well. Where a
    candidate does not say how many tokens it has, its words are counted, at 0.75 words a token.

    Args:
        source: the file, or the rows.
        need_candidates: refuse a row without candidates.

    Raises:
        BadInput: the file can't be read or a row lacks something; the message names the line.
    """
    rows = []
    for place, record in _records(source):
        rows.append(_row(record, place))
        if need_candidates and not rows[-1].candidates:
            raise BadInput(f"{place}: there are no candidates; give 'candidates', a list of {{'response': ...}}")
    if not rows:
        raise BadInput(f"{source if isinstance(source, (str, Path)) else 'rows'}: there is no prompt")
    return rows


def read_object(path: str | Path, what: str) -> dict[str, Any]:
    """A JSON object from a file, such as a bank of approaches or the skills of experts.

    Raises:
        BadInput: the file can't be read or holds something else.
    """
    try:
        held = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{path}: can't be read ({error.strerror}); give the JSON file of {what}") from error
    except ValueError as error:
        raise BadInput(f"{path}: not JSON ({error}); give the JSON file of {what}") from error
    if not isinstance(held, dict):
        raise BadInput(f"{path}: should hold a JSON object, {what}, not {type(held).__name__}")
    return held


def _records(source: str | Path | Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    if not isinstance(source, (str, Path)):
        yield from ((f"row {i}", record) for i, record in enumerate(source, 1))
        return
    try:
        with Path(source).open(encoding="utf-8") as file:
            for i, line in enumerate(file, 1):
                if line.strip():
                    try:
                        yield f"{source} line {i}", json.loads(line)
                    except ValueError as error:
                        raise BadInput(f"{source} line {i}: not JSON ({error}); give one JSON object a line") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise BadInput(f"{source}: can't be read ({reason}); give a JSON Lines file in UTF-8") from error


def _first(record: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((record[name] for name in names if record.get(name) is not None), None)


def _row(record: Any, place: str) -> PromptRow:
    if isinstance(record, str):
        return PromptRow(record)
    if not isinstance(record, Mapping):
        raise BadInput(f"{place}: should be an object with a 'prompt', not {type(record).__name__}")
    prompt = _first(record, PROMPT_COLUMNS)
    if prompt is None:
        raise BadInput(f"{place}: column 'prompt' is missing; columns are {', '.join(record) or 'none'}")
    if not isinstance(prompt, (str, list, tuple)):
        raise BadInput(f"{place}: 'prompt' should be text or a list of messages, not {type(prompt).__name__}")
    if not isinstance(prompt, str):
        try:
            prompt = as_messages(prompt)
        except BadInput as error:
            raise BadInput(f"{place}: {error}") from error
    reference = _first(record, REFERENCE_COLUMNS)
    held = record.get("candidates") or record.get("responses") or ()
    if isinstance(held, Mapping):
        held = [{"model": model, "response": text} for model, text in held.items()]
    if isinstance(held, str) or not isinstance(held, Sequence):
        raise BadInput(f"{place}: 'candidates' should be a list, not {type(held).__name__}")
    candidates = tuple(_candidate(c, i, f"{place}, candidate {i + 1}") for i, c in enumerate(held))
    return PromptRow(prompt, None if reference is None else str(reference), candidates)


def _candidate(held: Any, index: int, place: str) -> Candidate:
    if isinstance(held, str):
        held = {"response": held}
    if not isinstance(held, Mapping):
        raise BadInput(f"{place}: should be text or an object with a 'response', not {type(held).__name__}")
    text = _first(held, TEXT_COLUMNS)
    if not isinstance(text, str):
        raise BadInput(f"{place}: 'response' is missing or is not text; columns are {', '.join(held) or 'none'}")
    try:
        score = None if held.get("score") is None else float(held["score"])
        logprob = None if held.get("logprob") is None else float(held["logprob"])
        tokens = int(held.get("tokens", held.get("n_tokens", round(len(text.split()) / 0.75))))
        cost = Cost(1, int(held.get("prompt_tokens", 0)), tokens, float(held.get("cost", 0.0)))
    except (TypeError, ValueError) as error:
        raise BadInput(f"{place}: score, logprob, tokens and cost should be numbers ({error})") from error
    return Candidate(text, index, None, score, str(held.get("model", "")), logprob, cost=cost)


def as_rows(prompts: Sequence[Prompt | PromptRow], references: Sequence[str | None] | None = None) -> list[PromptRow]:
    """Prompts as rows, with their references.

    Raises:
        BadInput: there are not as many references as prompts.
    """
    if references is not None and len(references) != len(prompts):
        raise BadInput(f"{len(prompts)} prompts but {len(references)} references")
    rows = [p if isinstance(p, PromptRow) else PromptRow(p) for p in prompts]
    if references is None:
        return rows
    return [PromptRow(r.prompt, ref, r.candidates) for r, ref in zip(rows, references, strict=True)]


def row_ids(rows: Sequence[PromptRow], *, with_candidates: bool = False) -> list[str]:
    """An id for each row that does not depend on the others' places: a hash of the prompt, and its occurrence.

    Args:
        rows: the rows.
        with_candidates: hash the candidates as well, so that a row whose candidates changed is another row.
    """
    seen: Counter[str] = Counter()
    ids = []
    for row in rows:
        key = prompt_key(row.prompt)[:24]
        if with_candidates:
            held = repr([(c.text, c.score, c.model, c.logprob, c.key) for c in row.candidates])
            key += hashlib.sha256(held.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        ids.append(f"{key}-{seen[key]}")
        seen[key] += 1
    return ids
