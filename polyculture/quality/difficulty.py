"""How difficult a response is for a language model: its loss, its uncertainty-based difficulty, what its prompt helps.

D3: Diversity, Difficulty, and Dependability-Aware Data Selection (2025), UPD; From Quantity to Quality: Boosting LLM
Performance with Self-Guided Data Selection (2023), IFD.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from polyculture.errors import BadInput, unknown
from polyculture.quality.language_model import ModelQuality, Reading
from polyculture.quality.perplexity import mean_logprob

CLAMP = 1e-10
"""Added to a probability before its logarithm is taken: a loss is at most 23."""


@dataclass(frozen=True)
class Difficulty:
    """Uncertainty-based prediction difficulty of one response, and its terms, one a token.

    Args:
        score: mean of the tokens' difficulties, in [0, 1]; 0 for an empty response.
        losses: (T,) minus the log-probability of each token, in nats.
        entropies: (T,) entropy of the distribution each was drawn from, in nats.
        tokens: (T,) difficulty of each token, in [0, 1].
    """

    score: float
    losses: np.ndarray
    entropies: np.ndarray
    tokens: np.ndarray


def prediction_difficulty(
    logprobs: Any, entropies: Any, vocabulary: int, *, clamp: float = CLAMP, beta: float = 1.0
) -> Difficulty:
    """UPD from log-probabilities and entropies: sigmoid(loss) * max(0, 1 - entropy / (ln V)^beta), averaged.

    A high loss where many tokens were likely only means that many answers would do; it is no difficulty. A token
    known for certain scores 1/2, one drawn from a uniform distribution 0, one that is confidently wrong almost 1.
    Source: D3 (2025), uncertainty-based prediction difficulty.

    Args:
        logprobs: (T,) log-probability of each token.
        entropies: (T,) entropies in nats over the whole vocabulary.
        vocabulary: entries V of the vocabulary, at least 2.
        clamp: added to the probability in the loss.
        beta: exponent of ln V, by which entropies are scaled.

    Raises:
        BadInput: a value is NaN, or the vocabulary has fewer than two entries.
    """
    logprobs, entropies = np.asarray(logprobs, dtype=np.float64), np.asarray(entropies, dtype=np.float64)
    if vocabulary < 2:
        raise BadInput(f"a vocabulary should have at least 2 entries, not {vocabulary}")
    if np.isnan(logprobs).any() or np.isnan(entropies).any():
        raise BadInput("a logit is NaN; the model does not compute (float16 overflows: use bfloat16 or float32)")
    with np.errstate(divide="ignore"):
        losses = -np.logaddexp(logprobs, np.log(clamp))
    tokens = np.maximum(0.0, 1.0 - entropies / np.log(vocabulary) ** beta) / (1.0 + np.exp(-losses))
    return Difficulty(float(tokens.mean()) if len(tokens) else 0.0, losses, entropies, tokens)


def difficulty_of_logits(
    logits: Any,
    token_ids: Any,
    prompt_length: int,
    *,
    vocabulary: int | None = None,
    clamp: float = CLAMP,
    beta: float = 1.0,
) -> Difficulty:
    """UPD of one sequence from its logits: row t - 1 predicts token t; the first ``prompt_length`` are the prompt.

    Args:
        logits: (T, V) logits, in float64 here.
        token_ids: (T,) token ids of prompt and response.
        prompt_length: tokens of the prompt; without one, scoring begins at the second token, for none predicts the
            first.
        vocabulary: entries of the vocabulary; None is V.
        clamp: added to the probability in the loss.
        beta: exponent of ln V.

    Raises:
        BadInput: a logit is NaN, a token is not in the vocabulary, or lengths differ.
    """
    L, ids = np.asarray(logits, dtype=np.float64), np.asarray(token_ids, dtype=np.int64)
    if L.ndim != 2 or len(L) != len(ids):
        raise BadInput(f"logits of shape {L.shape} for {len(ids)} tokens; there should be one row a token")
    if len(ids) and not (ids.min() >= 0 and ids.max() < L.shape[1]):
        raise BadInput(f"a token id is outside the vocabulary of {L.shape[1]}")
    places = np.arange(max(1, prompt_length), len(ids))
    rows = L[places - 1]
    if np.isnan(rows).any() or np.isposinf(rows).any():
        raise BadInput("a logit is NaN or infinite; the model does not compute")
    with np.errstate(invalid="ignore"):
        shifted = rows - rows.max(axis=1, keepdims=True, initial=-np.inf)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    entropies = -(np.exp(log_p) * np.maximum(log_p, np.finfo(np.float64).min)).sum(axis=1)
    size = L.shape[1] if vocabulary is None else vocabulary
    return prediction_difficulty(log_p[np.arange(len(places)), ids[places]], entropies, size, clamp=clamp, beta=beta)


@dataclass(eq=False)
class UPDQuality(ModelQuality):
    """Uncertainty-based prediction difficulty: how wrong the model is where it is sure, in [0, 1].

    Empty responses score 0. Never choose by it alone: what is confidently contradicted is often a wrong label. Source:
    D3 (2025), uncertainty-based prediction difficulty.

    Further options are those of :class:`~polyculture.quality.language_model.ModelQuality`.

    Args:
        beta: exponent of ln V, by which entropies are scaled.
    """

    beta: float = 1.0
    uses_entropy: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """What reports call it."""
        return "upd"

    def of(self, reading: Reading) -> float:
        """The mean difficulty of the tokens."""
        return prediction_difficulty(reading.logprobs, reading.entropies, reading.vocabulary, beta=self.beta).score


@dataclass(eq=False)
class PredictionDifficultyQuality(ModelQuality):
    """Prediction difficulty without uncertainty: the mean loss of the response, in nats a token; 0 for an empty one.

    The baseline that chooses the responses the model finds least probable. Source: D3 (2025), baselines.

    The options are those of :class:`~polyculture.quality.language_model.ModelQuality`.
    """

    @property
    def name(self) -> str:
        """What reports call it."""
        return "prediction-difficulty"

    def of(self, reading: Reading) -> float:
        """The mean loss."""
        return -mean_logprob(reading) if len(reading.logprobs) else 0.0


@dataclass(eq=False)
class IFDQuality(ModelQuality):
    """Instruction-following difficulty: loss of the response after its prompt over its loss without.

    An empty response scores 0. Near 1 the prompt hardly helps, near 0 it says everything; at ``ceiling`` and beyond it
    misleads, and the row is set to 0. Without a begin-of-sequence token the bare response follows an end-of-sequence
    token. Source: From Quantity to Quality (2023), Eqs 2 to 4.

    Further options are those of :class:`~polyculture.quality.language_model.ModelQuality`.

    Args:
        ratio: of losses ("loss", the paper), or of their exponentials ("perplexity", the released code).
        ceiling: ratios from here on score 0; none keeps them.
    """

    ratio: Literal["loss", "perplexity"] = "loss"
    ceiling: float | None = 1.0
    uses_bare: ClassVar[bool] = True

    @classmethod
    def test_params(cls) -> dict[str, Any]:
        """Options to try it with: without prompts every ratio is 1, so nothing is set to 0."""
        return {**super().test_params(), "ceiling": None}

    @property
    def name(self) -> str:
        """What reports call it."""
        return "ifd"

    def of(self, reading: Reading) -> float:
        """The ratio of the two losses."""
        if self.ratio not in ("loss", "perplexity"):
            raise unknown("ratio", self.ratio, ("loss", "perplexity"))
        if not len(reading.logprobs):
            return 0.0
        after, bare = -float(reading.logprobs.mean()), -float(reading.bare.mean())
        if self.ratio == "perplexity":
            value = float(np.exp(min(after - bare, 700.0)))
        else:
            value = after / max(bare, float(np.finfo(np.float32).tiny))
        return 0.0 if self.ceiling is not None and value >= self.ceiling else value
