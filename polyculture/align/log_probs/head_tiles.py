"""Scores of tokens, a tile of rows at a time: what :mod:`polyculture.align.log_probs.head` is made of.

With z the logits of a row, p = softmax(z), q the reference's probabilities and y the target,

    d log p_y / d z = 1[v = y] - p_v,        d KL(q || p) / d z = p_v - q_v,

so that nothing of the size of the vocabulary has to be kept: a backward pass forms the logits of a tile anew, unless
one tile holds all rows. Where the head is frozen there is nothing to form: the forward pass multiplies both rows with
the weight while it has them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

TOP_K = 10
"""Likeliest tokens that ``top_k`` looks at."""
BLOCK = 64
"""Entries of a row that are reduced to their largest before the k largest are looked for."""


class Head(NamedTuple):
    """Logits of rows, from hidden states and a weight, or given."""

    hidden: Tensor
    weight: Tensor | None = None
    bias: Tensor | None = None

    @property
    def vocabulary(self) -> int:
        """Number of tokens."""
        return (self.hidden if self.weight is None else self.weight).shape[-1 if self.weight is None else 0]

    def logits(self, rows: slice, buffer: Tensor) -> Tensor:
        """(n, V), in the buffer if they have to be computed."""
        hidden = self.hidden[rows]
        if self.weight is None:
            return hidden
        out = buffer[: len(hidden)]
        if self.bias is None:
            return torch.mm(hidden, self.weight.t(), out=out)
        return torch.addmm(self.bias, hidden, self.weight.t(), out=out)

    def buffer(self, rows: int) -> Tensor:
        """Room for a tile of logits."""
        return self.hidden.new_empty((0 if self.weight is None else rows, self.vocabulary))


@dataclass(frozen=True)
class Job:
    """What is asked of the rows.

    Args:
        statistics: names of what is wanted besides.
        temperature: that divides the policy's logits.
        tile: rows at a time.
    """

    statistics: frozenset[str]
    temperature: float
    tile: int


class Tile(NamedTuple):
    """Some rows: their logits and probabilities p, and the same of the reference."""

    rows: slice
    z: Tensor
    p: Tensor
    ref_z: Tensor | None = None
    q: Tensor | None = None


def tiles(head: Head, ref: Head | None, job: Job) -> Iterator[Tile]:
    """The rows, a tile at a time; a tile's tensors are overwritten by the next."""
    n, dtype = len(head.hidden), precision(head.hidden)
    size = min(n, job.tile)
    spare, p = head.buffer(size), head.hidden.new_empty((size, head.vocabulary), dtype=dtype)
    ref_spare, q = (None, None) if ref is None else (ref.buffer(size), torch.empty_like(p))
    for start in range(0, n, job.tile):
        rows = slice(start, min(start + job.tile, n))
        width = rows.stop - start
        z = head.logits(rows, spare)
        if job.temperature != 1:
            z = z.to(dtype) / job.temperature
        _softmax(z, p[:width])
        if ref is None or ref_spare is None or q is None:
            yield Tile(rows, z, p[:width])
        else:
            ref_z = ref.logits(rows, ref_spare)
            yield Tile(rows, z, p[:width], ref_z, _softmax(ref_z, q[:width]))


def precision(values: Tensor) -> torch.dtype:
    """float64 for float64, else float32."""
    return torch.promote_types(values.dtype, torch.float32)


def score(tile: Tile, targets: Tensor, statistics: frozenset[str]) -> dict[str, Tensor]:
    """Every score of a tile's rows, each (n,); the probabilities stay as they are."""
    y, p, q = targets[tile.rows], tile.p, tile.q
    log_z = _log_normaliser(tile.z, p)
    found = {"log_probs": _of_target(tile.z, y, log_z)}
    if "entropy" in statistics:
        found["entropy"] = (log_z - _expected(p, tile.z)).clamp_(min=0)
    if "log_sum_sq" in statistics:
        found["log_sum_sq"] = p.square().sum(dim=1).log()
    if "top_k" in statistics:
        found["top_k_mass"], found["top_k_entropy"] = top_k(p)
    if q is not None and tile.ref_z is not None:
        ref_log_z = _log_normaliser(tile.ref_z, q)
        found["ref"] = _of_target(tile.ref_z, y, ref_log_z)
        # The difference first: of models that are close, it is far more exact than a difference of two means.
        ratio, of_normalisers = tile.ref_z.to(p.dtype) - tile.z, ref_log_z - log_z
        found["kl"] = (_expected(q, ratio) - of_normalisers).clamp_(min=0)
        if "reverse_kl" in statistics:
            found["reverse_kl"] = (of_normalisers - _expected(p, ratio)).clamp_(min=0)
    return found


