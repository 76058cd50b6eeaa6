"""A model that says what it is told to: for tests, examples and dry runs."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from polyculture.errors import BadInput, ModelFailure
from polyculture.llm.asks import NO_WATCH, Ask, GeneratesByAsk, Watch
from polyculture.llm.base import Completion, Prompt, Sampling, as_text, sample_seed

Reply = Callable[[Prompt, int, random.Random], str]
Score = Callable[[Prompt, str], Sequence[float]]


class ScriptedLLM(GeneratesByAsk):
    """Replies from a function or a list, the same under the same seed.

    Tokens are whitespace-separated words; ``max_tokens`` and ``stop`` are honoured.

    Args:
        reply: ``reply(prompt, sample_index, rng) -> text``, or texts given in turn, starting over at the end.
        name: the name it goes by.
        score: ``score(prompt, completion) -> log-probability of each word``; without it every word has log(1/2).
        fail: called with the number of the completion, counted from 0 over the model's life; when it returns an
            exception that is raised, and when it returns a string that is the reply (to misbehave on demand).

    Attributes:
        n_calls: calls of ``generate`` so far.
        n_completions: completions given so far.
        prompts: every prompt asked, in order.

    >>> ScriptedLLM(["yes", "no"]).generate(["?"], n=3)[0][2].text
    'yes'
    """

    def __init__(
        self,
        reply: Reply | Sequence[str],
        *,
        name: str = "scripted",
        score: Score | None = None,
        fail: Callable[[int], Exception | str | None] | None = None,
    ) -> None:
        if not callable(reply) and (isinstance(reply, str) or not reply):
            raise BadInput("a scripted model needs a function or a non-empty list of replies")
        self.name = name
        self.reply = reply
        self.score = score
        self.fail = fail
        self.n_calls = 0
        self.n_completions = 0
        self.prompts: list[Prompt] = []
        self._lock = threading.Lock()

    @classmethod
    def from_file(cls, path: str | Path) -> ScriptedLLM:
        """A model from a JSON file: a list of replies, or an object with "replies" and, if wanted, "name" and "match".

        "match" maps a substring of the prompt to the list of replies for prompts that hold it (the first that fits).

        Raises:
            BadInput: the file is not there or is not of that form.
        """
        import json

        path = Path(path)
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise BadInput(f"{path}: can't be read ({error.strerror})") from error
        except ValueError as error:
            raise BadInput(f"{path}: is not JSON ({error})") from error
        held = {"replies": held} if isinstance(held, list) else held
        form = 'a list of replies, or {"replies": [...], "match": {"part of the prompt": [...]}}'
        if not isinstance(held, dict) or not isinstance(held.get("match", {}), dict):
            raise BadInput(f"{path}: should be {form}")
        replies: list[str] = held.get("replies", [])
        match: dict[str, list[str]] = held.get("match", {})
        for texts in [replies, *match.values()]:
            if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
                raise BadInput(f"{path}: should be {form}")

        def reply(prompt: Prompt, index: int, rng: random.Random) -> str:
            text = as_text(prompt)
            texts = next((match[part] for part in match if part in text), replies)
            return texts[index % len(texts)]

        return cls(reply if match else replies, name=str(held.get("name", f"scripted:{path.name}")))

    def answer_asks(
        self, asks: Sequence[Ask], *, sampling: Sampling, seed: int | None, watch: Watch = NO_WATCH
    ) -> list[Completion]:
        """One reply for each ask, in order; a function sees a generator made from seed, prompt and sample index."""
        with self._lock:
            self.n_calls += 1
        answers = []
        for position, ask in enumerate(asks):
            watch.asking(position)
            answers.append(self._one(ask.prompt, ask.sample, sampling, seed))
            watch.arrived(position, answers[-1])
        return answers

    def logprobs(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[np.ndarray]:
        """Log-probability of each word of each completion."""
        if len(prompts) != len(completions):
            raise BadInput(f"{len(prompts)} prompts but {len(completions)} completions")
        return [np.asarray(self._score(p, c), dtype=np.float64) for p, c in zip(prompts, completions, strict=True)]

    def _score(self, prompt: Prompt, completion: str) -> Sequence[float]:
        return self.score(prompt, completion) if self.score else [-0.6931471805599453] * len(completion.split())

    def _one(self, prompt: Prompt, index: int, sampling: Sampling, seed: int | None) -> Completion:
        with self._lock:
            turn = self.n_completions
            self.n_completions += 1
            self.prompts.append(prompt)
        happening = self.fail(turn) if self.fail else None
        if isinstance(happening, Exception):
            raise happening
        if happening is not None:
            text = happening
        elif callable(self.reply):
            text = self.reply(prompt, index, random.Random(sample_seed(seed or 0, prompt, index)))
            if not isinstance(text, str):
                raise ModelFailure(f"{self.name}: the script replied {text!r}, not a string")
        else:
            text = self.reply[turn % len(self.reply)]
        finish = "stop"
        for stop in sampling.stop:
            text = text.split(stop, 1)[0]
        words = text.split()
        if len(words) > sampling.max_tokens:
            text, words, finish = " ".join(words[: sampling.max_tokens]), words[: sampling.max_tokens], "length"
        terms = tuple(float(term) for term in self._score(prompt, text))
        return Completion(text, len(words), len(as_text(prompt).split()), sum(terms), terms, finish, self.name)
