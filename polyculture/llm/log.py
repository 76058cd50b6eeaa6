"""A log of calls: one JSON line a completion, written as it arrives."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from polyculture.errors import BadInput
from polyculture.llm.asks import NO_WATCH, Ask, Watch, Wrapper, answer_asks
from polyculture.llm.base import LLM, Completion, Sampling, as_messages, prompt_key


class LoggedLLM(Wrapper):
    """A model whose completions and failures are noted in a JSONL file; put it outermost, and it sees cached ones too.

    A line holds time (UTC), model, prompt (a hash), sample, tokens_in, tokens_out, cost, latency (seconds from the ask,
    null if cached), cached, finish_reason and error. A call that fails adds one line with its error. Lines are appended
    whole, so several processes may share the file. Keys are never in it.

    Args:
        llm: the model inside.
        path: the file; made with its folder if it is not there.
        texts: write the prompt and the completion in full too.

    Raises:
        BadInput: the file can't be written.
    """

    def __init__(self, llm: LLM, path: str | Path, *, texts: bool = False) -> None:
        super().__init__(llm)
        self.path = Path(path)
        self.texts = texts
        self._lock = threading.Lock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.open("a").close()
        except OSError as error:
            raise BadInput(f"can't write the log {path}: {error.strerror}; choose another file") from error

    def answer_asks(
        self, asks: Sequence[Ask], *, sampling: Sampling, seed: int | None, watch: Watch = NO_WATCH
    ) -> list[Completion]:
        """One completion for each ask, in order; each is noted as it arrives."""
        begun: dict[int, float] = {}

        def asking(position: int) -> None:
            watch.asking(position)
            begun[position] = time.monotonic()

        def arrived(position: int, completion: Completion) -> None:
            start = begun.get(position)
            self._note(
                asks[position],
                tokens_in=completion.n_prompt_tokens,
                tokens_out=completion.n_tokens,
                cost=completion.cost,
                latency=None if start is None else round(time.monotonic() - start, 4),
                cached=completion.cached,
                finish_reason=completion.finish_reason,
                error=None,
                **({"completion": completion.text} if self.texts else {}),
            )
            watch.arrived(position, completion)

        try:
            return answer_asks(self.llm, asks, sampling=sampling, seed=seed, watch=Watch(asking, arrived))
        except Exception as error:
            self._append({"error": f"{type(error).__name__}: {error}"})
            raise

    def _note(self, ask: Ask, **fields: Any) -> None:
        shown = ask.prompt if isinstance(ask.prompt, str) else as_messages(ask.prompt)
        text = {"prompt_text": shown} if self.texts else {}
        self._append({"prompt": prompt_key(ask.prompt), "sample": ask.sample, **fields, **text})

    def _append(self, fields: dict[str, Any]) -> None:
        row = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "model": self.name, **fields}
        line = (json.dumps(row, ensure_ascii=True) + "\n").encode()
        # One write to a file opened for appending lands whole and at the end, whoever else writes.
        with self._lock:
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(handle, line)
            finally:
                os.close(handle)
