"""Run a strategy over many prompts, or over candidates that exist; what is done is on disk, and is not done again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from polyculture.decode.answers import AnswerOf, check
from polyculture.decode.base import Answer, Cost, Strategy, checked_seed, sub_seed, total
from polyculture.decode.rows import PromptRow, as_rows, row_ids
from polyculture.errors import BadInput
from polyculture.files import atomic, locked, plain, write_json
from polyculture.llm.base import DEFAULT_SAMPLING, LLM, Prompt, Sampling
from polyculture.progress import Progress, silent

ANSWERS, TRACES, SETTINGS = "answers.jsonl", "traces.jsonl", "decode.json"


@dataclass(frozen=True)
class DecodeRun:
    """What a run gave.

    Args:
        answers: one a row, in order.
        correct: whether any submitted answer is the reference's; None without a reference.
        resumed: how many were on disk already.
        folder: where answers and traces lie, or None.
    """

    answers: tuple[Answer, ...]
    correct: tuple[bool | None, ...]
    resumed: int = 0
    folder: Path | None = None

    @property
    def accuracy(self) -> float | None:
        """Share of right answers among those that have a reference; None without any."""
        known = [c for c in self.correct if c is not None]
        return float(np.mean(known)) if known else None

    @property
    def cost(self) -> Cost:
        """What all answers cost together."""
        return total([answer.cost for answer in self.answers])


def decode_prompts(
    strategy: Strategy,
    llm: LLM,
    prompts: Sequence[Prompt | PromptRow],
    n: int,
    *,
    k: int = 1,
    sampling: Sampling = DEFAULT_SAMPLING,
    seed: int | None = 0,
    out: Path | None = None,
    batch: int = 8,
    references: Sequence[str | None] | None = None,
    progress: Progress = silent,
) -> DecodeRun:
    """Answer many prompts with a strategy.

    Args:
        strategy: the strategy.
        llm: the model; wrap it in a cache so that a killed run repeats no call.
        prompts: strings, chat messages, or rows with references.
        n: candidates a prompt.
        k: answers to submit a prompt.
        sampling: how to sample.
        seed: None draws one; a resumed run needs the same.
        out: folder for ``answers.jsonl``, ``traces.jsonl`` and ``decode.json`` (the settings); a line is added as
            soon as its prompt is done. Started again on the same folder, prompts that are done are skipped.
        batch: prompts asked for together; what is lost at most when the run is killed.
        references: the right answers, where the rows hold none.
        progress: told of each prompt.

    Raises:
        BadInput: the folder holds a run with other settings, or an argument is out of range.
    """
    seed = checked_seed(seed)
    settings = {"n": n, "k": k, "seed": seed, "sampling": dataclasses.asdict(sampling), "model": llm.name}

    def answer(rows: Sequence[PromptRow], again: int) -> list[Answer]:
        # A prompt that occurs again gets samples of its own.
        own = seed if again == 0 else sub_seed(seed, again)
        return strategy.answer_batch(llm, [row.prompt for row in rows], n, k=k, sampling=sampling, seed=own)

    return _run(strategy, as_rows(prompts, references), answer, settings, out, max(1, batch), progress)


def decode_candidates(
    strategy: Strategy,
    rows: Sequence[PromptRow],
    *,
    k: int = 1,
    seed: int | None = 0,
    llm: LLM | None = None,
    out: Path | None = None,
    progress: Progress = silent,
) -> DecodeRun:
    """Decide with a strategy among candidates that exist.

    Args:
        strategy: the strategy.
        rows: prompts with candidates, see :func:`polyculture.decode.rows.read_rows`.
        k: answers to submit a prompt.
        seed: for strategies that draw.
        llm: for strategies that ask a model to decide.
        out: as in :func:`decode_prompts`.
        progress: told of each prompt.

    Raises:
        BadInput: a row has no candidates, or the folder holds a run with other settings.
    """
    seed = checked_seed(seed)
    for i, row in enumerate(rows, 1):
        if not row.candidates:
            raise BadInput(f"row {i} has no candidates; give some, or a model to draw them from")
    settings = {"k": k, "seed": seed, "model": llm.name if llm else None, "candidates": True}

    def answer(due: Sequence[PromptRow], again: int) -> list[Answer]:
        return [strategy.rerank(row.candidates, k, prompt=row.prompt, seed=seed, llm=llm) for row in due]

    return _run(strategy, rows, answer, settings, out, 1, progress)


def _run(
    strategy: Strategy,
    rows: Sequence[PromptRow],
    answer: Callable[[Sequence[PromptRow], int], list[Answer]],
    settings: dict[str, Any],
    out: Path | None,
    batch: int,
    progress: Progress,
) -> DecodeRun:
    if not rows:
        raise BadInput("there are no prompts to answer")
    ids = row_ids(rows, with_candidates="candidates" in settings)
    answer_of: str | AnswerOf = getattr(strategy, "answer_of", "final-number")
    done: dict[str, Answer] = {}
    with ExitStack() as stack:
        files: tuple[IO[str], IO[str]] | None = None
        if out is not None:
            stack.enter_context(locked(out))
            done = _resume(out, {"strategy": strategy.name, "params": plain(strategy.params()), **plain(settings)})
            done = {key: done[key] for key in ids if key in done}
            _write_answers(out, ids, rows, done, answer_of)
            files = (
                stack.enter_context((out / ANSWERS).open("a", encoding="utf-8")),
                stack.enter_context((out / TRACES).open("a", encoding="utf-8")),
            )
        resumed = len(done)
        progress(strategy.name, resumed, len(rows))
        due = [i for i, key in enumerate(ids) if key not in done]
        for again, places in _batches(due, ids, batch):
            for i, given in zip(places, answer([rows[i] for i in places], again), strict=True):
                done[ids[i]] = given
                if files is not None:
                    _write(files, ids[i], rows[i], given, answer_of)
            progress(strategy.name, len(done), len(rows))
        if out is not None:
            _write_answers(out, ids, rows, done, answer_of)
    answers = tuple(done[key] for key in ids)
    correct = tuple(_right(a, row, answer_of) for a, row in zip(answers, rows, strict=True))
    return DecodeRun(answers, correct, resumed, out)


def _batches(due: Sequence[int], ids: Sequence[str], size: int) -> Iterator[tuple[int, list[int]]]:
    """Batches of rows whose prompts differ, with how often their prompts occurred before."""
    rounds: dict[int, list[int]] = {}
    for i in due:
        rounds.setdefault(int(ids[i].rsplit("-", 1)[1]), []).append(i)
    for again, places in rounds.items():
        for start in range(0, len(places), size):
            yield again, places[start : start + size]


def _right(answer: Answer, row: PromptRow, answer_of: str | AnswerOf) -> bool | None:
    if row.reference is None:
        return None
    return any(check(key, row.reference, answer_of) for key in answer.keys)


def _write(files: tuple[IO[str], IO[str]], key: str, row: PromptRow, answer: Answer, answer_of: str | AnswerOf) -> None:
    """The trace first: an answer on disk has its trace on disk."""
    for file, record in ((files[1], {"id": key, **answer.to_dict()}), (files[0], _brief(key, row, answer, answer_of))):
        file.write(json.dumps(record, ensure_ascii=False) + "\n")
        file.flush()


def _brief(key: str, row: PromptRow, answer: Answer, answer_of: str | AnswerOf) -> dict[str, Any]:
    """An answer without its trace."""
    brief = {
        "id": key,
        "prompt": row.prompt,
        "answer": answer.text,
        "key": answer.key,
        "score": answer.score,
        "texts": answer.texts,
        "keys": answer.keys,
        "reference": row.reference,
        "correct": _right(answer, row, answer_of),
        "why": answer.trace.why,
        "strategy": answer.trace.strategy,
        **dataclasses.asdict(answer.cost),
    }
    return plain(brief)


def _write_answers(
    out: Path, ids: Sequence[str], rows: Sequence[PromptRow], done: Mapping[str, Answer], answer_of: str | AnswerOf
) -> None:
    """The answers of these rows, in order; traces of other rows stay in their file."""
    with atomic(out / ANSWERS) as file:
        for key, row in zip(ids, rows, strict=True):
            if key in done:
                file.write(json.dumps(_brief(key, row, done[key], answer_of), ensure_ascii=False) + "\n")


def _resume(out: Path, settings: dict[str, Any]) -> dict[str, Answer]:
    """What a folder holds of a run with these settings; lines that were cut off by a kill are dropped.

    Raises:
        BadInput: it holds a run with other settings.
    """
    path = out / SETTINGS
    if path.exists():
        held = json.loads(path.read_text(encoding="utf-8"))
        other = sorted(name for name in {*held, *settings} if held.get(name) != settings.get(name))
        if other:
            raise BadInput(f"{out} holds a run with other settings ({', '.join(other)}); choose another folder with -o")
    elif (out / ANSWERS).exists():
        raise BadInput(f"{out} holds answers but no {SETTINGS}; choose another folder with -o")
    else:
        write_json(path, settings)
    traces, torn = _lines(out / TRACES)
    if torn:
        with atomic(out / TRACES) as file:
            file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in traces.values())
    return {key: Answer.from_dict(record) for key, record in traces.items()}


def _lines(path: Path) -> tuple[dict[str, Any], bool]:
    """The records of a file by id, and whether a line was cut off."""
    found: dict[str, Any] = {}
    torn = False
    if path.exists():
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    record = json.loads(line)
                    found[record["id"]] = record
                    torn |= not line.endswith("\n")
                except (ValueError, TypeError, KeyError):
                    torn = True
    return found, torn
