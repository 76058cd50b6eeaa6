"""Prompts and responses as token ids that fit a model's context."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

from polyculture.errors import BadInput
from polyculture.llm.base import Prompt
from polyculture.llm.chat import completion_ids
from polyculture.llm.transformers import TransformersLLM
from polyculture.wording import counted


def tokenize_pairs(
    llm: TransformersLLM, pairs: Iterable[tuple[Prompt, str]], max_length: int | None = None, *, ended: bool = False
) -> tuple[list[list[int]], list[list[int]]]:
    """Token ids of prompts and of responses, cut where they are too long: prompts at the start, then responses.

    Args:
        llm: the model; an empty prompt becomes what :func:`start_token` says.
        pairs: prompts and responses; responses are tokenized as what goes on from it, without special
            tokens.
        max_length: most tokens of both; None is the model's context.
        ended: put the end-of-sequence token after each response that was not cut.

    Raises:
        BadInput: ``max_length`` leaves no room for a prompt and a response.
    """
    limits = [limit for limit in (max_length, llm.context) if limit is not None]
    most = min(limits, default=2**31)
    if most < 2:
        raise BadInput(f"max_length should leave room for a prompt and a response, not be {most}")
    start = start_token(llm.tokenizer)
    end = [llm.tokenizer.eos_token_id] if ended and llm.tokenizer.eos_token_id is not None else []
    held = list(pairs)
    answers = completion_ids(llm.tokenizer, [response for _, response in held], [bool(prompt) for prompt, _ in held])
    prompts, responses, cut = [], [], 0
    for (prompt, _), ids in zip(held, answers, strict=True):
        before = llm.prompt_ids(prompt) if prompt else [start]
        after = [*ids, *end]
        whole = len(before) + len(after)
        after = after[: most - 1]  # a token at least must come before the response
        before = before[max(0, len(before) + len(after) - most) :]
        cut += len(before) + len(after) < whole
        prompts.append(before)
        responses.append(after)
    if cut:
        warnings.warn(
            f"{cut} of {counted(len(prompts), 'row')} cut to fit {most} tokens: the prompt at the start, then the "
            "response at the end",
            stacklevel=2,
        )
    return prompts, responses


def start_token(tokenizer: Any) -> int:
    """What stands before a text without a prompt: begin-of-sequence, or else end-of-sequence, as after another text.

    Raises:
        BadInput: the tokenizer has neither.
    """
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    raise BadInput("the tokenizer has neither a begin- nor an end-of-sequence token, so nothing can precede a text")
