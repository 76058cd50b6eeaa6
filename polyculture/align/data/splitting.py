"""Where a prompt ends and its answers begin, in texts and in lists of chat messages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from polyculture.llm.base import Prompt, as_messages

ASSISTANT_TURN = re.compile(r"\n\n(?:Assistant|ASSISTANT|AI|Bot):")


def split_prompt(chosen: Any, rejected: Any) -> tuple[Prompt, Any, Any]:
    """The prompt two answers share, and what follows it in each.

    Of message lists it is the messages they have in common; of transcripts, whose turns begin with "Human:" and
    "Assistant:" after an empty line, all up to the last shared "Assistant:"; of other texts their common beginning, up
    to the end of a word. A space after it belongs to what follows, as in the tokens of most models.

    >>> split_prompt("2 and 2 is four", "2 and 2 is five")
    ('2 and 2 is', ' four', ' five')
    """
    if isinstance(chosen, str) and isinstance(rejected, str):
        same = next((i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), None)
        common = chosen[: min(len(chosen), len(rejected)) if same is None else same]
        turns = list(ASSISTANT_TURN.finditer(common))
        if turns:
            cut = turns[-1].end()
        elif common in (chosen, rejected):
            cut = 0 if chosen == rejected else len(common)
        else:
            cut = max(common.rfind(space) for space in " \n\t") + 1
            cut -= common[:cut].endswith(" ")
        return chosen[:cut], chosen[cut:], rejected[cut:]
    turn = 0
    while turn < min(len(chosen), len(rejected)) - 1 and dict(chosen[turn]) == dict(rejected[turn]):
        turn += 1
    return chosen[:turn], chosen[turn:], rejected[turn:]


def answer_after(turns: Any, prompt: Sequence[Mapping[str, str]]) -> Any:
    """What follows the prompt: TRL allows answers with and without it."""
    n = len(prompt)
    return turns[n:] if len(turns) > n and [dict(t) for t in turns[:n]] == [dict(t) for t in prompt] else turns


def alike(prompt: Prompt, completions: Sequence[Any]) -> tuple[Prompt, list[Any]]:
    """A prompt and its completions, all messages if one of them is: a text is then a turn."""
    if isinstance(prompt, str) and all(isinstance(one, str) for one in completions):
        return prompt, list(completions)
    return as_messages(prompt), [as_turn(one) if isinstance(one, str) else one for one in completions]


def as_turn(text: str) -> list[dict[str, str]]:
    """A text as the assistant's turn."""
    return [{"role": "assistant", "content": text}]
