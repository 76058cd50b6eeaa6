"""Prompt and response of each row: columns, chats, texts, and rows that lack them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.pool import Pool
from polyculture.quality.pairs import pairs
from polyculture.reading import read_pool


def pool_of(folder: Path, *rows: dict[str, Any], text: str | None = None) -> Pool:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_pool(path, text=[text] if text else None)


def test_columns_joined_columns_and_texts(tmp_path: Path) -> None:
    pool = pool_of(tmp_path, {"prompt": "Add", "input": "1 2", "response": "3"}, text="response")
    assert list(pairs(pool)) == [("Add", "3")]
    assert list(pairs(pool, "prompt,input")) == [("Add\n\n1 2", "3")]
    assert list(pairs(pool, None, None)) == [("", "3")]
    assert list(pairs(Pool.from_arrays(texts=["a", ""]), None, None)) == [("", "a"), ("", "")]


def test_chats(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    pool = pool_of(tmp_path, {"messages": turns, "prompt": turns[:1], "response": turns[1:]}, text="messages")
    assert list(pairs(pool)) == [(turns[:1], "Hello")]
    assert list(pairs(pool, "messages", "messages")) == [(turns[:1], "Hello")]
    old = pool_of(tmp_path, {"messages": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]})
    assert list(pairs(old, "messages", "messages")) == [(turns[:1], "Hello")]


def test_bad_rows_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"row 2: column 'response' is null.*--response"):
        list(
            pairs(pool_of(tmp_path, {"prompt": "a", "response": "b"}, {"prompt": "c", "response": None}, text="prompt"))
        )
    with pytest.raises(BadInput, match=r"row 1: column 'response' is missing; columns are prompt, answer"):
        list(pairs(pool_of(tmp_path, {"prompt": "a", "answer": "b"})))
    with pytest.raises(BadInput, match=r"no columns; read it from a file"):
        list(pairs(Pool.from_arrays(texts=["a"])))
    with pytest.raises(BadInput, match=r"row 1: column 'prompt' is named for prompt and response"):
        list(pairs(pool_of(tmp_path, {"prompt": "a"}), "prompt", "prompt"))
    with pytest.raises(BadInput, match="needs texts"):
        list(pairs(Pool.from_arrays(np.ones((1, 2))), None, None))
