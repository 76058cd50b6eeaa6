"""Strategies side by side: accuracy or reward against the tokens spent, with how varied their candidates were."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from polyculture.decode.answers import AnswerOf, answer_key
from polyculture.decode.base import Answer, Strategy, sub_seed
from polyculture.decode.rows import PromptRow, row_ids
from polyculture.decode.scores import Reward
from polyculture.errors import BadInput
from polyculture.files import plain
from polyculture.llm.base import DEFAULT_SAMPLING, LLM, Sampling, as_text
from polyculture.progress import Progress, silent
from polyculture.space.embedders import Embedder


@dataclass(frozen=True)
class ComparisonRow:
    """One strategy at one number of candidates; means over prompts.

    Args:
        strategy: the name given to it.
        n: candidates a prompt (the most, where prompts have fewer).
        k: answers submitted a prompt.
        prompts: how many prompts.
        accuracy: share of prompts with a right answer among the submitted; None without references.
        accuracy_low: lower end of its 95 % interval (Wilson).
        accuracy_high: upper end.
        coverage: share of prompts with a right answer among the candidates: what a perfect choice would reach.
        reward: mean reward of the first answer; None without a reward.
        reward_low: lower end of its 95 % interval (normal).
        reward_high: upper end.
        tokens: tokens generated a prompt.
        prompt_tokens: tokens read a prompt.
        calls: completions drawn a prompt.
        money: money a prompt.
        distinct: distinct answers among a prompt's candidates.
        unread: share of candidates without a readable answer.
        vendi: Vendi score of a prompt's candidates, an effective number of different ones; None without an embedder.
        embedder: the embedder used.
    """

    strategy: str
    n: int
    k: int
    prompts: int
    accuracy: float | None
    accuracy_low: float | None
    accuracy_high: float | None
    coverage: float | None
    reward: float | None
    reward_low: float | None
    reward_high: float | None
    tokens: float
    prompt_tokens: float
    calls: float
    money: float
    distinct: float
    unread: float
    vendi: float | None
    embedder: str | None

    def to_dict(self) -> dict[str, Any]:
        """The row in JSON's own types."""
        return plain(asdict(self))


def compare_strategies(
    strategies: Mapping[str, Strategy],
    rows: Sequence[PromptRow],
    *,
    ns: Sequence[int] | None = None,
    k: int = 1,
    llm: LLM | None = None,
    sampling: Sampling = DEFAULT_SAMPLING,
    reward: Reward | None = None,
    embedder: str | Embedder | None = None,
    answer_of: str | AnswerOf = "final-number",
    seed: int = 0,
    progress: Progress = silent,
) -> list[ComparisonRow]:
    """Run strategies on the same prompts at several numbers of candidates.

    Args:
        strategies: name -> strategy.
        rows: prompts; where they hold candidates these are used (the same random n of them for every strategy), else
            ``llm`` is asked.
        ns: numbers of candidates; None takes 1, 2, 4, ... up to the most candidates a row has (or 8 from a model).
        k: answers submitted a prompt; it is right if any is.
        llm: to draw candidates from, and for strategies that ask a model to decide.
        sampling: how to sample.
        reward: ``reward(prompts, responses) -> (n,)``, measured on the first answer of each prompt.
        embedder: for the Vendi score of the candidates; None leaves it out.
        answer_of: how answers are read for accuracy and for counting distinct ones.
        seed: the seed.
        progress: told of each run.

    Returns:
        A row for each strategy and n, strategies in the order given.

    Raises:
        BadInput: there are no rows or strategies, or neither candidates nor a model.
    """
    if not rows or not strategies:
        raise BadInput("a comparison needs prompts and strategies")
    held = all(row.candidates for row in rows)
    if not held and llm is None:
        raise BadInput("the rows have no candidates; give a model to draw them from")
    reader = answer_key(answer_of)
    known: dict[str, str | None] = {}

    def read(text: str) -> str | None:
        if text not in known:  # every strategy sees the same candidates
            known[text] = reader(text)
        return known[text]

    most = max(len(row.candidates) for row in rows) if held else 8
    sizes = sorted(set(ns)) if ns is not None else [*(2**i for i in range(max(1, most).bit_length())), most]
    sizes = sorted({min(size, most) if held else size for size in sizes if size >= 1})
    orders = [
        np.random.default_rng([seed, i]).permutation(len(row.candidates)) for i, row in enumerate(rows)
    ]  # prefixes of one order, so that more candidates means the same ones and some more
    runs: list[tuple[str, int, list[Answer]]] = []
    for name, strategy in strategies.items():
        for n in sizes:
            progress("comparing strategies", len(runs), len(strategies) * len(sizes))
            if held:
                answers = [
                    strategy.rerank(
                        [row.candidates[j] for j in sorted(order[:n])], k, prompt=row.prompt, seed=seed, llm=llm
                    )
                    for row, order in zip(rows, orders, strict=True)
                ]
            else:
                answers = _drawn(strategy, rows, llm, n, k, sampling, seed)
            runs.append((name, n, answers))
    progress("comparing strategies", len(runs), len(runs))
    spread = _Spread.of([answer for _, _, answers in runs for answer in answers], embedder)
    return [_measured(name, n, k, rows, answers, reward, spread, read) for name, n, answers in runs]


