"""Training pairs out of judged samples: who beat whom clearly, what of earlier rounds is seen again, and the judges.

Direct Nash Optimization (2024, arXiv:2404.03715), section 5.1 and Algorithm 2. The candidates of a prompt are samples
of the current policy (the student) and, as a rule, one response of a stronger teacher; all are scored on one scale.
"""

from __future__ import annotations

import inspect
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from polyculture.align.watching.measures import make_reward
from polyculture.errors import BadInput, unknown
from polyculture.functions import named_function
from polyculture.llm.base import LLM, Sampling
from polyculture.llm.structured import ask_structured
from polyculture.measure.tokens import ngrams, words

Category = Literal["T>S", "S>T", "S>S"]
Keep = Literal["all", "teacher-wins", "spin"]
CATEGORIES: tuple[Category, ...] = ("T>S", "S>T", "S>S")

RUBRIC = """Here is a request and {count} responses to it.

[Request]
{prompt}

{responses}

Score each response by adding up points:
- 1 point if it has to do with the request;
- 1 point if it covers a good part of what was asked;
- 1 point if it answers the essentials of the request in a useful way;
- 1 point if it is written by an assistant that addresses the request directly and completely, and is well organised;
- 1 point if it is true, without mistakes or things left out;
- 1 point if it is of expert quality: engaging, insightful, to the point, with nothing beside it.

Give one whole number from 0 to 6 for each response, in the order in which they are shown."""
"""An additive rubric of 6 points, all candidates side by side."""


@dataclass(frozen=True)
class PairRule:
    """Which of two candidates beats the other clearly enough to learn from.

    Args:
        min_positive: a winner's score must reach this. The defaults are for the 6-point rubric.
        margin_teacher_positive: how much better the teacher must be than whom it beats.
        margin_student_positive: how much better a student's sample must be than whom it beats.
        keep: "all" pairs; "teacher-wins", of these only the ones that the teacher wins (DNO-Restrictive); or "spin",
            the teacher beats every sample whatever the scores.

    Raises:
        BadInput: a margin is not above 0.
        UnknownMethod: there is no such ``keep``.
    """

    min_positive: float = 5.0
    margin_teacher_positive: float = 2.0
    margin_student_positive: float = 1.0
    keep: Keep = "all"

    def __post_init__(self) -> None:
        if not (self.margin_teacher_positive > 0 and self.margin_student_positive > 0):
            raise BadInput("the margins by which a winner is better should be above 0: a tie teaches nothing")
        if self.keep not in ("all", "teacher-wins", "spin"):
            raise unknown("way to keep pairs", self.keep, ("all", "teacher-wins", "spin"))


def pair_filter(
    scores: ArrayLike,
    teacher: int | None = None,
    *,
    rule: PairRule | None = None,
    losers: Sequence[int] | frozenset[int] = (),
) -> list[tuple[int, int]]:
    """The (winner, loser) pairs of one prompt's candidates, in lexicographic order.

    Source: Direct Nash Optimization (2024), section 5.1.

    Args:
        scores: (n,) of the candidates; NaN beats nothing and loses to nothing.
        teacher: which candidate is the teacher's; None if there is none.
        rule: what is clear enough; None is the paper's.
        losers: candidates that lose to every other whose score allows it to win, whatever their own.

    Raises:
        BadInput: the teacher is no candidate, or "spin" is asked for without one.
    """
    rule = rule or PairRule()
    held = np.asarray(scores, dtype=np.float64).reshape(-1)
    n = len(held)
    if teacher is not None and not 0 <= teacher < n:
        raise BadInput(f"the teacher should be one of the candidates 0 to {n - 1}, not {teacher}")
    if rule.keep == "spin":
        if teacher is None:
            raise BadInput("in SPIN the teacher always wins: give its responses")
        return [(teacher, j) for j in range(n) if j != teacher]
    held = held.copy()
    held[list(losers)] = -np.inf
    margins = np.full(n, rule.margin_student_positive)
    may_win = held >= rule.min_positive
    if teacher is not None:
        margins[teacher] = rule.margin_teacher_positive
    if rule.keep == "teacher-wins":
        may_win &= np.arange(n) == teacher
    pairs = []
    for i in np.flatnonzero(may_win).tolist():
        beaten = held[i] - held >= margins[i]
        pairs += [(i, j) for j in np.flatnonzero(beaten).tolist() if j != i]
    return pairs


