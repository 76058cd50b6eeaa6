"""Pairs out of ranked answers: the best answer of a prompt against every one that is strictly worse.

Curry-DPO: Enhancing Alignment using Curriculum Learning & Ranked Preferences (2024), section 3. With four answers rated
R1 > R2 > R3 > R4 the pairs are (R1, R4), (R1, R3), (R1, R2), from the widest gap, which is easy to learn, to the
narrowest. Answers that tie with the best give no pair: an order among equals would be made up.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from polyculture.errors import BadInput, unknown

Order = Literal["easy_to_hard", "hard_to_easy", "random"]
ORDERS = ("easy_to_hard", "hard_to_easy", "random")

RESPONSES, SCORES = "responses", "scores"


@dataclass(frozen=True)
class RankedPair:
    """Two answers to one prompt.

    Args:
        chosen: index of the better answer.
        rejected: index of the worse one.
        gap: by how much its rating is lower, above 0.
        ease: what the pairs are ordered by: the gap, or the difference of the criterion.
    """

    chosen: int
    rejected: int
    gap: float
    ease: float


def ranked_pairs(
    scores: Sequence[float] | np.ndarray,
    *,
    max_pairs: int | None = None,
    min_gap: float = 0.0,
    order: Order = "easy_to_hard",
    criterion: Sequence[float] | np.ndarray | None = None,
    rng: np.random.Generator | int | None = None,
) -> list[RankedPair]:
    """The top-rated answer to a prompt against every strictly worse one.

    >>> [(pair.chosen, pair.rejected) for pair in ranked_pairs([5, 3, 4, 2])]
    [(0, 3), (0, 1), (0, 2)]

    Args:
        scores: (K,) ratings, higher is better; an answer whose rating is NaN takes no part. Of several best answers the
            first is chosen.
        max_pairs: at most so many; the easiest are kept, whatever the order.
        min_gap: leave out pairs whose ratings differ by less: narrow gaps have the noisiest labels.
        order: easy first, hard first, or random. Equally easy pairs keep the order of the answers.
        criterion: (K,) what an easy pair is told by, such as the reference's log-probabilities: the larger the chosen
            answer's lead in it, the easier. None is the ratings.
        rng: of the random order.

    Raises:
        BadInput: the criterion is not as long as the ratings or is NaN where a rating is known, or min_gap or max_pairs
            is negative.
        UnknownMethod: there is no such order.
    """
    ratings = np.asarray(scores, dtype=np.float64)
    if ratings.ndim != 1:
        raise BadInput(f"ratings of one prompt should be a list of numbers; their shape is {ratings.shape}")
    if not min_gap >= 0 or (max_pairs is not None and max_pairs < 0):
        raise BadInput(f"min_gap and max_pairs should be 0 or more, not {min_gap} and {max_pairs}")
    known = ~np.isnan(ratings)
    if not known.any():
        return []
    told_by = ratings if criterion is None else np.asarray(criterion, dtype=np.float64)
    if told_by.shape != ratings.shape or np.isnan(told_by[known]).any():
        raise BadInput(f"the criterion should be one number an answer, {len(ratings)} of them, none NaN")
    best = int(np.nanargmax(ratings))
    pairs = [
        RankedPair(best, int(j), float(ratings[best] - ratings[j]), float(told_by[best] - told_by[j]))
        for j in np.flatnonzero(known & (ratings < ratings[best]))
    ]
    pairs = [pair for pair in pairs if pair.gap >= min_gap]
    kept = easiest_first([pair.ease for pair in pairs])[:max_pairs]
    return [pairs[i] for i in reordered(kept, [pair.ease for pair in pairs], order, rng)]


def easiest_first(ease: Sequence[float] | np.ndarray) -> list[int]:
    """Indices by decreasing ease; equals in their own order."""
    return sorted(range(len(ease)), key=lambda i: -ease[i])


def reordered(
    easy_first: Sequence[int], ease: Sequence[float] | np.ndarray, order: Order, rng: np.random.Generator | int | None
) -> list[int]:
    """Indices that come easiest first, in another order; equally easy ones keep theirs unless it is random.

    Args:
        easy_first: the indices.
        ease: by index.
        order: the order wanted.
        rng: of the random order.

    Raises:
        UnknownMethod: there is no such order.
    """
    if order == "easy_to_hard":
        return list(easy_first)
    if order == "hard_to_easy":
        return sorted(easy_first, key=lambda i: ease[i])
    if order == "random":
        return [easy_first[i] for i in np.random.default_rng(rng).permutation(len(easy_first))]
    raise unknown("order of a curriculum", order, ORDERS)


@dataclass
class PairRows:
    """Rows of pairs and what did not become one.

    Args:
        rows: dicts with chosen, rejected, margin (the gap of the ratings), the prompt if there is one, and the other
            columns of the row they come from; prompt by prompt, in the order of the answers.
        prompts: for each row the index of the row of answers that it comes from.
        counts: how many prompts had "fewer than two answers" left, or "two answers"; how many answers were "unrated" or
            "repeated"; how many pairs were "tied with the best" or had "too small a gap".
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    prompts: list[int] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def has_answers(row: Mapping[str, Any]) -> bool:
    """Whether a row holds a list of answers, not one pair."""
    return RESPONSES in row


