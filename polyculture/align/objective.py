"""What an objective is: a function of log-probabilities, whose arguments' names say what it needs.

A loss takes one tensor an input, one entry an example, and returns one loss an example::

    def my_loss(policy_chosen, policy_rejected, ref_chosen, ref_rejected, *, beta: float = 0.1):
        return -logsigmoid(beta * ((policy_chosen - ref_chosen) - (policy_rejected - ref_rejected)))

That is all: ``Objective.of(my_loss)`` reads from the names that it needs pairs and a reference, the trainer provides
them, and the command line offers ``--beta``. :data:`polyculture.align.inputs.INPUTS` lists the names there are; any
other argument without a default is a column of numbers in the data. Arguments with a default are hyper-parameters.
What the names can't say, the decorator :func:`polyculture.align.traits.traits` does.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from polyculture.align.inputs import INPUTS, PAIR_COLUMNS, REFERENCE, VOCABULARY, Kind, kind_of
from polyculture.align.traits import Loss, Traits
from polyculture.errors import BadInput, UnknownMethod, unknown
from polyculture.methods import Parameter, build, inputs, parameters, parse, table

TRL_NAMES = {"sigmoid": "dpo", "sigmoid_norm": "dpo-norm"}
"""TRL's names that look like none of ours."""


@dataclass(frozen=True)
class Objective:
    """A loss with its hyper-parameters, and what it needs.

    Args:
        name: to show.
        loss: the function, without its hyper-parameters.
        hyper: its hyper-parameters.
    """

    name: str
    loss: Loss
    hyper: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, which: str | Loss | Objective, **hyper: Any) -> Objective:
        """An objective by name, or of a function of your own.

        Args:
            which: a name of ``polyculture.align.METHODS``, ``"python:module:function"``, a function, or an objective.
            hyper: hyper-parameters; strings are read as the annotated type.

        Raises:
            UnknownMethod: there is no such objective or hyper-parameter.
            BadInput: a value can't be read, the loss asks for inputs of different kinds of data, or the name is not of
                a loss but of a way to train with one (a class, such as curry-dpo).
        """
        if isinstance(which, Objective):
            return cls(which.name, which.loss, {**which.hyper, **hyper})
        if isinstance(which, str) and which.startswith("python:"):
            from polyculture.functions import named_function

            which = named_function(which)
        if isinstance(which, str):
            if which in TRL_NAMES:
                raise UnknownMethod(f"no align method '{which}'; TRL's '{which}' is '{TRL_NAMES[which]}' here")
            if isinstance(table("align")[which], type):
                raise BadInput(
                    f"'{which}' is not one objective but a way to train with one; polyculture align --objective "
                    f"{which} does it, and polyculture methods {which} says where it lives"
                )
            bound = build("align", which, **hyper)
            made = cls(which, bound.func, dict(bound.keywords))
        else:
            name = which.__name__.removesuffix("_loss").replace("_", "-")
            made = cls(name, which, _read(hyper, parameters(which), name))
        _ = made.kind
        return made

    @functools.cached_property
    def needs(self) -> tuple[str, ...]:
        """The inputs, in the order of the arguments."""
        return inputs(self.loss)

    @property
    def traits(self) -> Traits:
        """What the loss says of itself."""
        return getattr(self.loss, "traits", Traits())

    @property
    def kind(self) -> Kind:
        """The data that it trains on.

        Raises:
            BadInput: its inputs belong to different kinds.
        """
        return kind_of(self.needs, self.name)

    @property
    def columns(self) -> tuple[str, ...]:
        """Inputs that are columns of the data."""
        return tuple(name for name in self.needs if name in PAIR_COLUMNS or name not in INPUTS)

    @property
    def needs_reference(self) -> bool:
        """Whether the reference model's log-probabilities are among the inputs."""
        return bool(REFERENCE & set(self.needs))

    @property
    def needs_vocabulary(self) -> bool:
        """Whether it needs the reference's probabilities of every token, not only of those in the data."""
        return bool(VOCABULARY & set(self.needs))

    def __call__(self, given: Mapping[str, Tensor]) -> Tensor:
        """One loss an example.

        Args:
            given: inputs by name; more than it needs may be given.

        Raises:
            BadInput: one that it needs is missing.
        """
        return self.loss(**self._inputs(given), **self.hyper)

    def total(
        self, given: Mapping[str, Tensor], n_items: float, n_tokens: float, *, weights: Tensor | None = None
    ) -> Tensor:
        """What to minimise, a scalar: the losses' sum over the number of examples, or of tokens if they are per token.

        The counts are of the whole optimiser step, which may be made of several batches: the totals of its batches add
        up to the step's.

        Args:
            given: inputs by name.
            n_items: examples (pairs, answers, rankings) in the step.
            n_tokens: tokens of the step's chosen completions.
            weights: (B,) what each example's loss is multiplied by.

        Raises:
            BadInput: an input is missing, the loss does not give one number an example, or weights are given and the
                examples' losses depend on each other.
        """
        losses = self(given)
        # A mean would train, but on a loss divided once more by the number of examples.
        wanted = next((len(value) for value in self._inputs(given).values() if value.dim()), None)
        if wanted is not None and losses.shape != (wanted,):
            raise BadInput(
                f"objective '{self.name}' gives a tensor of shape {tuple(losses.shape)} for {wanted} examples; return "
                f"one loss an example, shape ({wanted},), not their mean"
            )
        if weights is not None:
            if self.traits.batch_coupled:
                raise BadInput(f"the examples of objective '{self.name}' depend on each other and can't be weighted")
            losses = losses * weights.to(losses.dtype)
        return losses.sum() / max(n_tokens if self.traits.per == "token" else n_items, 1)

    def rewards(self, given: Mapping[str, Tensor]) -> tuple[Tensor, Tensor] | None:
        """The implicit rewards of chosen and rejected to log, detached; None if it is not about pairs.

        Where the loss does not say, they are beta times the log-ratios to the reference (or, without one, the
        log-probabilities).
        """
        with torch.no_grad():
            if self.traits.rewards is not None:
                return self.traits.rewards(**self._inputs(given), **self.hyper)
            for side in ("policy", "mean"):
                if f"{side}_chosen" in self.needs and f"{side}_rejected" in self.needs:
                    ref = "ref" if side == "policy" else "ref_mean"
                    beta = self.hyper.get("beta", _defaults(self.loss).get("beta", 1.0))
                    chosen, rejected = given[f"{side}_chosen"], given[f"{side}_rejected"]
                    if f"{ref}_chosen" in self.needs:
                        chosen, rejected = chosen - given[f"{ref}_chosen"], rejected - given[f"{ref}_rejected"]
                    return beta * chosen, beta * rejected
        return None

    def metrics(self, given: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """What else the loss wants logged, (B,) each, detached."""
        if self.traits.metrics is None:
            return {}
        with torch.no_grad():
            return self.traits.metrics(**self._inputs(given), **self.hyper)

    def _inputs(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        missing = [name for name in self.needs if name not in given]
        if missing:
            raise BadInput(
                f"objective '{self.name}' needs {', '.join(missing)}: "
                + "; ".join(f"{name} is {INPUTS.get(name, 'a column of the data')}" for name in missing)
            )
        return {name: given[name] for name in self.needs}


def names(kind: Kind | None = None) -> list[str]:
    """Names of the objectives there are, of one kind of data or of all, with the ways to train that need prompts."""
    kinds = {
        # A way to train (a class) has a kind where its rows are not those of its loss.
        name: getattr(method, "kind", None) if isinstance(method, type) else Objective.of(name).kind
        for name, method in table("align").items()
    }
    return [name for name, of in kinds.items() if of is not None and kind in (None, of)]


def _read(hyper: Mapping[str, Any], known: Mapping[str, Parameter], name: str) -> dict[str, Any]:
    """Hyper-parameters of a function of one's own; a string is read as the annotation says, or else as the default."""
    found = {}
    for key, value in hyper.items():
        if key not in known:
            raise (
                unknown(f"option of objective '{name}'", key, known)
                if known
                else UnknownMethod(f"objective '{name}' has no options, but '{key}' was given")
            )
        if isinstance(value, str):
            wanted = known[key].annotation
            value = parse(value, type(known[key].default) if wanted is Any else wanted, f"{name}: {key}")
        found[key] = value
    return found


def _defaults(loss: Loss) -> dict[str, Any]:
    return {name: parameter.default for name, parameter in parameters(loss).items()}