def category(pair: tuple[int, int], teacher: int | None) -> Category:
    """Whether teacher beats student ("T>S"), student teacher, or student student.

    Args:
        pair: places of winner and loser among the candidates.
        teacher: the place of the teacher's, or None.
    """
    return "T>S" if pair[0] == teacher else "S>T" if pair[1] == teacher else "S>S"


def repeats(text: str, *, n: int = 4, share: float = 0.5, least: int = 20) -> bool:
    """Whether a text repeats itself so much that it loses to any other.

    The paper does not say how it tells; here more than a share of the text's n-grams of words occurred in it before.

    Args:
        text: the text.
        n: words of an n-gram.
        share: of the n-grams that may be repetitions.
        least: texts of fewer words never do.

    >>> repeats("so it goes and so on " * 10), repeats("Nothing here is said a second time.")
    (True, False)
    """
    spoken = words(text)
    if len(spoken) < max(least, n):
        return False
    runs = list(ngrams(spoken, n))
    return 1 - len(set(runs)) / len(runs) > share


def with_replay(
    new: Sequence[Any], earlier: Sequence[Sequence[Any]], rng: np.random.Generator, *, share: float = 0.30
) -> list[Any]:
    """This round's pairs, and some of earlier rounds': at most 30 % of all from the last, 15 % from the one before...

    Source: Direct Nash Optimization (2024), section 5.1. The new pairs come first, all of them.

    Args:
        new: pairs of this round.
        earlier: pairs of earlier rounds, the first round's first.
        rng: chooses which, without replacement.
        share: of the last round's pairs in all; halved with each round further back.

    Raises:
        BadInput: the share is outside [0, 0.5): earlier rounds would leave no room for new pairs.
    """
    if not 0 <= share < 0.5:
        raise BadInput(f"the share of replayed pairs should lie in [0, 0.5), not {share}")
    behind = list(reversed(earlier))
    shares = [share * 0.5**k for k in range(len(behind))]
    total = len(new) / (1 - sum(shares))
    while True:  # rounds that fall short of their share make the whole smaller, and so every other share
        counts = [min(len(pairs), int(part * total + 1e-9)) for pairs, part in zip(behind, shares, strict=True)]
        if (smaller := len(new) + sum(counts)) >= total:
            break
        total = smaller
    kept = [
        [pairs[i] for i in np.sort(rng.choice(len(pairs), count, replace=False)).tolist()]
        for pairs, count in zip(behind, counts, strict=True)
    ]
    return [*new, *(pair for pairs in kept for pair in pairs)]


Scores = Callable[[list[str], list[list[str]]], list[np.ndarray | None]]
"""Of prompts and the candidates of each: the candidates' scores, or None where they could not be judged."""


@dataclass(eq=False)
class RubricJudge:
    """A language model that scores all candidates of a prompt side by side, 0 to 6 points each.

    They are shown in random order, since judges favour places. A prompt whose reply can't be read after the retries is
    not judged.

    Args:
        llm: the judge.
        rubric: the question, with {prompt}, {responses} and {count} in it.
        seed: of the order and of the replies.
        retries: most times a prompt is asked again.
    """

    llm: LLM
    rubric: str = RUBRIC
    seed: int = 0
    retries: int = 2

    def __call__(self, prompts: list[str], candidates: list[list[str]]) -> list[np.ndarray | None]:
        """One array of scores a prompt, in the order of its candidates; None where the replies could not be read."""
        from polyculture.quality.judge import filled

        rng = np.random.default_rng(self.seed)
        orders = [rng.permutation(len(those)) for those in candidates]
        questions = [
            filled(self.rubric, prompt=prompt, responses=_shown(those, order), count=str(len(those)))
            for prompt, those, order in zip(prompts, candidates, orders, strict=True)
        ]
        sampling = Sampling(max_tokens=256, temperature=0.0)
        replies = ask_structured(
            self.llm, questions, list[int], sampling=sampling, seed=self.seed, retries=self.retries
        )
        found: list[np.ndarray | None] = []
        for reply, order in zip(replies, orders, strict=True):
            given = reply.value or []
            if len(given) != len(order) or not all(0 <= score <= 6 for score in given):
                found.append(None)
                continue
            scores = np.empty(len(order))
            scores[order] = given
            found.append(scores)
        return found


