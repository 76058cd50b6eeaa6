"""What an OpenAI-compatible server sends back, as completions; and what is not a completion, told apart."""

from __future__ import annotations

from typing import Any

from polyculture.llm.base import Completion


class Malformed(Exception):
    """An answer that arrived and is not what was asked for."""


def completions(reply: Any, wanted: int, model: str, chat: bool) -> list[Completion]:
    """At most ``wanted`` completions of a reply to /chat/completions, or to /completions if ``chat`` is False.

    Raises:
        Malformed: the reply is not what the interface promises.
    """
    choices = getattr(reply, "choices", None)
    if not isinstance(choices, list) or not choices:
        raise Malformed("its answer has no choices")
    texts, terms = [], []
    for choice in choices[:wanted]:
        holder = getattr(choice, "message", None) if chat else choice
        if holder is None:
            raise Malformed("a choice has no message")
        text = getattr(holder, "content" if chat else "text", None)
        if text is not None and not isinstance(text, str):
            raise Malformed("a choice has no text")
        texts.append(text or "")
        terms.append(_token_logprobs(choice))
    usage = getattr(reply, "usage", None)
    asked = int(getattr(usage, "prompt_tokens", 0) or 0)
    counts = [len(t) if t is not None else 0 for t in terms]
    if None in terms:
        counts = _split(int(getattr(usage, "completion_tokens", 0) or 0), [len(text) for text in texts])
    return [
        Completion(
            text,
            counts[i],
            asked if i == 0 else 0,
            None if kept is None else float(sum(kept)),
            kept,
            str(getattr(choices[i], "finish_reason", None) or "stop"),
            model,
        )
        for i, (text, kept) in enumerate(zip(texts, terms, strict=True))
    ]


def _token_logprobs(choice: Any) -> tuple[float, ...] | None:
    held = getattr(choice, "logprobs", None)
    content = getattr(held, "content", None)
    if content:
        return tuple(float(token.logprob) for token in content)
    values = getattr(held, "token_logprobs", None)
    return tuple(float(value) for value in values) if values else None


def _split(total: int, sizes: list[int]) -> list[int]:
    """``total`` in whole parts proportional to ``sizes``: the server counts the tokens of all samples together."""
    whole = sum(sizes) or 1
    edges = [round(total * sum(sizes[: i + 1]) / whole) for i in range(len(sizes))]
    edges[-1] = total
    return [edge - before for edge, before in zip(edges, [0, *edges[:-1]], strict=True)]
