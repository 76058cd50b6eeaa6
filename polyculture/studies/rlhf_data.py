"""What the study of RLHF trains and tests on: preferences or demonstrations, or a task whose reward is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from polyculture.align.data.encoding import Encoded, Encoder
from polyculture.align.data.examples import Example, prompt_text, read_examples
from polyculture.align.watching.measures import Reward, make_reward
from polyculture.errors import BadInput
from polyculture.progress import Progress, silent
from polyculture.reading import read_pool
from polyculture.studies.word_wishes import INSIDE, OUTSIDE, SYNTHETIC, WordWishes

Row = dict[str, Any]


@dataclass(frozen=True)
class Inputs:
    """Prompts to test on, each with a reference answer.

    Args:
        prompts: as text.
        ids: their token ids.
        references: the reference answers, as text.
        reference_ids: their token ids.
    """

    prompts: list[str]
    ids: list[list[int]]
    references: list[str]
    reference_ids: list[list[int]]

    def __len__(self) -> int:
        return len(self.prompts)


@dataclass(frozen=True)
class Material:
    """What there is to train and test on.

    Args:
        rows: to train on.
        examples: the same, read.
        inside: prompts as in training, with reference answers.
        outside: shifted ones; may be empty.
        pairs: whether the rows are preferences.
        reward: the ground truth, or None.
        reward_name: what it is called.
        notes: what a reader must know.
    """

    rows: list[Row]
    examples: list[Example]
    inside: list[Example]
    outside: list[Example]
    pairs: bool
    reward: Reward | None = None
    reward_name: str = ""
    notes: list[str] = field(default_factory=list)


def synthetic_material(n: int, prompts: int, seed: int) -> Material:
    """The word-wishes task: n demonstrations, and ``prompts`` test prompts of either kind.

    Args:
        n: demonstrations.
        prompts: to test on, in and out of distribution each.
        seed: of the task and its rows.
    """
    task, rng = WordWishes(seed), np.random.default_rng([seed, 2])
    inside = task.rows(prompts, INSIDE, rng)
    outside = task.rows(prompts, OUTSIDE, rng)
    rows = task.rows(n, INSIDE, rng, avoid=[row["prompt"] for row in (*inside, *outside)])

    def reward(asked: Sequence[str], answers: Sequence[str]) -> np.ndarray:
        return task.reward(asked, answers)

    read = [read_examples(part, "demonstrations", source=SYNTHETIC)[0] for part in (rows, inside, outside)]
    note = (
        "The task is synthetic: an answer is six words that should fit the wishes of a prompt, and its reward is known "
        "exactly; shifted prompts have wishes that are rare in training. What holds here need not hold elsewhere."
    )
    return Material(rows, read[0], read[1], read[2], False, reward, task.name, [note])


def file_material(
    data: str,
    ood: str | None,
    *,
    prompts: int,
    seed: int,
    reward: str | None = None,
    limit: int | None = None,
    split: str = "train",
    progress: Progress = silent,
) -> Material:
    """Preferences or demonstrations of a file, some prompts of which are kept for testing.

    Args:
        data: a file, a folder or a hub id with ``prompt, chosen, rejected``, or ``prompt, completion``.
        ood: the same with shifted prompts; its chosen answers are the references.
        prompts: to test on, of each.
        seed: of the choice of test prompts.
        reward: the ground truth, see polyculture.align.watching.measures.make_reward.
        limit: read the first so many rows of ``data`` only.
        split: of a hub data set.
        progress: told the rows.

    Raises:
        BadInput: the data can't be read, hold neither, or leave too few prompts to train on.
    """
    rows = _rows(data, split, progress)[:limit]
    examples, kind = _read(rows, data)
    keys = [prompt_text(example.prompt) for example in examples]
    different = list(dict.fromkeys(keys))
    if len(different) < 2 * prompts:
        raise BadInput(
            f"{data} has {len(different)} different prompts; testing on {prompts} leaves too few, give fewer --prompts"
        )
    order = np.random.default_rng([seed, 3]).permutation(len(different))
    kept = {different[i] for i in order[:prompts]}
    inside, seen = [], set[str]()
    for example, key in zip(examples, keys, strict=True):
        if key in kept and key not in seen:
            seen.add(key)
            inside.append(example)
    train = [(e, rows[_row_number(e)]) for e, key in zip(examples, keys, strict=True) if key not in kept]
    outside = []
    if ood is not None:
        shifted = _read(_rows(ood, split, progress), ood)[0]
        chosen = np.sort(np.random.default_rng([seed, 4]).permutation(len(shifted))[:prompts])
        outside = [shifted[i] for i in chosen]
    notes = [] if ood else ["There are no shifted prompts (--ood), so nothing is said about generalisation."]
    truth = None if reward is None else make_reward(reward)
    if not kind and truth is None:
        raise BadInput(
            f"{data} holds demonstrations; to compare answers give --reward, or data with prompt, chosen, rejected"
        )
    return Material([row for _, row in train], [e for e, _ in train], inside, outside, kind, truth, reward or "", notes)


def inputs(examples: Sequence[Example], encoder: Encoder, max_new_tokens: int) -> Inputs:
    """Test prompts as a policy is given them, cut at the start so that its answer fits, and references no longer.

    Args:
        examples: their first completion is the reference.
        encoder: of the policies.
        max_new_tokens: of an answer.
    """
    held = [Example(e.prompt, e.completions[:1], e.place) for e in examples]
    encoded = encoder.encode(held)[0]
    ids = prompt_ids(encoded, encoder.max_length, max_new_tokens)
    references = [one.completions[0][:max_new_tokens] for one in encoded]
    texts = encoder.tokenizer.batch_decode(references, skip_special_tokens=True)
    return Inputs([prompt_text(e.prompt) for e in held], ids, texts, references)


def prompt_ids(encoded: Sequence[Encoded], max_length: int, max_new_tokens: int) -> list[list[int]]:
    """Prompts cut at the start so that an answer fits behind them.

    Args:
        encoded: examples as token ids.
        max_length: most tokens of a prompt and an answer.
        max_new_tokens: of an answer.

    Raises:
        BadInput: an answer leaves no room for a prompt.
    """
    room = max_length - max_new_tokens
    if room < 1:
        raise BadInput(f"answers of {max_new_tokens} tokens leave no room for a prompt in {max_length} tokens")
    return [one.prompt[-room:] for one in encoded]


def _rows(source: str, split: str, progress: Progress) -> list[Row]:
    pool = read_pool(source, need_text=False, split=split, progress=progress)
    return [row for block in pool.records.blocks() for row in block]


def _read(rows: list[Row], source: str) -> tuple[list[Example], bool]:
    """The examples, and whether they are preferences."""
    pairs = bool(rows) and {"chosen", "rejected"} <= set(rows[0])
    name = Path(source).name
    return read_examples(rows, "pairs" if pairs else "demonstrations", source=name, name="rlhf-diversity")[0], pairs


def _row_number(example: Example) -> int:
    return int(example.place.rsplit(" ", 1)[1]) - 1