@dataclass(frozen=True)
class PairwiseJudge:
    """Scores of candidates as their mean win rates against each other, times ``scale``; none meets itself.

    Args:
        beats: of a list of (prompt, one, other), the probability that one is preferred to the other. Both orders are
            asked, and evened out.
        scale: what a candidate that beats every other scores: 6 fits the rule's defaults.

    Raises:
        BadInput: it can't be called with one list; when called, it gives something else than probabilities.
    """

    beats: Callable[[list[tuple[str, str, str]]], ArrayLike]
    scale: float = 6.0

    def __post_init__(self) -> None:
        try:
            inspect.signature(self.beats).bind([])
        except TypeError as error:
            name = getattr(self.beats, "__name__", type(self.beats).__name__)
            raise BadInput(
                f"the pairwise judge {name} is called with one list of (prompt, one, other) and should return, for "
                f"each, the probability that 'one' is preferred; its arguments don't allow that: {error}"
            ) from error
        except ValueError:  # built-in functions don't tell their arguments
            return

    def __call__(self, prompts: list[str], candidates: list[list[str]]) -> list[np.ndarray | None]:
        """One array of scores a prompt."""
        asked = [
            (prompt, those[i], those[j])
            for prompt, those in zip(prompts, candidates, strict=True)
            for i in range(len(those))
            for j in range(len(those))
            if i != j
        ]
        answer = self.beats(asked)
        try:
            given = np.asarray(answer, dtype=np.float64)
        except (TypeError, ValueError):
            given = np.zeros(0)
        if given.shape != (len(asked),) or not bool(((given >= 0) & (given <= 1)).all()):
            raise BadInput(
                f"the pairwise judge should give {len(asked)} probabilities in [0, 1], one for each (prompt, one, "
                f"other), not {type(answer).__name__} {reprlib.repr(answer)}"
            )
        found: list[np.ndarray | None] = []
        start = 0
        for those in candidates:
            n = len(those)
            if n < 2:
                found.append(np.full(n, self.scale / 2))
                continue
            wins = np.full((n, n), 0.5)
            wins[~np.eye(n, dtype=bool)] = given[start : start + n * (n - 1)]
            start += n * (n - 1)
            even = (wins + 1 - wins.T) / 2
            found.append(self.scale * (even.sum(axis=1) - 0.5) / (n - 1))
        return found


@dataclass(frozen=True)
class ScoredEach:
    """Scores of candidates one by one, by a function of prompts and completions.

    Args:
        reward: one number a completion.
    """

    reward: Callable[[Sequence[str], Sequence[str]], Any]

    def __call__(self, prompts: list[str], candidates: list[list[str]]) -> list[np.ndarray | None]:
        """One array of scores a prompt."""
        counts = [len(those) for those in candidates]
        repeated = [prompt for prompt, count in zip(prompts, counts, strict=True) for _ in range(count)]
        flat = [one for those in candidates for one in those]
        scores = np.asarray(self.reward(repeated, flat), dtype=np.float64)
        if scores.shape != (len(flat),) or not bool(np.isfinite(scores).all()):
            raise BadInput(f"the scores of {len(flat)} candidates should be as many finite numbers")
        return list(np.split(scores, np.cumsum(counts)[:-1]))


def make_scores(spec: str | Scores, *, seed: int = 0, options: Mapping[str, Any] | None = None) -> Scores:
    """What judges candidates, from one line of text.

    ==================================  ====================================================================
    ``llm:MODEL``                       a language model with the 6-point rubric, see :class:`RubricJudge`
    ``pairwise:python:module:function`` a function of (prompt, one, other) triples, see :class:`PairwiseJudge`
    ``python:module:function``          a function of the prompts and the completions, or of the completions
    a quality                           a name of ``polyculture methods --stage quality``
    ==================================  ====================================================================

    Args:
        spec: which, or a function of prompts and lists of candidates.
        seed: of a language model's order and replies.
        options: of the language model, as for ``make_llm``.

    Raises:
        BadInput: the function or the model can't be had.
        UnknownMethod: there is no such quality.
    """
    if not isinstance(spec, str):
        return spec
    if spec.startswith("llm:"):
        from polyculture.llm.make import make_llm

        return RubricJudge(make_llm(spec.removeprefix("llm:"), **(options or {})), seed=seed)
    if spec.startswith("pairwise:"):
        return PairwiseJudge(named_function(spec.removeprefix("pairwise:")))
    reward = make_reward(spec)
    if reward is None:
        raise BadInput("judging candidates needs a judge; name a quality, llm:MODEL or python:module:function")
    return ScoredEach(reward)


def _shown(candidates: Sequence[str], order: np.ndarray) -> str:
    return "\n\n".join(f"[Response {place + 1}]\n{candidates[i]}" for place, i in enumerate(order.tolist()))
