"""What a comparison of policies found: the policies, claims with verdicts, and of a study its control and stages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from polyculture.files import plain
from polyculture.studies.intervals import Estimate
from polyculture.studies.policy_comparison import Claim, Place, Policy


@dataclass(frozen=True)
class Found:
    """What the study found, or a comparison of outputs that were there.

    Args:
        policies: by name, SFT or what the others are compared with first.
        claims: the paper's, of one RL policy, or of every policy but the first.
        rl: which one: as good as best-of-n; None where every policy is compared with the first.
        control: name of the control, and what it differs by from SFT.
        judge: what counted the wins.
        reward_accuracy: share of held-out preferences that the reward model has right.
        stages: name -> its summary.
        reused: stages that were there already.
        notes: what a reader must know.
        examples: a few test prompts with every policy's outputs.
    """

    policies: dict[str, Policy]
    claims: list[Claim]
    rl: str | None
    control: tuple[str, dict[str, Estimate]] | None
    judge: str
    reward_accuracy: float | None
    stages: dict[str, dict[str, Any]]
    reused: list[str]
    notes: list[str]
    examples: list[tuple[str, dict[str, list[str]]]]

    @property
    def first(self) -> str:
        """What the others are compared with."""
        return next(iter(self.policies))

    @property
    def places(self) -> list[Place]:
        """In distribution, and out of it where there are shifted prompts."""
        return list(self.policies[self.first].measured)

    def to_dict(self) -> dict[str, Any]:
        """The study as JSON-able values."""
        policies = {
            name: {
                "kl": p.kl,
                "coefficient": p.coefficient,
                "gap": p.gap,
                **{place: held.to_dict() for place, held in p.measured.items()},
            }
            for name, p in self.policies.items()
        }
        control = None
        if self.control is not None:
            control = {"policy": self.control[0], "differences": {k: vars(v) for k, v in self.control[1].items()}}
        claims = [{"claim": c.text, "difference": vars(c.difference), "holds": c.verdict} for c in self.claims]
        told = {name: {k: v for k, v in held.items() if k != "log"} for name, held in self.stages.items()}
        found: dict[str, Any] = plain(
            {
                "policies": policies,
                "claims": claims,
                "compared_at_equal_quality": self.rl,
                "control": control,
                "judge": self.judge,
                "reward_accuracy": self.reward_accuracy,
                "stages": told,
                "notes": self.notes,
            }
        )
        return found