def pair_rows(rows: Sequence[Mapping[str, Any]], *, min_gap: float = 0.0, first: int = 1) -> PairRows:
    """Rows of rated answers as rows of pairs, in the columns that trainers read.

    Answers without a rating (null, NaN) are dropped, and so are repeated ones: equal answers count once, rated with the
    mean of their ratings. A prompt with fewer than two answers left gives no pair and is counted.

    Args:
        rows: dicts with "responses" (texts, or lists of chat messages), "scores" (a number each, higher is better) and
            usually "prompt" (a text or chat messages).
        min_gap: leave out pairs whose ratings differ by less.
        first: the number of the first row in messages.

    Raises:
        BadInput: a row lacks a column, its scores are not one number an answer, or an answer is neither text nor chat.
    """
    made = PairRows()
    for i, row in enumerate(rows):
        answers, ratings = _answers(row, f"row {first + i}", made.counts)
        made.counts["fewer than two answers"] += len(answers) < 2
        made.counts["two answers"] += len(answers) == 2
        every = ranked_pairs(ratings)
        wide = [pair for pair in every if pair.gap >= min_gap]
        made.counts["tied with the best"] += max(len(answers) - 1 - len(every), 0)
        made.counts["too small a gap"] += len(every) - len(wide)
        rest = {name: value for name, value in row.items() if name not in (RESPONSES, SCORES)}
        for pair in sorted(wide, key=lambda pair: pair.rejected):
            chosen, rejected = answers[pair.chosen], answers[pair.rejected]
            made.rows.append({**rest, "chosen": chosen, "rejected": rejected, "margin": pair.gap})
            made.prompts.append(i)
    return made


def _answers(row: Mapping[str, Any], place: str, counts: Counter[str]) -> tuple[list[Any], list[float]]:
    """The distinct rated answers of a row and their ratings."""
    for name in (RESPONSES, SCORES):
        if not isinstance(row.get(name), (list, tuple, np.ndarray)):
            there = "is missing" if name not in row else "is not a list"
            raise BadInput(f"{place}: column '{name}' {there}; columns are {', '.join(row) or '(none)'}")
    responses, scores = list(row[RESPONSES]), list(row[SCORES])
    if len(responses) != len(scores):
        raise BadInput(f"{place}: there are {len(responses)} responses and {len(scores)} scores; give one score each")
    ratings: dict[Hashable, list[float]] = {}
    answers: dict[Hashable, Any] = {}
    for response, score in zip(responses, scores, strict=True):
        rating = _rating(score, place)
        if math.isnan(rating):
            counts["unrated"] += 1
            continue
        key = _key(response, place)
        counts["repeated"] += key in answers
        answers.setdefault(key, _as_the_prompt(response, row.get("prompt")))
        ratings.setdefault(key, []).append(rating)
    return list(answers.values()), [sum(held) / len(held) for held in ratings.values()]


def _rating(score: Any, place: str) -> float:
    if score is None:
        return math.nan
    if isinstance(score, bool) or not isinstance(score, (int, float, np.number)):
        raise BadInput(f"{place}: the score {score!r} should be a number, or null where it is not known")
    if math.isinf(score):
        raise BadInput(f"{place}: the score {score} should be finite; give null where it is not known")
    return float(score)


def _key(response: Any, place: str) -> Hashable:
    if isinstance(response, str):
        return response
    if isinstance(response, Sequence) and response and all(isinstance(turn, Mapping) for turn in response):
        return json.dumps([dict(turn) for turn in response], sort_keys=True, ensure_ascii=False, default=str)
    raise BadInput(f"{place}: a response should be a text or a list of chat messages, not {type(response).__name__}")


def _as_the_prompt(response: Any, prompt: Any) -> Any:
    """A text that answers a chat becomes the assistant's turn: trainers want both sides of a row alike."""
    if isinstance(response, str) and isinstance(prompt, Sequence) and not isinstance(prompt, str):
        return [{"role": "assistant", "content": response}]
    return response