def _drawn(
    strategy: Strategy, rows: Sequence[PromptRow], llm: LLM | None, n: int, k: int, sampling: Sampling, seed: int
) -> list[Answer]:
    assert llm is not None
    rounds: dict[int, list[int]] = {}
    for i, key in enumerate(row_ids(rows)):
        rounds.setdefault(int(key.rsplit("-", 1)[1]), []).append(i)
    answers: dict[int, Answer] = {}
    for again, places in rounds.items():
        own = seed if again == 0 else sub_seed(seed, again)
        prompts = [rows[i].prompt for i in places]
        given = strategy.answer_batch(llm, prompts, n, k=k, sampling=sampling, seed=own)
        answers.update(zip(places, given, strict=True))
    return [answers[i] for i in range(len(rows))]


def _measured(
    name: str,
    n: int,
    k: int,
    rows: Sequence[PromptRow],
    answers: Sequence[Answer],
    reward: Reward | None,
    spread: _Spread | None,
    read: AnswerOf,
) -> ComparisonRow:
    keys = [[read(c.text) for c in a.trace.candidates] for a in answers]
    submitted = [[read(text) for text in a.texts] for a in answers]
    known = [i for i, row in enumerate(rows) if row.reference is not None]
    right = [_any_right(submitted[i], rows[i], read) for i in known]
    covered = [_any_right([*keys[i], *submitted[i]], rows[i], read) for i in known]
    accuracy = float(np.mean(right)) if known else None
    low, high = wilson(sum(right), len(right)) if known else (None, None)
    rewards = None
    if reward is not None:
        rewards = np.asarray(reward([as_text(r.prompt) for r in rows], [a.text for a in answers]), dtype=np.float64)
    mean = None if rewards is None else float(rewards.mean())
    half = 0.0 if rewards is None or len(rewards) < 2 else 1.96 * float(rewards.std(ddof=1)) / math.sqrt(len(rewards))
    costs = [a.cost for a in answers]
    return ComparisonRow(
        name,
        n,
        k,
        len(rows),
        accuracy,
        low,
        high,
        float(np.mean(covered)) if known else None,
        mean,
        None if mean is None else mean - half,
        None if mean is None else mean + half,
        float(np.mean([c.tokens for c in costs])),
        float(np.mean([c.prompt_tokens for c in costs])),
        float(np.mean([c.calls for c in costs])),
        float(np.mean([c.money for c in costs])),
        float(np.mean([len({key for key in own if key is not None}) for own in keys])),
        float(np.mean([key is None for own in keys for key in own])),
        None if spread is None else float(np.mean([spread.vendi(a) for a in answers])),
        None if spread is None else spread.embedder,
    )


def _any_right(keys: Sequence[str | None], row: PromptRow, read: AnswerOf) -> bool:
    expected = None if row.reference is None else read(row.reference)
    return expected is not None and expected in keys


@dataclass(frozen=True)
class _Spread:
    """How varied the candidates of an answer are; every text is embedded once, every set of texts measured once."""

    embedder: str
    place: Mapping[str, int]
    X: np.ndarray
    known: dict[tuple[str, ...], float]

    @classmethod
    def of(cls, answers: Sequence[Answer], embedder: str | Embedder | None) -> _Spread | None:
        if embedder is None:
            return None
        from polyculture.space.embedders import make_embedder

        model = make_embedder(embedder)
        texts = sorted({c.text for answer in answers for c in answer.trace.candidates})
        return cls(model.name, {text: i for i, text in enumerate(texts)}, model.embed(texts), {})

    def vendi(self, answer: Answer) -> float:
        from polyculture.measure.vendi import vendi_score

        texts = tuple(c.text for c in answer.trace.candidates)
        if texts not in self.known:
            self.known[texts] = vendi_score(self.X[[self.place[text] for text in texts]])
        return self.known[texts]


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson's score interval).

    >>> [round(end, 3) for end in wilson(5, 10)]
    [0.237, 0.763]
    """
    z, p = 1.959963984540054, hits / n
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)
    return (0.0 if hits == 0 else low), (1.0 if hits == n else high)
