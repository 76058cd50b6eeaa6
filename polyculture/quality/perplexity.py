"""Perplexity and its kin: how probable a language model finds a response."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from polyculture.quality.language_model import ModelQuality, Reading


@dataclass(eq=False)
class PerplexityQuality(ModelQuality):
    """Minus the perplexity of the response after its prompt, exp of the mean loss: -1 at best, -V for chance.

    An empty response scores as chance does, -V with V the size of the vocabulary. Source: Jelinek et al. (1977).

    The options are those of :class:`~polyculture.quality.language_model.ModelQuality`.
    """

    @property
    def name(self) -> str:
        """What reports call it."""
        return "perplexity"

    def of(self, reading: Reading) -> float:
        """Minus exp of the mean loss; never below the lowest finite number."""
        return float(-np.exp(min(-mean_logprob(reading), 700.0)))


@dataclass(eq=False)
class LogLikelihoodQuality(ModelQuality):
    """Mean log-probability of the response's tokens after its prompt, in nats: 0 at best, -ln V for chance.

    Minus the negative log-likelihood per token. An empty response scores as chance does.

    The options are those of :class:`~polyculture.quality.language_model.ModelQuality`.
    """

    @property
    def name(self) -> str:
        """What reports call it."""
        return "log-likelihood"

    def of(self, reading: Reading) -> float:
        """The mean of the log-probabilities."""
        return mean_logprob(reading)


def mean_logprob(reading: Reading) -> float:
    """Mean log-probability a token in nats; -ln V for an empty response."""
    return float(reading.logprobs.mean()) if len(reading.logprobs) else -float(np.log(reading.vocabulary))
