"""How clearly a proxy reward tells the chosen response of a pair from the rejected one.

Automated Filtering of Human Feedback Data for Aligning Text-to-Image Diffusion Models (FiFA, 2024), preference margin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from polyculture.errors import BadInput
from polyculture.pool import Pool
from polyculture.quality.base import Scorer, make_scorer
from polyculture.quality.columns import numbers
from polyculture.quality.pairs import Pair, pairs
from polyculture.records import ArrowRows, Texts


@dataclass(eq=False)
class RewardMarginQuality:
    """Reward of the chosen response minus reward of the rejected one: m = r(c, x_w) - r(c, x_l).

    Signed: below zero the proxy contradicts the human label, so the pair is probably mislabelled. The reward is any
    scorer of texts; it is given the prompt and the response joined by a blank line, and, where it reads columns itself,
    records with "prompt" and "response". Source: FiFA (2024), preference margin.

    Args:
        reward: the proxy: a scorer's name, python:MODULE:FUNCTION of a list of texts, a scorer, or a function;
            none reads rewards that are there already: then chosen and rejected are columns of numbers.
        prompt: column of prompts (texts or chat messages); none scores responses alone.
        chosen: column of the preferred response; none is the pool's text.
        rejected: column of the other response; none takes no reward off: the reward of the chosen response alone.
        absolute: whether the sign is dropped. This ranks confidently mislabelled pairs first.
    """

    reward: str | Scorer | Callable[[list[str]], Any] | None = "heuristic"
    prompt: str | None = "prompt"
    chosen: str | None = "chosen"
    rejected: str | None = "rejected"
    absolute: bool = False

    @property
    def name(self) -> str:
        """What reports call it."""
        return "reward-margin"

    @classmethod
    def test_params(cls) -> dict[str, Any]:
        """Options to try it with: pools of texts without columns."""
        return {"prompt": None, "chosen": None, "rejected": None}

    def score(self, pool: Pool) -> np.ndarray:
        """One margin a row, (n,) float64.

        Raises:
            BadInput: a column is missing, or a reward is not a finite number.
        """
        chosen, rejected = self.rewards(pool)
        margin = chosen - rejected
        return np.abs(margin) if self.absolute else margin

    def rewards(self, pool: Pool) -> tuple[np.ndarray, np.ndarray]:
        """Rewards of the chosen and of the rejected responses, (n,) float64 each; the latter 0 where there are none."""
        if self.reward is None:
            if self.chosen is None:
                raise BadInput("without a reward, chosen should name a column of rewards")
            names = [self.chosen] if self.rejected is None else [self.chosen, self.rejected]
            held = numbers(pool, names, option="chosen and rejected")
            return held[:, 0], held[:, 1] if self.rejected is not None else np.zeros(len(pool))
        proxy = make_scorer(self.reward)
        chosen = self._reward(proxy, pool, self.chosen)
        return chosen, np.zeros(len(pool)) if self.rejected is None else self._reward(proxy, pool, self.rejected)

    def _reward(self, proxy: Scorer, pool: Pool, response: str | None) -> np.ndarray:
        rows: Iterator[Pair] = pairs(pool, self.prompt, response)
        asked, answers = [], []
        for before, answer in rows:
            asked.append(before if isinstance(before, str) else "\n".join(turn["content"] for turn in before))
            answers.append(answer)
        joined = [f"{a}\n\n{b}" if a else b for a, b in zip(asked, answers, strict=True)]
        table = pa.table(
            {"prompt": pa.array(asked, pa.large_string()), "response": pa.array(answers, pa.large_string())}
        )
        given = Pool(ArrowRows(table), Texts(joined), source=pool.source)
        scores = np.asarray(proxy.score(given), dtype=np.float64)
        if scores.shape != (len(pool),) or not np.isfinite(scores).all():
            raise BadInput(f"reward '{proxy.name}' should give {len(pool)} finite numbers for column '{response}'")
        return scores
