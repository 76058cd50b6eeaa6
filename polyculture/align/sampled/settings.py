"""Settings of training on a policy's own samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from polyculture.align.inputs import Kind
from polyculture.align.objective import Objective
from polyculture.align.sampled.targets import Target
from polyculture.errors import BadInput, unknown
from polyculture.methods import parameters, parse


@dataclass(frozen=True)
class Sampled:
    """How a policy is trained on its samples.

    Args:
        target: what it is drawn to, see :func:`polyculture.align.sampled.targets.make_target`:
            ``constraint:python:module:function``, ``reward:QUALITY``, ``reward:python:module:function`` or
            ``moments:python:module:function=0.5,0.2``.
        beta: of a reward target, how dear it is to leave the base model.
        eps: of a constraint, what is left of the base model's probability where it does not hold.
        samples: completions a prompt and step; the authors' toolkit takes 1024.
        max_new_tokens: of a completion.
        window: how many of the last pseudo-rewards the baseline is the mean of; 0 is no baseline.
        proposal: sample from the "policy" as it is, or "offline", from a copy of it.
        refresh_every: steps after which the copy is replaced by the policy if that is nearer to the target.
        at_once: sequences computed together.

    Raises:
        BadInput: a number is out of range.
    """

    target: str | Target = "reward:heuristic"
    beta: float = 1.0
    eps: float = 0.0
    samples: int = 64
    max_new_tokens: int = 128
    window: int = 1024
    proposal: Literal["policy", "offline"] = "policy"
    refresh_every: int = 16
    at_once: int = 32

    def __post_init__(self) -> None:
        for name in ("samples", "max_new_tokens", "refresh_every", "at_once"):
            if getattr(self, name) < 1:
                raise BadInput(f"sampled: {name} should be at least 1, not {getattr(self, name)}")

    @classmethod
    def out_of(cls, hyper: Mapping[str, Any]) -> tuple[Sampled, dict[str, Any]]:
        """The settings that are among hyper-parameters, and what else is there: the objective's own.

        Args:
            hyper: by name, with "-" or "_"; strings are read as the annotated type.

        Raises:
            BadInput: a value can't be read.
        """
        known = parameters(cls)
        own: dict[str, Any] = {}
        rest: dict[str, Any] = {}
        for key, value in hyper.items():
            name = key.replace("-", "_")
            if name in known:
                own[name] = parse(value, known[name].annotation, name) if isinstance(value, str) else value
            else:
                rest[key] = value
        return cls(**own), rest


@dataclass(frozen=True)
class FDPG(Sampled):
    """f-DPG: draw the policy to a target distribution by policy gradients on an f-divergence, from its own samples.

    The target is the model as it was, tilted by a constraint, by wanted averages of features, or by a reward; rows of
    data are prompts. Source: Aligning Language Models with Preferences through f-divergence Minimization (2023,
    arXiv:2302.08215).

    Args:
        divergence: from the target: forward_kl (keeps what is diverse in it), reverse_kl (keeps to what is wanted), js
            (between them), tv, chi2_p_pi or chi2_pi_p. reverse_kl and chi2_pi_p need eps with a constraint.

    Raises:
        BadInput: a number is out of range.
        UnknownMethod: there is no such divergence.
    """

    kind: ClassVar[Kind] = "samples"
    divergence: Literal["forward_kl", "reverse_kl", "tv", "js", "chi2_p_pi", "chi2_pi_p"] = "js"

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.objective

    @property
    def objective(self) -> Objective:
        """The loss of the samples.

        Raises:
            UnknownMethod: there is no such divergence.
        """
        from polyculture.align.objectives.f_dpg import DERIVATIVES, f_dpg_loss

        if self.divergence not in DERIVATIVES:
            raise unknown("divergence", self.divergence, DERIVATIVES)
        return Objective.of(f_dpg_loss, divergence=self.divergence)
