"""Ratings of texts on many axes, as a language model gives them when asked.

Learning from the Best, Differently: A Diversity-Driven Rethinking on Data Selection (ODiS, 2025), annotation.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from polyculture.errors import BadInput, unknown
from polyculture.llm.base import LLM, Sampling
from polyculture.pool import Pool
from polyculture.quality.judge import SHORT, Judged, first_number
from polyculture.quality.pairs import blocks

BLOCK_TEXTS = 1024
"""Texts that a judge is asked about in one call."""

ON_ONE_AXIS = """Rate the text on {name}: {definition}

Text:
{text}

Reply with one number from {low:g} (lowest) to {high:g} (highest), and nothing else."""


@dataclass(frozen=True)
class Axis:
    """One thing to rate texts on.

    Args:
        name: what it is called.
        definition: what the judge is told it means.
    """

    name: str
    definition: str


AXES = (
    Axis("fluency", "how natural, grammatical and easy to read the language is"),
    Axis("coherence", "how well the sentences follow from one another and form a whole"),
    Axis("knowledge", "how much knowledge it conveys that is worth learning"),
    Axis("accuracy", "how correct and trustworthy what it states is"),
    Axis("difficulty", "how much education or reasoning it takes to follow it"),
    Axis("information", "how much it says for its length, without filler or repetition"),
)
"""Axes for the four groups the paper names (language, knowledge, difficulty, information); its eleven aren't public."""


@dataclass(eq=False)
class Ratings:
    """Rates texts on several axes by asking a language model.

    Each axis is asked on its own; a reply without a number is asked for once more, with another seed. Source: ODiS
    (2025), annotation; the wording is this library's.

    Args:
        llm: the judge.
        axes: what to rate.
        low: lowest rating.
        high: highest rating.
        attempts: most times a rating is asked for.
        seed: seed of the replies.
    """

    llm: LLM
    axes: Sequence[Axis] = AXES
    low: float = 0.0
    high: float = 10.0
    attempts: int = 2
    seed: int = 0
    sampling: Sampling = SHORT

    def rate(self, texts: Sequence[str]) -> np.ndarray:
        """Ratings, (n, axes) float64; a text that was never given a number on an axis has NaN there.

        Raises:
            BadInput: there is no axis, or the scale is empty.
        """
        if not self.axes or not self.low < self.high or self.attempts < 1:
            raise BadInput("ratings need at least one axis, low below high, and an attempt or more")
        distinct = list(dict.fromkeys(texts))
        found = np.full((len(distinct), len(self.axes)), np.nan)
        for attempt in range(self.attempts):
            waiting = np.argwhere(np.isnan(found))
            if not len(waiting):
                break
            asked = [self._question(distinct[i], self.axes[a]) for i, a in waiting]
            replies = self.llm.generate(asked, sampling=self.sampling, seed=self.seed + attempt)
            for (i, a), (reply,) in zip(waiting, replies, strict=True):
                number = first_number(reply.text, self.low, self.high)
                found[i, a] = np.nan if number is None else number
        place = {text: i for i, text in enumerate(distinct)}
        return found[[place[text] for text in texts]] if len(texts) else found

    def _question(self, text: str, axis: Axis) -> str:
        return ON_ONE_AXIS.format(name=axis.name, definition=axis.definition, text=text, low=self.low, high=self.high)


@dataclass(eq=False)
class RatingsQuality(Judged):
    """Mean of a language model's ratings of the text on several axes, from 0 to 10.

    The plain average of correlated raters, which keeps returning one kind of text; ``odis`` selects by the same
    ratings without that. A text without a rating on some axis is averaged over the others, one without any scores 0,
    and a warning says how many. Source: ODiS (2025), baselines.

    Args:
        model: the judge: a path or hub id, http://host:port/v1#MODEL, scripted:FILE.json, or a language model.
        axes: names of axes, with commas between, "name=definition" for one of your own; none is the built-in six.
        seed: seed of the replies.
    """

    model: str | LLM
    axes: tuple[str, ...] | None = None
    seed: int = 0

    @property
    def name(self) -> str:
        """What reports call it."""
        return "ratings"

    def score(self, pool: Pool) -> np.ndarray:
        """One score a row, (n,) float64."""
        pool.need("texts")
        rates = Ratings(self.llm, axes_of(self.axes), seed=self.seed)
        held = [rates.rate(block) for block in blocks(pool.texts or (), BLOCK_TEXTS)]
        ratings = np.concatenate([np.zeros((0, len(rates.axes))), *held])
        rated = ~np.isnan(ratings)
        if not rated.all():
            warnings.warn(
                f"{int((~rated).any(axis=1).sum())} of {len(ratings)} texts lack a rating on some axis: "
                f"{self.llm.name} gave no number for it, twice",
                stacklevel=2,
            )
        return np.where(rated, ratings, 0.0).sum(axis=1) / np.maximum(rated.sum(axis=1), 1)


def axes_of(names: Sequence[str] | None) -> tuple[Axis, ...]:
    """Axes by name, or "name=definition" for new ones; None is the built-in ones.

    >>> axes_of(["fluency", "humour=how funny it is"])[1]
    Axis(name='humour', definition='how funny it is')
    """
    if names is None:
        return AXES
    known = {axis.name: axis for axis in AXES}
    found = []
    for name in names:
        word, equals, definition = (part.strip() for part in name.partition("="))
        if not equals and word not in known:
            raise unknown("axis", word, (*known, "name=definition"))
        found.append(Axis(word, definition) if equals else known[word])
    return tuple(found)
