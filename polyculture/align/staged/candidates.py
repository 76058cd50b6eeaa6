"""Candidates for judging: samples of a model for each prompt, beside the teacher's answer, kept on disk."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from polyculture.align.data.examples import completion_text, prompt_text, read_examples
from polyculture.errors import BadInput
from polyculture.files import atomic, fingerprint
from polyculture.llm.base import Prompt, Sampling
from polyculture.llm.chat import PromptReader
from polyculture.progress import Progress, silent
from polyculture.wording import counted

BLOCK = 64
"""Prompts sampled in one call."""


@dataclass(frozen=True)
class Asked:
    """One prompt, and the teacher's answer to it.

    Args:
        prompt: text or chat messages.
        teacher: its answer, or None.
    """

    prompt: Prompt
    teacher: str | None = None

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]], source: str) -> list[Asked]:
        """The prompts of rows, each once, with the first teacher's answer.

        Args:
            rows: with the columns of any kind of data; "chosen" or "completion" is the teacher's.
            source: where they come from, for messages.

        Raises:
            BadInput: they hold no prompts.
        """
        examples, _ = read_examples(rows, "samples", source=source, name="dno-prct")
        found: dict[str, Asked] = {}
        for example in examples:
            teacher = completion_text(example.completions[0]) if example.completions else None
            one = cls(example.prompt, teacher)
            if one.key not in found or found[one.key].teacher is None:
                found[one.key] = one
        return list(found.values())

    @property
    def key(self) -> str:
        """What tells it from others."""
        return json.dumps(self.prompt, ensure_ascii=False)

    @property
    def text(self) -> str:
        """The prompt as text."""
        return prompt_text(self.prompt)

    def without_teacher(self) -> Asked:
        """The prompt alone."""
        return replace(self, teacher=None)


@dataclass(frozen=True)
class Candidates:
    """What is judged side by side for one prompt.

    Args:
        asked: the prompt, and the teacher's answer.
        samples: the policy's answers.
        cut: of each, whether it was cut at the limit of tokens.
    """

    asked: Asked
    samples: tuple[str, ...]
    cut: tuple[bool, ...]

    @property
    def prompt(self) -> Prompt:
        """Text or chat messages."""
        return self.asked.prompt

    @property
    def prompt_text(self) -> str:
        """The prompt as text."""
        return self.asked.text

    @property
    def texts(self) -> list[str]:
        """All candidates, the teacher's last."""
        return [*self.samples, *([] if self.asked.teacher is None else [self.asked.teacher])]

    @property
    def teacher(self) -> int | None:
        """Which candidate is the teacher's."""
        return None if self.asked.teacher is None else len(self.samples)


def fitting(asked: Sequence[Asked], model: str, what: str) -> list[Asked]:
    """The prompts that leave room for an answer in the model's context; how many do not is said in a warning.

    Args:
        asked: the prompts.
        model: folder or hub id.
        what: they are, for the warning.

    Raises:
        BadInput: none does.
    """
    from transformers import AutoConfig, AutoTokenizer

    context = getattr(AutoConfig.from_pretrained(model).get_text_config(), "max_position_embeddings", None)
    if context is None:
        return list(asked)
    reader = PromptReader(AutoTokenizer.from_pretrained(model), chat=False, name=model)
    kept = [one for one in asked if len(reader.ids(one.prompt)) < context]
    if asked and not kept:
        raise BadInput(
            f"no {what} leaves room for an answer in the model's context of {context} tokens; shorten the prompts, or "
            "use a model with a longer context"
        )
    if len(kept) < len(asked):
        warnings.warn(
            f"{len(asked) - len(kept)} of {counted(len(asked), what)} left out: no room for an answer in the model's "
            f"context of {context} tokens",
            stacklevel=3,
        )
    return kept


def sampled_candidates(
    asked: Sequence[Asked],
    model: str,
    n: int,
    sampling: Sampling,
    *,
    path: Path,
    identity: str,
    seed: int,
    device: str | None = None,
    dtype: str = "float32",
    batch_size: int = 16,
    progress: Progress = silent,
) -> list[Candidates]:
    """Samples of a model for each prompt, from ``path`` where the same were sampled before.

    Plain prompts are continued as they stand, as in training; chat messages go through the chat template.

    Args:
        asked: the prompts.
        model: folder or hub id.
        n: samples a prompt.
        sampling: how they are sampled.
        path: where they are kept.
        identity: of the model: other samples are drawn when it has changed.
        seed: of the samples.
        device: where to sample; None is the first GPU if there is one.
        dtype: to load the model in.
        batch_size: sequences sampled together.
        progress: told the prompts.
    """
    header = fingerprint(identity, seed, n, repr(sampling), [one.key for one in asked])
    held = _read(path, header)
    if held is not None:
        return [Candidates(one, *kept) for one, kept in zip(asked, held, strict=True)]
    from polyculture.llm.transformers import TransformersLLM

    llm = TransformersLLM(model, device=device, dtype=dtype, batch_size=batch_size, chat=False)
    found: list[Candidates] = []
    for start in range(0, len(asked), BLOCK):
        block = asked[start : start + BLOCK]
        answers = llm.generate([one.prompt for one in block], n=n, sampling=sampling, seed=seed)
        for one, some in zip(block, answers, strict=True):
            texts, cut = tuple(a.text for a in some), tuple(a.finish_reason == "length" for a in some)
            found.append(Candidates(one, texts, cut))
        progress("sampling candidates", len(found), len(asked))
    with atomic(path) as file:
        file.write(json.dumps({"of": header}) + "\n")
        for candidates in found:
            line = {"samples": candidates.samples, "cut": candidates.cut, "prompt": candidates.prompt_text}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    return found


def _read(path: Path, header: str) -> list[tuple[tuple[str, ...], tuple[bool, ...]]] | None:
    """What was kept, or None if it was nothing, or something else."""
    if not path.exists():
        return None
    try:
        first, *lines = [json.loads(line) for line in path.read_text(encoding="utf-8").rstrip("\n").split("\n")]
    except (ValueError, UnicodeDecodeError):
        return None
    if first != {"of": header}:
        return None
    return [(tuple(line["samples"]), tuple(line["cut"])) for line in lines]
