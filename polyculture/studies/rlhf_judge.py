"""Judges: what scores an answer beside the reference answer, so that wins can be counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from polyculture.align.watching.measures import Reward
from polyculture.studies.preference_reward import RewardModel
from polyculture.studies.rlhf_data import Inputs

Judge = Callable[[Inputs, Sequence[int], Sequence[str], Sequence[list[int]]], np.ndarray]
"""Test inputs, which of them each answer belongs to, the answers as text and as token ids -> a score each."""


def by_model(model: RewardModel) -> Judge:
    """A reward model as a judge, which reads token ids.

    Args:
        model: of the policies' tokenizer.
    """

    def judge(given: Inputs, which: Sequence[int], texts: Sequence[str], ids: Sequence[list[int]]) -> np.ndarray:
        return model.score([given.ids[i] for i in which], ids)

    return judge


def by_text(reward: Reward) -> Judge:
    """A reward of prompts and answers as a judge.

    Args:
        reward: see polyculture.align.watching.measures.make_reward.
    """

    def judge(given: Inputs, which: Sequence[int], texts: Sequence[str], ids: Sequence[list[int]]) -> np.ndarray:
        return reward([given.prompts[i] for i in which], texts)

    return judge
