"""What an objective is: a function of log-probabilities, whose arguments' names say what it needs.

A loss takes one tensor an input, one entry an example, and returns one loss an example::

    def my_loss(policy_chosen, policy_rejected, ref_chosen, ref_rejected, *, beta: float = 0.1):
        return -logsigmoid(beta * ((policy_chosen - ref_chosen) - (policy_rejected - ref_rejected)))

That is all: ``Objective.of(my_loss)`` reads from the names that it needs pairs and a reference, the trainer provides
them, and the command line offers ``--beta``. INPUTS lists the names there are; any other argument without a default is
a column of numbers in the data. Arguments with a default are hyper-parameters.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from polyculture.align.objectives.bounds import at_least_float32
from polyculture.errors import BadInput, UnknownMethod, unknown
from polyculture.methods import Parameter, build, inputs, parameters, parse, table

Loss = Callable[..., Tensor]
Kind = Literal["pairs", "demonstrations", "labels", "rankings", "samples"]

PAIRS = {
    "policy_chosen": "the policy's log-probability of the chosen completion, summed over its tokens",
    "policy_rejected": "the same of the rejected completion",
    "ref_chosen": "the reference's log-probability of the chosen completion, summed over its tokens",
    "ref_rejected": "the same of the rejected completion",
    "mean_chosen": "the policy's mean log-probability a token of the chosen completion",
    "mean_rejected": "the same of the rejected completion",
    "ref_mean_chosen": "the reference's mean log-probability a token of the chosen completion",
    "ref_mean_rejected": "the same of the rejected completion",
    "tokens_chosen": "tokens of the chosen completion, its end included",
    "tokens_rejected": "tokens of the rejected completion, its end included",
    "kl_chosen": "KL(reference || policy) over the vocabulary, summed over the positions of the chosen completion",
    "kl_rejected": "the same of the rejected completion",
}
PAIR_COLUMNS = {
    "margin": "by how much the chosen completion is better, 0 or more: a column, or the difference of the scores",
    "margin_rewards_chosen": "(B, m) rewards of the other objectives for the chosen completion",
    "margin_rewards_rejected": "(B, m) the same for the rejected completion",
    "win_chosen": "expected win rate of the first completion against the policy that sampled it, in [0, 1]",
    "win_rejected": "the same of the second completion",
}
LABELS = {
    "policy": "the policy's log-probability of the completion, summed over its tokens",
    "ref": "the reference's",
    "desirable": "whether the completion is wanted",
    "kl_policy": "the policy's log-probability of a completion that belongs to another prompt",
    "kl_ref": "the reference's",
}
RANKINGS = {
    "policy_ranked": "(B, K) the policy's summed log-probabilities of a prompt's completions, best first",
    "ref_ranked": "(B, K) the reference's",
    "ranked": "(B, K) True where there is a completion",
}
SAMPLES = {
    "policy_samples": "the policy's log-probability of a completion it sampled",
    "proposal_samples": "the log-probability under the policy that sampled it",
    "target_samples": "the log of the unnormalised target; -inf where the target is 0",
    "log_z": "the log of the running estimate of the target's sum, of the sample's prompt",
    "baseline": "the running mean of the pseudo-rewards, as it was before these samples",
}
INPUTS: dict[str, str] = {**PAIRS, **PAIR_COLUMNS, **LABELS, **RANKINGS, **SAMPLES}
"""Every input that an objective can ask for by name; others are columns of the data."""

CHOSEN_ALONE = frozenset({"policy_chosen", "mean_chosen", "ref_chosen", "ref_mean_chosen", "tokens_chosen"})
REFERENCE = frozenset(
    {"ref_chosen", "ref_rejected", "ref_mean_chosen", "ref_mean_rejected", "kl_chosen", "kl_rejected"}
    | {"ref", "kl_ref", "ref_ranked"}
)
VOCABULARY = frozenset({"kl_chosen", "kl_rejected"})
TRL_NAMES = {"sigmoid": "dpo", "sigmoid_norm": "dpo-norm"}
"""TRL's names that look like none of ours."""


@dataclass(frozen=True)
class Traits:
    """What a loss says of itself besides its arguments.

    Args:
        rewards: from the loss's inputs and hyper-parameters, the implicit rewards (chosen, rejected) to log.
        of_difference: whether it depends on a pair only through the difference of the two sides' scores, so that
            whatever is the same for both answers to a prompt cancels.
        per: "pair", or "token": the losses are sums over tokens, to be divided by the number of chosen tokens.
        batch_coupled: whether a loss depends on the batch's other examples (a sort, a mean), so that examples can't be
            weighted one by one.
        metrics: from the loss's inputs and hyper-parameters, more to log by name, (B,) each; the names may depend on
            the hyper-parameters only.
        batch_means: options that are means over the batch unless they are given, each with what it is the mean of, (n,)
            from the loss's inputs and hyper-parameters; trainers take the batches of all processes together.
        running_means: the same, over all examples that were trained on; see :mod:`polyculture.align.pooled`.
    """

    rewards: Callable[..., tuple[Tensor, Tensor]] | None = None
    of_difference: bool = False
    per: Literal["pair", "token"] = "pair"
    batch_coupled: bool = False
    metrics: Callable[..., Mapping[str, Tensor]] | None = None
    batch_means: Mapping[str, Callable[..., Tensor]] = field(default_factory=dict)
    running_means: Mapping[str, Callable[..., Tensor]] = field(default_factory=dict)


