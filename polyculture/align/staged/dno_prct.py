"""DNO-Prct: how a policy is trained on pairs of its own judged samples; polyculture.align.staged.iterated does it.

Direct Nash Optimization (2024, arXiv:2404.03715), Algorithm 2 and section 5.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

import numpy as np

from polyculture.align.inputs import Kind
from polyculture.align.objective import Objective
from polyculture.align.objectives.bounds import positive
from polyculture.align.staged.judged_pairs import PairRule, Scores, with_replay
from polyculture.errors import BadInput, unknown
from polyculture.files import plain
from polyculture.llm.base import Sampling

VARIANTS = {"prct": "all", "restrictive": "teacher-wins", "spin": "spin"}


@dataclass(frozen=True)
class DNOPrct:
    """Iterated contrastive learning from the policy's own judged samples, towards a Nash equilibrium of preferences.

    Each iteration samples from the current policy on prompts that no other iteration sees, adds the data's own answer
    as the teacher's, has all judged side by side, keeps the pairs with a clear winner, adds some of earlier ones, and
    trains on -ln sigmoid(eta Delta) with the current policy as reference. Source: Direct Nash Optimization (2024),
    Algorithm 2. To compare, train the objective dpo from the first model on the pairs of all iterations
    (:func:`polyculture.align.staged.iteration_pairs.pooled_pairs`, DNO-Lookahead), or on pairs that do not change.

    Args:
        judge: what scores candidates: "llm:MODEL" (a rubric of 6 points), "pairwise:python:module:function",
            "python:module:function", or the name of a quality.
        eta: scale of the log-ratios.
        iterations: T; the prompts are divided among them.
        samples: K, completions of the policy a prompt.
        temperature: of the samples.
        top_p: nucleus of the samples.
        max_new_tokens: of a sample; one that is cut there can't win.
        variant: "prct"; "restrictive", only pairs that the teacher wins; "spin", the teacher beats every sample.
        min_positive: least score of a winner, in points.
        margin_teacher: by how many points the teacher must be better than whom it beats.
        margin_student: by how many points a sample must be better than whom it beats.
        points: "as-given", scores are points from 0 to 6; "ranked", scores are brought to 0 to 6 by their rank among
            all of the iteration's; "auto": as given by a rubric or a pairwise judge, ranked otherwise.
        replay: share of the last iteration's pairs among all; halved with each iteration further back.
        validation: most held-out prompts on which the iterates are compared; 0 does not compare.

    Raises:
        BadInput: a number is out of range.
        UnknownMethod: there is no such variant or way to count points.
    """

    kind: ClassVar[Kind] = "samples"
    judge: str | Scores = "heuristic"
    eta: float = 0.1
    iterations: int = 3
    samples: int = 5
    temperature: float = 0.7
    top_p: float = 0.95
    max_new_tokens: int = 256
    variant: Literal["prct", "restrictive", "spin"] = "prct"
    min_positive: float = 5.0
    margin_teacher: float = 2.0
    margin_student: float = 1.0
    points: Literal["auto", "as-given", "ranked"] = "auto"
    replay: float = 0.30
    validation: int = 200

    def __post_init__(self) -> None:
        for name, least in (("iterations", 1), ("samples", 1), ("max_new_tokens", 1), ("validation", 0)):
            if getattr(self, name) < least:
                raise BadInput(f"dno-prct: {name} should be at least {least}, not {getattr(self, name)}")
        if self.variant not in VARIANTS:
            raise unknown("variant of dno-prct", self.variant, VARIANTS)
        if self.points not in ("auto", "as-given", "ranked"):
            raise unknown("way to count points", self.points, ("auto", "as-given", "ranked"))
        positive("eta", self.eta, "dno-prct")
        _ = self.rule, self.sampling
        with_replay([], [], np.random.default_rng(0), share=self.replay)

    @property
    def objective(self) -> Objective:
        """What each iteration trains: the contrastive loss."""
        from polyculture.align.objectives.dno import dno_prct_loss

        return Objective.of(dno_prct_loss, eta=self.eta)

    @property
    def rule(self) -> PairRule:
        """Which pairs are kept."""
        keep: Any = VARIANTS[self.variant]
        return PairRule(self.min_positive, self.margin_teacher, self.margin_student, keep)

    @property
    def sampling(self) -> Sampling:
        """How candidates are sampled."""
        return Sampling(max_tokens=self.max_new_tokens, temperature=self.temperature, top_p=self.top_p)

    @property
    def ranked(self) -> bool:
        """Whether scores are turned into points by their rank."""
        rubric = isinstance(self.judge, str) and self.judge.startswith(("llm:", "pairwise:"))
        return self.points == "ranked" or (self.points == "auto" and not rubric)

    def settings(self) -> dict[str, Any]:
        """All of it in plain values."""
        held = {one.name: getattr(self, one.name) for one in fields(self)}
        held["judge"] = self.judge if isinstance(self.judge, str) else type(self.judge).__name__
        found: dict[str, Any] = plain(held)
        return found