def logit_gradient(
    tile: Tile, targets: Tensor, of_log_prob: Tensor | None, of_kl: Tensor | None, out: Tensor | None = None
) -> Tensor:
    """Gradient with respect to a tile's logits, (n, V).

    Args:
        tile: the rows.
        targets: (N,) of all rows.
        of_log_prob: (N,) gradient with respect to the target's log-probability, if there is one.
        of_kl: the same, to KL(q || p); one of the two is needed.
        out: (n, V) where it goes; by default over the tile's probabilities.
    """
    rows, out = tile.rows, tile.p if out is None else out
    g = None if of_log_prob is None else of_log_prob[rows].to(out.dtype)
    k = None if of_kl is None else of_kl[rows].to(out.dtype)
    if k is not None and tile.q is not None:
        torch.mul(tile.p, (k if g is None else k - g)[:, None], out=out).addcmul_(tile.q, k[:, None], value=-1)
    elif g is not None:
        torch.mul(tile.p, -g[:, None], out=out)
    if g is not None:
        out.scatter_add_(1, targets[rows, None], g[:, None])
    return out


def top_k(p: Tensor, k: int = TOP_K) -> tuple[Tensor, Tensor]:
    """Mass of each row's k largest probabilities, and their entropy renormalised to sum 1, in bits; each (n,)."""
    top = largest(p, k)
    mass = top.sum(dim=1)
    return mass, torch.special.entr(top / mass[:, None]).sum(dim=1) / math.log(2)


def largest(values: Tensor, k: int) -> Tensor:
    """The k largest of each row, largest first; all where there are fewer.

    The k largest are in the k blocks whose largest entry is largest, so only those are sorted.
    """
    n, width = values.shape
    blocks = width // BLOCK
    if blocks <= k:
        return values.topk(min(k, width), dim=1).values
    blocked = values[:, : blocks * BLOCK].unflatten(1, (blocks, BLOCK))
    where = blocked.amax(dim=2).topk(k, dim=1).indices
    found = blocked.gather(1, where[:, :, None].expand(n, k, BLOCK)).flatten(1)
    return torch.cat((found, values[:, blocks * BLOCK :]), dim=1).topk(k, dim=1).values


class HeadScores(torch.autograd.Function):
    """Scores from hidden states and a linear head, one tensor a name of ``names``."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        ref: Head | None,
        job: Job,
        names: tuple[str, ...],
        at_once: bool,
    ) -> tuple[Tensor, ...]:
        """With ``at_once`` the gradients with respect to the hidden states are formed now: the head is frozen.

        Otherwise, where all rows are one tile, its probabilities are kept.
        """
        found = _empty(hidden, names)
        of_log_prob = torch.empty_like(hidden) if at_once else None
        of_kl = torch.empty_like(hidden) if at_once and ref is not None else None
        one = torch.ones(len(targets), dtype=precision(hidden), device=hidden.device)
        whole: tuple[Tensor | None, ...] | None = None
        for tile in tiles(Head(hidden, weight, bias), ref, job):
            _keep(found, tile, targets, job)
            if not at_once and len(tile.p) == len(hidden):
                whole = (tile.p, tile.q)
            if of_kl is not None and tile.q is not None:
                torch.mm(tile.q.neg_().add_(tile.p).to(weight.dtype), weight, out=of_kl[tile.rows])
            if of_log_prob is not None:
                torch.mm(logit_gradient(tile, targets, one, None).to(weight.dtype), weight, out=of_log_prob[tile.rows])
        ctx.at_once = at_once
        ctx.whole = whole is not None
        kept = (of_log_prob, of_kl) if at_once else (hidden, weight, bias, targets, *(whole or ref or ()))
        return _finish(ctx, job, found, kept)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        """Gradients of hidden states, weight and bias, each if it needs one."""
        g, k = _incoming(ctx, gradients)
        if ctx.at_once:
            return _weighted(ctx.saved_tensors, (g, k)), *(None,) * 7
        if g is None and k is None:
            return (None,) * 8
        hidden, weight, bias, targets, *rest = ctx.saved_tensors
        of_hidden, of_weight, of_bias = (
            torch.zeros_like(values, dtype=dtype) if needed else None
            for values, needed, dtype in zip(
                (hidden, weight, bias),
                ctx.needs_input_grad,
                (hidden.dtype, precision(hidden), precision(hidden)),
                strict=False,
            )
        )
        if ctx.whole:  # kept as they are, for a second backward pass
            p, q = rest
            formed: Iterable[Tile] = [Tile(slice(0, len(p)), p, p, q=q)]
            out = torch.empty_like(p)
        else:
            formed = tiles(Head(hidden, weight, bias), Head(*rest) if rest and k is not None else None, ctx.job)
            out = None
        for tile in formed:
            into = logit_gradient(tile, targets, g, k, out)
            if of_bias is not None:
                of_bias += into.sum(dim=0)
            if of_weight is not None:
                add_product(of_weight, into, hidden[tile.rows])
            if of_hidden is not None:
                torch.mm(into.to(weight.dtype), weight, out=of_hidden[tile.rows])
        return (
            of_hidden,
            None if of_weight is None else of_weight.to(weight.dtype),
            None if of_bias is None else of_bias.to(bias.dtype),
            *(None,) * 5,
        )


class GivenScores(torch.autograd.Function):
    """Scores from logits, one tensor a name of ``names``; the logits are kept as they are."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, targets: Tensor, ref: Head | None, job: Job, names: tuple[str, ...]
    ) -> tuple[Tensor, ...]:
        """Keeps the logits, and the reference's."""
        found = _empty(logits, names)
        for tile in tiles(Head(logits), ref, job):
            _keep(found, tile, targets, job)
        return _finish(ctx, job, found, (logits, targets, None if ref is None else ref.hidden))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        """The gradient of the logits, the only thing here of their size."""
        logits, targets, ref = ctx.saved_tensors
        g, k = _incoming(ctx, gradients)
        if g is None and k is None:
            return (None,) * 5
        found = torch.empty_like(logits)
        for tile in tiles(Head(logits), None if ref is None or k is None else Head(ref), ctx.job):
            found[tile.rows] = logit_gradient(tile, targets, g, k)
        return found, *(None,) * 4