def traits(
    *,
    rewards: Callable[..., tuple[Tensor, Tensor]] | None = None,
    of_difference: bool = False,
    per: Literal["pair", "token"] = "pair",
    batch_coupled: bool = False,
    metrics: Callable[..., Mapping[str, Tensor]] | None = None,
    batch_means: Mapping[str, Callable[..., Tensor]] | None = None,
    running_means: Mapping[str, Callable[..., Tensor]] | None = None,
) -> Callable[[Loss], Loss]:
    """Mark a loss with its :class:`Traits`.

    Args:
        rewards: see Traits, as for all the others.
        of_difference: as above.
        per: as above.
        batch_coupled: as above.
        metrics: as above.
        batch_means: as above.
        running_means: as above.
    """
    found = Traits(rewards, of_difference, per, batch_coupled, metrics, batch_means or {}, running_means or {})

    def mark(loss: Loss) -> Loss:
        loss.traits = found  # type: ignore[attr-defined]
        return loss

    return mark


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
        needs = set(self.needs)
        kinds: list[Kind] = []
        if needs & (PAIRS.keys() | PAIR_COLUMNS.keys()):
            kinds.append("pairs" if needs & (PAIRS.keys() | PAIR_COLUMNS.keys()) - CHOSEN_ALONE else "demonstrations")
        kinds += ["labels"] if needs & LABELS.keys() else []
        kinds += ["rankings"] if needs & RANKINGS.keys() else []
        kinds += ["samples"] if needs & SAMPLES.keys() else []
        if len(kinds) != 1:
            found = " and ".join(kinds) or "no kind of data"
            raise BadInput(
                f"objective '{self.name}' has the inputs {', '.join(self.needs) or 'none'}, which are of {found}; "
                "name them after one kind of polyculture.align.objective.INPUTS"
            )
        return kinds[0]

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


def pair_inputs(
    token_logps: Tensor, mask: Tensor, ref_token_logps: Tensor | None = None, *, ld_alpha: float = 1.0
) -> dict[str, Tensor]:
    """The inputs of a pair out of the log-probabilities of its tokens.

    Args:
        token_logps: (2B, T) the policy's; rows 0 to B - 1 are chosen, rows B to 2B - 1 the matching rejected.
        mask: (2B, T) True, or 1, at the tokens of completions, the end of the sequence included.
        ref_token_logps: (2B, T) the reference's.
        ld_alpha: weight of the tokens beyond the shorter completion of a pair, in [0, 1], in the sums of policy and
            reference (LD-DPO, 2024); 1 is plain.

    Raises:
        BadInput: shapes differ, the number of rows is odd, or ld_alpha is outside [0, 1].
    """
    if token_logps.shape != mask.shape or token_logps.dim() != 2 or len(token_logps) % 2:
        raise BadInput(
            "token log-probabilities and mask should both be (2B, T), chosen rows first; "
            f"they are {tuple(token_logps.shape)} and {tuple(mask.shape)}"
        )
    if not 0 <= ld_alpha <= 1:
        raise BadInput(f"ld_alpha should lie in [0, 1], not {ld_alpha}")
    inside = mask.bool()
    counts = inside.sum(dim=1)
    given: dict[str, Tensor] = {}
    sides = {"": token_logps} if ref_token_logps is None else {"": token_logps, "ref_": ref_token_logps}
    shorter = torch.minimum(*counts.chunk(2)).repeat(2)
    tail = inside & (inside.cumsum(dim=1) > shorter[:, None])
    for prefix, values in sides.items():
        kept = torch.where(inside, at_least_float32(values), 0.0)  # not a product: 0 times -inf would be NaN
        sums = kept.sum(dim=1)
        if ld_alpha != 1:
            sums = sums - (1 - ld_alpha) * torch.where(tail, kept, 0.0).sum(dim=1)
        means = kept.sum(dim=1) / counts.clamp(min=1)
        given |= _sides("policy" if not prefix else "ref", sums) | _sides(f"{prefix}mean", means)
    return given | _sides("tokens", counts.to(given["policy_chosen"].dtype))


def names(kind: Kind | None = None) -> list[str]:
    """Names of the objectives there are, of one kind of data or of all, with the ways to train that need prompts."""
    kinds = {
        # A way to train (a class) has a kind where its rows are not those of its loss.
        name: getattr(method, "kind", None) if isinstance(method, type) else Objective.of(name).kind
        for name, method in table("align").items()
    }
    return [name for name, of in kinds.items() if of is not None and kind in (None, of)]


def _sides(name: str, rows: Tensor) -> dict[str, Tensor]:
    chosen, rejected = rows.chunk(2)
    return {f"{name}_chosen": chosen, f"{name}_rejected": rejected}


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


__all__: Sequence[str] = [
    "INPUTS",
    "Kind",
    "Loss",
    "Objective",
    "Traits",
    "names",
    "pair_inputs",
    "traits",
]
