"""The judge of iterative kMQ with a real model: fine-tuned on what was chosen, then held against the gold answers.

Diversify and Conquer: Diversity-Centric Data Selection with Iterative Refinement (2024), Section 2.4 and Algorithm 1.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from polyculture.errors import BadInput, unknown
from polyculture.llm.base import LLM, Prompt, Sampling
from polyculture.llm.fine_tuning import FineTuning
from polyculture.llm.transformers import TransformersLLM
from polyculture.pool import Pool
from polyculture.quality.dependability import DependabilityQuality
from polyculture.quality.difficulty import PredictionDifficultyQuality
from polyculture.quality.pairs import Pair, pairs

Reward = Callable[[list[Prompt], list[str]], Any]
"""How good each response is to its prompt, (m,) numbers, higher is better: the ``score`` of any reward model."""


@dataclass(eq=False)
class ModelJudge:
    """Rows chosen so far to gaps: tune the base model on them, let it answer their prompts, compare (Eq 4).

    ``generated_`` and ``tuned_`` hold the answers and the model of the last call. With scorer "perplexity" a gap is
    the gold answer's loss under the tuned model less that of its own answer: large where the gold answer still
    surprises it. Garbage surprises too, so a reward is the better scorer where there is one. Greedy answers. Source:
    Diversify and Conquer (2024), Section 2.4.

    Args:
        pool: rows with prompts and responses.
        base: the model; it is left as it was, and each call begins with it anew.
        recipe: how it is tuned.
        scorer: "perplexity", "llm" for the grade of ``grader``, or a reward.
        grader: the language model that grades, for "llm".
        prompt: column of prompts.
        response: column of gold answers.
        max_new_tokens: most tokens of an answer.
    """

    pool: Pool
    base: TransformersLLM
    recipe: FineTuning = field(default_factory=FineTuning)
    scorer: str | Reward = "perplexity"
    grader: str | LLM | None = None
    prompt: str | None = "prompt"
    response: str | None = "response"
    max_new_tokens: int = 256

    def __post_init__(self) -> None:
        if isinstance(self.scorer, str) and self.scorer not in ("perplexity", "llm"):
            from polyculture.functions import PREFIX, named_function

            if not self.scorer.startswith(PREFIX):
                raise unknown("scorer of answers", self.scorer, ("perplexity", "llm", "python:module:function"))
            self.scorer = named_function(self.scorer)
        if self.scorer == "llm" and self.grader is None:
            raise BadInput("scorer 'llm' needs a grader: name a language model with --grader")
        for _ in pairs(self.pool, self.prompt, self.response):
            pass  # a row without prompt or response is said before anything is trained

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Gap of each row, (m,): score of the gold answer less score of the model's.

        Raises:
            BadInput: no prompt fits the model's context, or the scorer gave something else than a finite number a row.
        """
        held = list(pairs(self.pool.take(rows), self.prompt, self.response))
        self.tuned_ = self.recipe.tune(self.base, held)
        context = self.base.context or 2**31
        fits = np.array([not prompt or len(self.base.prompt_ids(prompt)) < context for prompt, _ in held])
        asked = [pair for pair, fit in zip(held, fits, strict=True) if fit]
        if not asked:
            raise BadInput(f"no prompt fits the {context} tokens that {self.base.name} takes")
        if len(asked) < len(held):
            warnings.warn(
                f"{len(held) - len(asked)} of {len(held)} prompts do not fit the {context} tokens the model takes; "
                "their gap is taken to be that of the others on average",
                stacklevel=2,
            )
        sampling = Sampling(max_tokens=self.max_new_tokens, temperature=0.0)
        answers = self.tuned_.generate([prompt for prompt, _ in asked], sampling=sampling, seed=0)
        self.generated_ = [completion.text for (completion,) in answers]
        written = [(prompt, text) for (prompt, _), text in zip(asked, self.generated_, strict=True)]
        gaps = self._score(asked) - self._score(written)
        found = np.full(len(held), gaps.mean())
        found[fits] = gaps
        return found

    def _score(self, held: Sequence[Pair]) -> np.ndarray:
        if self.scorer == "perplexity":
            memory = PredictionDifficultyQuality(
                (self.tuned_.model, self.tuned_.tokenizer), chat=self.base.chat, batch_size=self.base.batch_size
            )
            return memory.score_pairs(held)
        if self.scorer == "llm":
            assert self.grader is not None
            return DependabilityQuality(self.grader).score_pairs(held)
        assert callable(self.scorer)
        prompts, responses = [prompt for prompt, _ in held], [response for _, response in held]
        scores = np.asarray(self.scorer(prompts, responses), dtype=np.float64)
        if scores.shape != (len(held),) or not np.isfinite(scores).all():
            raise BadInput(f"the reward should give {len(held)} finite numbers, one a response; it gave {scores.shape}")
        return scores
