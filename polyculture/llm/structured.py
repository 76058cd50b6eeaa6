"""Replies with a form: the JSON in a reply, checked against a pydantic type, asked for again with what was wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from polyculture.errors import BadInput
from polyculture.llm.base import DEFAULT_SAMPLING, LLM, Completion, Prompt, Sampling, as_messages

T = TypeVar("T")
FENCE = re.compile(r"```[ \t]*(?:json|JSON)?[ \t]*\n?(.*?)```", re.DOTALL)
MAX_STARTS = 200
"""Most places in a reply where JSON is looked for."""


@dataclass(frozen=True)
class Parsed(Generic[T]):
    """What came of one prompt.

    Args:
        value: the value, or None if no reply had the form.
        replies: every completion, in order; the last is the one that was read.
        error: why there is no value, or None.
    """

    value: T | None
    replies: tuple[Completion, ...]
    error: str | None

    @property
    def ok(self) -> bool:
        """Whether there is a value."""
        return self.error is None


def ask_structured(
    llm: LLM,
    prompts: Sequence[Prompt],
    form: type[T],
    *,
    sampling: Sampling = DEFAULT_SAMPLING,
    seed: int | None = None,
    retries: int = 2,
    describe: bool = True,
) -> list[Parsed[T]]:
    """Ask each prompt for JSON of a form; ask again, with what was wrong, those whose reply does not have it.

    Args:
        llm: the model.
        prompts: what to ask.
        form: a pydantic model, or any type pydantic can check, e.g. ``list[int]``.
        sampling: how to sample.
        seed: as in ``generate``.
        retries: most times a prompt is asked again.
        describe: end the last message with the form's JSON schema.

    Returns:
        One Parsed a prompt. A prompt that never got a fitting reply has value None, its replies and the reason.

    Raises:
        BadInput: a prompt is malformed, or retries is negative.
    """
    if retries < 0:
        raise BadInput(f"retries should be 0 or more, not {retries}")
    adapter: TypeAdapter[T] = TypeAdapter(form)
    schema = json.dumps(adapter.json_schema())
    asked = [_described(prompt, schema) if describe else as_messages(prompt) for prompt in prompts]
    replies: list[list[Completion]] = [[] for _ in prompts]
    results: dict[int, Parsed[T]] = {}
    waiting = list(range(len(prompts)))
    for _ in range(retries + 1):
        if not waiting:
            break
        answers = llm.generate([asked[i] for i in waiting], sampling=sampling, seed=seed)
        for i, (completion,) in zip(waiting, answers, strict=True):
            replies[i].append(completion)
            outcome = parse(completion.text, adapter)
            value, error = outcome
            if error and completion.finish_reason == "length":
                error += f" (the reply was cut off at {sampling.max_tokens} tokens; raise max_tokens)"
            results[i] = Parsed(value, tuple(replies[i]), error)
            if error:
                again = f"That reply can't be used: {error}\nReply with JSON only, of this schema: {schema}"
                asked[i] = [
                    *asked[i],
                    {"role": "assistant", "content": completion.text},
                    {"role": "user", "content": again},
                ]
        waiting = [i for i in waiting if not results[i].ok]
    return [results[i] for i in range(len(prompts))]


def parse(reply: str, adapter: TypeAdapter[T]) -> tuple[T | None, str | None]:
    """The first JSON in a reply that has the form, or why there is none."""
    reason = None
    for found in json_values(reply):
        try:
            return adapter.validate_python(found), None
        except ValidationError as error:
            reason = reason or "; ".join(
                f"{'.'.join(map(str, item['loc'])) or 'the value'}: {item['msg']}" for item in error.errors()[:5]
            )
    return None, reason or "there is no JSON in the reply"


def json_values(reply: str) -> Iterator[Any]:
    """JSON objects and arrays in a text: those in code fences first, then those that stand free.

    >>> list(json_values('Sure! {"a": 1} and [2]'))
    [{'a': 1}, [2]]
    """
    decoder = json.JSONDecoder(parse_constant=_no_constant)
    for block in FENCE.findall(reply):
        try:
            yield decoder.decode(block.strip())
        except (ValueError, RecursionError):
            continue
    position = 0
    for _ in range(MAX_STARTS):
        start = re.compile(r"[{\[]").search(reply, position)
        if start is None:
            return
        try:
            value, position = decoder.raw_decode(reply, start.start())
        except (ValueError, RecursionError):
            position = start.end()
            continue
        yield value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _described(prompt: Prompt, schema: str) -> list[dict[str, str]]:
    *before, last = as_messages(prompt)
    return [*before, {**last, "content": f"{last['content']}\n\nReply with JSON only, of this schema: {schema}"}]
