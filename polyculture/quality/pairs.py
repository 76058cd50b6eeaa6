"""Prompt and response of each row, from the columns of its record."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from polyculture.errors import BadInput
from polyculture.llm.base import Prompt
from polyculture.pool import Pool
from polyculture.records import NoRecords
from polyculture.rows import Columns, as_text, check_columns

Pair = tuple[Prompt, str]
T = TypeVar("T")


def pairs(pool: Pool, prompt: str | None = "prompt", response: str | None = "response") -> Iterator[Pair]:
    """Prompt and response of each row, in order, read a block at a time.

    Args:
        pool: rows with the columns, or with texts where no columns are named.
        prompt: column of prompts: texts or chat messages; several with commas between are joined by a blank line; None
            is an empty prompt for every row.
        response: column of responses; None is the pool's text. One chat column named for both is split before its
            last turn.

    Raises:
        BadInput: a column is missing, or a row has none of what it needs; row and remedy are named.
    """
    if response is None:
        pool.need("texts")
    texts = iter(pool.texts or ())
    names = tuple(dict.fromkeys([*_names(prompt), *_names(response)]))
    if names and isinstance(pool.records, NoRecords):
        raise BadInput(
            f"{pool.source}: columns {', '.join(names)} are asked for, but the pool has no columns; read it from a "
            "file, or set prompt and response to none to score its texts"
        )
    number = 0
    for block in pool.records.blocks():
        for record in block:
            number += 1
            text = next(texts) if response is None else ""
            try:
                check_columns(record, Columns(text=names))
                yield _pair(record, text, prompt, response)
            except BadInput as error:
                raise BadInput(f"{pool.source} row {number}: {error}; {_REMEDY}") from None


_REMEDY = "name the columns with --prompt and --response (none for no prompt, or for the text of the pool)"


def blocks(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    """Neighbours in lists of ``size``, the last as long as it comes."""
    rest = iter(rows)
    while block := list(itertools.islice(rest, size)):
        yield block


def pair_key(pair: Pair) -> str:
    """A pair as one string, for caches and for telling equal pairs."""
    return json.dumps(pair, ensure_ascii=False, sort_keys=True)


def _names(column: str | None) -> list[str]:
    return [] if column is None else [name.strip() for name in column.split(",") if name.strip()]


def _pair(record: Mapping[str, Any], text: str, prompt: str | None, response: str | None) -> Pair:
    if prompt is not None and prompt == response:
        return _split_chat(record[prompt], prompt)
    asked = [record[name] for name in _names(prompt)]
    if len(asked) == 1 and _is_chat(asked[0]):
        before: Prompt = _messages(asked[0])
    else:
        before = "\n\n".join(as_text(value, name) for value, name in zip(asked, _names(prompt), strict=True))
    if response is None:
        return before, text
    parts = [_answer(record[name], name) for name in _names(response)]
    return before, "\n\n".join(parts)


def _answer(value: Any, column: str) -> str:
    """A response as text; of a chat, what its one turn says."""
    if _is_chat(value) and len(value) == 1:
        return str(_messages(value)[0]["content"])
    return as_text(value, column)


def _split_chat(value: Any, column: str) -> Pair:
    if not _is_chat(value) or len(value) < 2:
        raise BadInput(
            f"column '{column}' is named for prompt and response, so it should be a chat of two turns or more"
        )
    turns = _messages(value)
    return turns[:-1], turns[-1]["content"]


def _is_chat(value: Any) -> bool:
    return isinstance(value, Sequence) and bool(value) and all(isinstance(turn, Mapping) for turn in value)


def _messages(turns: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Chat turns with "role" and "content"; the older "from" and "value" are understood."""
    roles = {"human": "user", "gpt": "assistant"}
    found = []
    for turn in turns:
        role, content = turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))
        if not isinstance(role, str) or not isinstance(content, str):
            raise BadInput("a chat turn lacks its role or content")
        found.append({"role": roles.get(role, role), "content": content})
    return found
