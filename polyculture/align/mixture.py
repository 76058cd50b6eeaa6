"""Weighted sums of objectives, such as MPO's .8 DPO + .2 BCO + 1 SFT (Wang et al., 2024)."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from polyculture.align.inputs import REFERENCE, VOCABULARY, Kind
from polyculture.align.objective import Objective
from polyculture.align.traits import Traits
from polyculture.errors import BadInput, unknown
from polyculture.methods import parameters


@dataclass(frozen=True)
class Mixture:
    """A weighted sum of objectives on one kind of data; it is used like an :class:`Objective`.

    Args:
        parts: weights and objectives.

    Raises:
        BadInput: there is none, a weight is not a number above 0, or the objectives train on different kinds of data.
    """

    parts: tuple[tuple[float, Objective], ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise BadInput("a mixture needs at least one objective")
        for weight, part in self.parts:
            if not 0 < weight < float("inf"):
                raise BadInput(f"the weight of {part.name} should be above 0, not {weight}")
        _ = self.kind

    @property
    def name(self) -> str:
        """To show: ``0.8*dpo+0.2*bco-pair``."""
        return "+".join(f"{weight:g}*{part.name}" for weight, part in self.parts)

    @property
    def hyper(self) -> dict[str, Any]:
        """Hyper-parameters that were given, named after their objective: ``dpo.beta``."""
        return {f"{part.name}.{name}": value for _, part in self.parts for name, value in part.hyper.items()}

    @functools.cached_property
    def needs(self) -> tuple[str, ...]:
        """The inputs of all of them."""
        return tuple(dict.fromkeys(name for _, part in self.parts for name in part.needs))

    @property
    def traits(self) -> Traits:
        """What holds of the sum; its losses are per pair, those of a part that is per token being made so."""
        each = [part.traits for _, part in self.parts]
        return Traits(
            of_difference=all(one.of_difference for one in each),
            batch_coupled=any(one.batch_coupled for one in each),
        )

    @property
    def kind(self) -> Kind:
        """The data that it trains on; demonstrations are in pairs too.

        Raises:
            BadInput: its objectives' kinds differ.
        """
        kinds = {part.kind: part.name for _, part in self.parts}
        if "pairs" in kinds:
            kinds.pop("demonstrations", None)
        if len(kinds) > 1:
            raise BadInput(
                "the objectives of a mixture train on one kind of data, but "
                + ", ".join(f"{name} is of {kind}" for kind, name in kinds.items())
            )
        return next(iter(kinds))

    @property
    def columns(self) -> tuple[str, ...]:
        """Inputs that are columns of the data."""
        return tuple(dict.fromkeys(name for _, part in self.parts for name in part.columns))

    @property
    def needs_reference(self) -> bool:
        """Whether the reference model's log-probabilities are among the inputs."""
        return bool(REFERENCE & set(self.needs))

    @property
    def needs_vocabulary(self) -> bool:
        """Whether one needs the reference's probabilities of every token."""
        return bool(VOCABULARY & set(self.needs))

    def __call__(self, given: Mapping[str, Tensor]) -> Tensor:
        """One loss an example, whose mean is :meth:`total` of this batch alone.

        Args:
            given: inputs by name; more than it needs may be given.

        Raises:
            BadInput: one that it needs is missing.
        """
        losses = []
        for weight, part in self.parts:
            loss = part(given)
            if part.traits.per == "token":
                loss = loss * (len(loss) / given["tokens_chosen"].sum().clamp(min=1))
            losses.append(weight * loss)
        return torch.stack(losses).sum(dim=0)

    def total(
        self, given: Mapping[str, Tensor], n_items: float, n_tokens: float, *, weights: Tensor | None = None
    ) -> Tensor:
        """What to minimise, a scalar: each part's total, by its own count, times its weight.

        Args:
            given: inputs by name.
            n_items: examples in the step.
            n_tokens: tokens of the step's chosen completions.
            weights: (B,) what each example's losses are multiplied by.

        Raises:
            BadInput: an input is missing, or weights are given to a part whose examples depend on each other.
        """
        totals = [weight * part.total(given, n_items, n_tokens, weights=weights) for weight, part in self.parts]
        return torch.stack(totals).sum()

    def rewards(self, given: Mapping[str, Tensor]) -> tuple[Tensor, Tensor] | None:
        """The implicit rewards of the first part that has any.

        Args:
            given: inputs by name.
        """
        found = (part.rewards(given) for _, part in self.parts)
        return next((rewards for rewards in found if rewards is not None), None)


def parse_objective(text: str, **hyper: Any) -> Objective | Mixture:
    """Read ``"dpo"``, ``"python:module:function"`` or a mixture of such: ``"0.8*dpo + 0.2*bco-pair + sft"``.

    Args:
        text: objectives joined by "+", each with its weight and "*" before it, or without for 1.
        hyper: hyper-parameters; each reaches every objective that has one of that name.

    Raises:
        UnknownMethod: there is no such objective, or no objective of the text has such a hyper-parameter.
        BadInput: the text can't be read, a value can't be, or the objectives train on different kinds of data.
    """
    named = [_weighted(part.strip(), text) for part in re.split(r"(?<!\de)\+", text)]
    known = [set(parameters(Objective.of(name).loss)) for _, name in named]
    options = {name.replace("-", "_"): value for name, value in hyper.items()}
    for option in options:
        if not any(option in own for own in known):
            raise unknown(f"option of objective '{text}'", option, set().union(*known))
    parts = tuple(
        (weight, Objective.of(name, **{option: value for option, value in options.items() if option in own}))
        for (weight, name), own in zip(named, known, strict=True)
    )
    return parts[0][1] if len(parts) == 1 and parts[0][0] == 1 else Mixture(parts)


def _weighted(part: str, text: str) -> tuple[float, str]:
    weight, times, name = part.rpartition("*")
    try:
        number = float(weight) if times else 1.0
    except ValueError:
        number = float("nan")
    if not name.strip() or number != number:
        raise BadInput(f"objective '{text}': can't read '{part}'; it should read weight*name, such as 0.8*dpo+0.2*sft")
    return number, name.strip()
