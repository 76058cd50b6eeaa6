"""Completions on disk: what was paid for is not paid for again, by this run, the next, or the process beside it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from polyculture.errors import BadInput
from polyculture.llm.asks import NO_WATCH, Ask, Watch, Wrapper, answer_asks
from polyculture.llm.base import LLM, Completion, Prompt, Sampling, as_messages

FORMAT = 1
"""Part of every key: raised when a stored completion would mean something else."""


class CachedLLM(Wrapper):
    """A model whose completions are kept in an SQLite file the moment each arrives, and asked for once.

    A completion is known by the model's identity, the prompt, the sampling, the seed and the number of the sample. Only
    those that are missing are asked for: growing n from 4 to 6 asks for two. A seed makes a call repeat itself. Without
    one, asking a prompt again is asking for further samples, in this run and, answered from the file, in the same order
    in the next. At temperature 0 all samples of a prompt are one.

    Several processes may share the file; two that want the same completion at the same moment may both ask for it.
    The file should be on a local disk: SQLite's write-ahead log does not work over a network file system.

    Args:
        llm: the model inside.
        path: the file; made with its folder if it is not there.

    Attributes:
        hits: completions answered from the file so far.
        misses: completions asked of the model so far.

    Raises:
        BadInput: the file can't be opened, or is not such a cache.
    """

    def __init__(self, llm: LLM, path: str | Path) -> None:
        super().__init__(llm)
        self.store = CompletionStore(Path(path))
        self.hits = 0
        self.misses = 0
        self._taken: Counter[str] = Counter()
        self._lock = threading.Lock()

    def answer_asks(
        self, asks: Sequence[Ask], *, sampling: Sampling, seed: int | None, watch: Watch = NO_WATCH
    ) -> list[Completion]:
        """One completion for each ask, in order, from the file or from the model."""
        numbered = self._numbered(asks, sampling, seed)
        who = self.identity
        keys = [completion_key(who, ask, sampling, seed) for ask in numbered]
        found = self.store.read(keys)
        first: dict[str, int] = {}
        for position, key in enumerate(keys):
            if key not in found:
                first.setdefault(key, position)
        missing = list(first.values())
        with self._lock:
            self.hits += len(keys) - len(missing)
            self.misses += len(missing)

        def arrived(position: int, completion: Completion) -> None:
            self.store.write(keys[missing[position]], completion)
            watch.arrived(missing[position], completion)

        for position, key in enumerate(keys):
            if key in found:
                watch.arrived(position, found[key])
        fresh: dict[int, Completion] = {}
        if missing:
            inner = Watch(lambda position: watch.asking(missing[position]), arrived)
            wanted = [numbered[p] for p in missing]
            asked = answer_asks(self.llm, wanted, sampling=sampling, seed=seed, watch=inner)
            fresh = dict(zip(missing, asked, strict=True))
        answers = []
        for position, key in enumerate(keys):
            answer = fresh.get(position) or found.get(key)
            if answer is None:  # the same sample again, in one call
                answer = dataclasses.replace(fresh[first[key]], cost=0.0, cached=True)
                watch.arrived(position, answer)
            answers.append(answer)
        return answers

    def _numbered(self, asks: Sequence[Ask], sampling: Sampling, seed: int | None) -> list[Ask]:
        if sampling.temperature == 0:
            return [ask._replace(sample=0) for ask in asks]
        if seed is not None:
            return list(asks)
        with self._lock:
            keys = [completion_key("", ask._replace(sample=0), sampling, None) for ask in asks]
            numbered = [ask._replace(sample=ask.sample + self._taken[key]) for ask, key in zip(asks, keys, strict=True)]
            self._taken.update(keys)
        return numbered


class CompletionStore:
    """An SQLite file of completions by key; safe to share between threads and processes.

    Args:
        path: the file.

    Raises:
        BadInput: it can't be opened, or is not such a file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode = WAL")
            # A commit survives the end of this process, however it ends; only a power cut may take the last ones.
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS completions (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
            )
        except (OSError, sqlite3.Error) as error:
            raise BadInput(f"can't use {path} as a cache of completions: {error}; choose another file") from error

    def read(self, keys: Sequence[str]) -> dict[str, Completion]:
        """Those of the keys that are there, marked as cached and free."""
        found: dict[str, Completion] = {}
        names = {field.name for field in dataclasses.fields(Completion)}
        wanted = list(dict.fromkeys(keys))
        for start in range(0, len(wanted), 500):
            block = wanted[start : start + 500]
            query = f"SELECT key, value FROM completions WHERE key IN ({','.join('?' * len(block))})"
            with self._lock:
                rows = self._database.execute(query, block).fetchall()
            for key, value in rows:
                held = {name: item for name, item in json.loads(value).items() if name in names}
                if held.get("token_logprobs") is not None:
                    held["token_logprobs"] = tuple(held["token_logprobs"])
                found[key] = Completion(**held | {"cost": 0.0, "cached": True})
        return found

    def write(self, key: str, completion: Completion) -> None:
        """Keep a completion, at once; the first under a key stays."""
        value = json.dumps(dataclasses.asdict(completion))
        try:
            with self._lock:
                self._database.execute("INSERT OR IGNORE INTO completions VALUES (?, ?)", (key, value))
        except sqlite3.Error as error:
            raise BadInput(f"can't write to the cache {self.path}: {error}") from error

    def __len__(self) -> int:
        with self._lock:
            return int(self._database.execute("SELECT COUNT(*) FROM completions").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()


def completion_key(identity: str, ask: Ask, sampling: Sampling, seed: int | None) -> str:
    """The key of a completion: a hash of all that it depends on."""
    prompt: Prompt = ask.prompt if isinstance(ask.prompt, str) else as_messages(ask.prompt)
    parts = [FORMAT, identity, prompt, dataclasses.asdict(sampling), seed, ask.sample]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