def add_product(total: Tensor, into: Tensor, hidden: Tensor) -> None:
    """Adds ``into.T @ hidden`` to a float32 (or float64) total, without rounding it to a shorter type on the CPU.

    Elsewhere half-precision products are far faster, and tiles so large that few are rounded.
    """
    if hidden.dtype == total.dtype or hidden.device.type == "cpu":
        torch.addmm(total, into.t(), hidden.to(total.dtype), out=total)
    else:
        total += torch.mm(into.t().to(hidden.dtype), hidden)


def _empty(like: Tensor, names: tuple[str, ...]) -> dict[str, Tensor]:
    return {name: like.new_empty(len(like), dtype=precision(like)) for name in names}


def _keep(found: dict[str, Tensor], tile: Tile, targets: Tensor, job: Job) -> None:
    for name, values in score(tile, targets, job.statistics).items():
        found[name][tile.rows] = values


def _finish(ctx: Any, job: Job, found: dict[str, Tensor], kept: tuple[Tensor | None, ...]) -> tuple[Tensor, ...]:
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(*(values for name, values in found.items() if name not in ("log_probs", "kl")))
    ctx.save_for_backward(*kept)
    ctx.job, ctx.names = job, tuple(found)
    return tuple(found.values())


def _incoming(ctx: Any, gradients: tuple[Tensor | None, ...]) -> tuple[Tensor | None, Tensor | None]:
    by_name = dict(zip(ctx.names, gradients, strict=True))
    g, k = by_name["log_probs"], by_name.get("kl")
    scale = 1 / ctx.job.temperature
    return None if g is None else g * scale, None if k is None else k * scale


def _weighted(parts: tuple[Tensor, ...], weights: tuple[Tensor | None, ...]) -> Tensor:
    total = torch.zeros((), dtype=precision(parts[0]), device=parts[0].device)
    for part, into in zip(parts, weights, strict=True):
        if into is not None:
            total = total + into[:, None] * part
    return total.expand_as(parts[0]).to(parts[0].dtype)


def _softmax(z: Tensor, p: Tensor) -> Tensor:
    """Fills p with softmax(z)."""
    return torch.softmax(z, dim=1, dtype=p.dtype, out=p)


def _log_normaliser(z: Tensor, p: Tensor) -> Tensor:
    """Log of the sum of exp(z) of each row: the largest probability is exp(0) over it."""
    return z.amax(dim=1).to(p.dtype) - p.amax(dim=1).log()


def _of_target(z: Tensor, targets: Tensor, log_z: Tensor) -> Tensor:
    return z.gather(1, targets[:, None])[:, 0].to(log_z.dtype) - log_z


def _expected(p: Tensor, values: Tensor) -> Tensor:
    """Mean of each row's values under p, where 0 times anything is 0."""
    found = (p * values).sum(dim=1)
    # Values are infinite where a token is banned, which is rare: looking costs less than masking always would.
    return found if found.isfinite().all() else (p * values.masked_fill(p == 0, 0.0)).sum(dim=1)
