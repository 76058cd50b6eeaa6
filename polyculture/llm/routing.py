"""Which experts of a mixture-of-experts model answer: an override of its gates for the length of a ``with`` block.

A gate gives w = softmax(W h) over E experts. A :data:`Route` turns those probabilities into the experts to run and
their weights; the gates of transformers' blocks hand both to the fused expert weights, so any number of experts may
be active. Shared experts, which no gate decides on, run as ever. The override is a forward hook: weights,
configuration and other hooks stay untouched, and leaving the block removes it, whatever was raised inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from polyculture.errors import BadInput

Route = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""(N, E) gate probabilities to (N, k) expert ids and (N, k) weights."""


@dataclass(frozen=True)
class Ranks:
    """Run the experts of certain ranks, 1 being the one the gate likes best: ``Ranks((2,))`` runs the second alone.

    Args:
        ranks: which ranks, without repeats; 1 to the number of experts.
        renormalize: weights are the gate's probabilities renormalised over the active experts (a single expert has
            weight exactly 1); False leaves the probabilities as they are.

    Raises:
        BadInput: no rank, a rank below 1 or a repeated one; when called, a rank above the number of experts.
    """

    ranks: tuple[int, ...]
    renormalize: bool = True

    def __post_init__(self) -> None:
        if not self.ranks or min(self.ranks) < 1 or len(set(self.ranks)) != len(self.ranks):
            raise BadInput(
                f"ranks = {tuple(self.ranks)}, but ranks are different whole numbers from 1, the best expert"
            )

    def __call__(self, probabilities: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The experts of these ranks and their weights."""
        n_experts = probabilities.shape[-1]
        if max(self.ranks) > n_experts:
            raise BadInput(f"rank {max(self.ranks)} was asked for, but the model has {n_experts} experts")
        values, order = probabilities.sort(dim=-1, descending=True, stable=True)
        columns = torch.tensor([rank - 1 for rank in self.ranks], device=values.device)
        weights = values[:, columns]
        if not self.renormalize:
            return order[:, columns], weights
        mass = weights.sum(-1, keepdim=True)  # 0 where the gate is so sure that the others' probabilities underflow
        return order[:, columns], torch.where(mass > 0, weights / mass, 1 / len(self.ranks))


@dataclass(frozen=True)
class CumulativeMass:
    """Dynamic routing: run experts from the best down until their probabilities add up to more than a threshold.

    Args:
        threshold: in [0, 1); the papers that use it try 0.2 to 0.6.
    """

    threshold: float = 0.4

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise BadInput(
                f"threshold = {self.threshold}, but it is a share of the gate's probability: 0 up to below 1"
            )

    def __call__(self, probabilities: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The experts that are needed, renormalised; a token that needs fewer than another has weights of 0."""
        values, order = probabilities.sort(dim=-1, descending=True, stable=True)
        needed = values.cumsum(-1) - values <= self.threshold
        width = int(needed.sum(-1).max()) if needed.numel() else 1
        weights = torch.where(needed, values, 0.0)[:, :width]
        return order[:, :width], weights / weights.sum(-1, keepdim=True)


@dataclass
class RandomExpert:
    """Run one expert, drawn uniformly for each token and layer, with weight 1.

    Args:
        seed: of the draws, which go on from call to call.
    """

    seed: int = 0
    _generator: torch.Generator = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._generator = torch.Generator().manual_seed(self.seed)

    def __call__(self, probabilities: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One expert a token."""
        tokens, n_experts = probabilities.shape
        drawn = torch.randint(n_experts, (tokens, 1), generator=self._generator).to(probabilities.device)
        return drawn, torch.ones_like(drawn, dtype=probabilities.dtype)


class Gates:
    """The softmax gates of a model's mixture-of-experts blocks, found and checked once.

    Args:
        model: a transformers model, or a block of one, whose gates return (logits, weights, expert ids): Mixtral,
            Qwen2-MoE, Qwen3-MoE, OLMoE and others.

    Raises:
        BadInput: it has no such gate, or one that isn't the softmax of its logits.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self.modules = tuple(module for module in model.modules() if _is_gate(module))
        if not self.modules:
            raise BadInput(
                f"{type(model).__name__} has no expert gates to override; give a mixture-of-experts model of "
                "transformers, such as Mixtral, Qwen2-MoE or Qwen3-MoE"
            )
        for gate in self.modules:
            _check_softmax(gate)

    def __repr__(self) -> str:
        return f"Gates({len(self.modules)} x {type(self.modules[0]).__name__})"

    @property
    def n_experts(self) -> int:
        """Experts of the smallest block."""
        return min(_n_experts(gate) for gate in self.modules)

    @property
    def top_k(self) -> int:
        """Experts the model itself runs for each token."""
        gate: Any = self.modules[0]
        return int(gate.top_k)

    @contextmanager
    def routed(self, route: Route) -> Iterator[None]:
        """Every gate follows ``route`` inside the block; the innermost block wins."""

        def override(gate: torch.nn.Module, inputs: Any, output: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            logits, weights = output[0], output[1]
            experts, chosen = route(torch.softmax(logits.float(), dim=-1))
            return (logits, chosen.to(weights.dtype), experts, *output[3:])

        handles = [gate.register_forward_hook(override) for gate in self.modules]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


@contextmanager
def routing(model: torch.nn.Module, ranks: Sequence[int] | Route) -> Iterator[None]:
    """Route every mixture-of-experts layer of a model differently inside a ``with`` block.

    ``with routing(model, [1, 2]): ...`` runs the two best experts of every token, ``routing(model, [2])`` the second
    best alone, ``routing(model, range(1, 9))`` eight of them, ``routing(model, CumulativeMass(0.4))`` as many as it
    takes.

    Args:
        model: see :class:`Gates`.
        ranks: gate ranks from 1, the best; or any :data:`Route`.

    Raises:
        BadInput: the model has no such gates, or a rank is impossible.
    """
    gates = Gates(model)
    if not callable(ranks):
        ranks = Ranks(tuple(ranks))
        if max(ranks.ranks) > gates.n_experts:
            raise BadInput(f"rank {max(ranks.ranks)} was asked for, but the model has {gates.n_experts} experts")
    with gates.routed(ranks):
        yield


def _n_experts(gate: torch.nn.Module) -> int:
    weight: Any = gate.weight
    return int(weight.shape[0])


def _is_gate(module: torch.nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return (
        isinstance(weight, torch.Tensor)
        and weight.ndim == 2
        and isinstance(getattr(module, "top_k", None), int)
        and getattr(module, "num_experts", None) == weight.shape[0]
    )


def _check_softmax(gate: torch.nn.Module) -> None:
    """Some architectures score experts by a sigmoid, or add a bias to choose them; ranks would mean something else."""
    weight = gate.weight
    if not isinstance(weight, torch.Tensor) or weight.is_meta:
        return
    with torch.no_grad():
        output = type(gate).forward(gate, weight.detach())  # past its hooks: what the gate itself does
        fits = isinstance(output, tuple) and len(output) == 3 and output[0].shape == (weight.shape[0], weight.shape[0])
        if fits:
            logits, weights, experts = output[0].float(), output[1].float(), output[2]
            of_chosen = torch.softmax(logits, -1).gather(1, experts)
            of_best = torch.softmax(logits, -1).topk(experts.shape[1], -1).values
            share = weights / weights.sum(-1, keepdim=True)
            expected = of_chosen / of_chosen.sum(-1, keepdim=True)
            close = 1e-4 if weight.dtype in (torch.float32, torch.float64) else 2e-2
            fits = torch.allclose(of_chosen.sort(-1).values, of_best.sort(-1).values, atol=close) and torch.allclose(
                share, expected, atol=close
            )
    if not fits:
        raise BadInput(f"{type(gate).__name__} doesn't weigh experts by the softmax of its logits; ranks can't be set")
