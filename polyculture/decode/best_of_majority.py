"""Best-of-majority: among the answers frequent enough to trust, the k best rewarded.

Best-of-Majority: Minimax-Optimal Strategy for Pass@k Inference Scaling (2025, arXiv:2510.03199), Algorithm 3.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

from polyculture.decode.answers import AnswerOf
from polyculture.decode.base import Candidate, Decision, Step, Strategy
from polyculture.decode.groups import Group, by_score, group_answers
from polyculture.decode.majority import scored_groups
from polyculture.decode.scores import Reward, with_keys, with_scores
from polyculture.errors import BadInput
from polyculture.llm.base import LLM, Prompt

K = TypeVar("K", bound=Hashable)
OnEmpty = Literal["relax", "none", "raise"]


def trusted(groups: Sequence[Group], alpha: float, on_empty: OnEmpty = "relax") -> list[Group]:
    """The gate: groups that hold at least a share alpha of the samples, inclusive.

    Args:
        groups: answers with their shares.
        alpha: smallest share, in [0, 1].
        on_empty: when no group passes: "relax" lets all through, "none" lets none through, "raise" is an error.

    Raises:
        BadInput: alpha is outside [0, 1], or no group passes and ``on_empty`` is "raise".
    """
    if not 0 <= alpha <= 1:
        raise BadInput(f"alpha should be in [0, 1], not {alpha}")
    # count >= ceil(alpha N): a share of exactly alpha passes, whatever the rounding of count / N.
    passing = [g for g in groups if g.count >= math.ceil(alpha * round(g.count / g.freq) - 1e-9)]
    if passing or not groups or on_empty == "none":
        return passing
    if on_empty == "raise":
        raise BadInput(f"no answer holds a share of {alpha:g} of the samples; lower alpha, or use on_empty='relax'")
    return list(groups)


def best_of_majority(
    answers: Sequence[K | None], rewards: Sequence[float], k: int, alpha: float, *, on_empty: OnEmpty = "relax"
) -> list[K]:
    """The k answers with the highest mean reward among those with a share of at least alpha (Algorithm 3).

    Args:
        answers: (N,) answer keys, N >= 1; None and "" can't be submitted but count in N.
        rewards: (N,) rewards, higher is better; samples with a NaN are set aside with a warning.
        k: how many to submit, at least 1.
        alpha: smallest share of the samples an answer needs; 0 is best-of-n over distinct answers.
        on_empty: see :func:`trusted`.

    Returns:
        At most k answers, best first, ties in order of first appearance.

    Raises:
        BadInput: no samples, k < 1, alpha outside [0, 1].

    >>> best_of_majority(["7", "8", "7", "9"], [0.5, 0.9, 0.6, 0.1], k=1, alpha=0.5)
    ['7']
    """
    if k < 1:
        raise BadInput(f"k = {k} answers, but at least 1 should be submitted")
    groups = group_answers(answers, list(rewards))
    return [g.key for g in by_score(trusted(groups, alpha, on_empty))[:k]]


def default_alpha(n: int) -> float:
    """The share used when none is given, max(0.01, 2 / n): an answer has to be seen at least twice.

    Pass a fixed share to compare different n: the guarantee that more samples never hurt holds for a fixed alpha.
    """
    return min(1.0, max(0.01, 2 / n))


def alpha_from_coverage(coverage: float) -> float:
    """The share the theory asks for, 3 / (4 C*) (Theorem 5.1).

    Args:
        coverage: C*, 1 / probability of the right answer under the sampling model when there is one right answer;
            at least 1.

    Raises:
        BadInput: coverage is below 1.
    """
    if coverage < 1:
        raise BadInput(f"the coverage coefficient should be at least 1, not {coverage}")
    return 0.75 / coverage


def regret_upper_bound(coverage: float, reward_error: float, n: int, k: int, optimal_error: float = 0.0) -> float:
    """The order of the regret of best-of-majority: eps_opt + sqrt(C* eps^2 / k) + C* exp(-N / (32 C*)) (Theorem 5.1).

    Constants are left out as in the paper's O(.), so this compares settings and bounds nothing by itself.

    Args:
        coverage: C*.
        reward_error: eps_RM, root of the mean squared error of the reward under the sampling model.
        n: number of samples.
        k: number of answers submitted.
        optimal_error: eps_opt, error of the reward at the right answer.
    """
    return optimal_error + math.sqrt(coverage * reward_error**2 / k) + coverage * math.exp(-n / (32 * coverage))


def samples_needed(coverage: float, reward_error: float, k: int) -> int:
    """The number of samples from which the bound applies, 16 C* ln(k C* / eps_RM^2) (Theorem 5.1).

    Raises:
        BadInput: the reward makes no error, so that no finite number is named.
    """
    if reward_error <= 0:
        raise BadInput("reward_error should be above 0")
    return max(1, math.ceil(16 * coverage * math.log(k * coverage / reward_error**2)))


def best_of_n_lower_bound(reward_error: float, n: int, k: int) -> float:
    """The order of the regret that best-of-n can't avoid, min(1, sqrt(N eps_RM^2 / k)): it grows with N."""
    return min(1.0, math.sqrt(n * reward_error**2 / k))


@dataclass(frozen=True)
class BestOfMajority(Strategy):
    """Draw n candidates, drop answers too rare to trust the reward on, submit the k best rewarded of the rest.

    Majority voting guards against a wrong reward, best-of-n against a wrong majority; this keeps both guards. The
    reward of an answer is the mean over its samples; it is shown by its best rewarded one.

    Args:
        alpha: smallest share of the n samples an answer needs, in [0, 1], inclusive; 0 is best-of-n over distinct
            answers. None takes max(0.01, 2 / n).
        on_empty: when no answer is frequent enough: "relax" ranks them all, "none" takes the best scored candidate,
            "raise" is an error.
        score: "auto" (the candidates' own scores, else log-probability per token), "given", "logprob", "length",
            "quality:NAME", ``python:module:function``, or a callable ``reward(prompts, responses) -> (n,)``.
        answer_of: what counts as the same answer.
    """

    name: ClassVar[str] = "best-of-majority"
    alpha: float | None = None
    on_empty: OnEmpty = "relax"
    score: str | Reward = "auto"
    answer_of: str | AnswerOf = "final-number"

    def _prepare(self, candidates: list[Candidate], prompt: Prompt) -> tuple[list[Candidate], list[Step]]:
        return with_scores(with_keys(candidates, self.answer_of), self.score, prompt)

    def _decide(self, candidates: list[Candidate], k: int, prompt: Prompt, seed: int, llm: LLM | None) -> Decision:
        alpha = default_alpha(len(candidates)) if self.alpha is None else self.alpha
        groups = scored_groups(candidates)
        frequent = trusted(groups, alpha, self.on_empty)
        relaxed = bool(frequent) and max(g.freq for g in frequent) < alpha - 1e-9
        passed = 0 if relaxed else len(frequent)
        ranked = by_score(frequent)
        gate = Step("gate", details={"alpha": alpha, "groups": len(groups), "passed": passed, "relaxed": relaxed})
        if not ranked:
            why = f"no answer has a share of {alpha:.3g}" if groups else "no answer could be read"
            return Decision([], why, groups, [gate])
        best = ranked[0]
        why = f"its mean score {best.mean_score:.6g} is the highest of {len(frequent)} answer(s) " + (
            f"(none has a share of {alpha:.3g}, so all were ranked)"
            if relaxed
            else f"with a share of {alpha:.3g} or more"
        )
        return Decision([g.representative for g in ranked[:k]], why, groups, [gate])
