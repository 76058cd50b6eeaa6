"""Log-probabilities of tokens under a language-model head, without the logits of all positions at once.

A vocabulary of 128,000 makes the float32 logits of one batch of 4,096 tokens 2 GiB, several times over with their
softmax and gradient. Here they exist a tile of rows at a time; see :mod:`polyculture.align.log_probs.head_tiles`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from polyculture.align.log_probs.head_tiles import GivenScores, Head, HeadScores, Job
from polyculture.errors import BadInput, unknown

Statistic = Literal["entropy", "log_sum_sq", "top_k", "reverse_kl"]
"""What can be asked for besides, without gradient; ``reverse_kl`` needs a reference."""

TILE_BYTES = {"cpu": 16 * 2**20}
"""Float32 logits of a tile, by kind of device: as much as the cache of a processor holds."""
TILE_BYTES_ELSEWHERE = 256 * 2**20
"""The same of a GPU, whose matrix products want more rows."""
FEWEST_ROWS = 128
"""Rows a tile has however large the vocabulary: with fewer, reading the weight costs more than the products."""


@dataclass(frozen=True)
class TokenScores:
    """Scores of N tokens, each (N,), float32 or float64, in nats unless said otherwise; None where not asked for.

    Args:
        log_probs: of the targets under the policy; with gradient.
        kl: KL(reference || policy) over the whole vocabulary; with gradient.
        ref: log-probabilities of the targets under the reference.
        reverse_kl: KL(policy || reference).
        entropy: of the policy's distribution.
        log_sum_sq: log of the sum of the policy's squared probabilities.
        top_k_mass: of the policy's 10 likeliest tokens.
        top_k_entropy: of the same, renormalised to sum 1, in bits.
    """

    log_probs: Tensor
    kl: Tensor | None = None
    ref: Tensor | None = None
    reverse_kl: Tensor | None = None
    entropy: Tensor | None = None
    log_sum_sq: Tensor | None = None
    top_k_mass: Tensor | None = None
    top_k_entropy: Tensor | None = None


def token_log_probs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    temperature: float = 1.0,
    tile: int | None = None,
    statistics: Iterable[Statistic] = (),
) -> TokenScores:
    """Log-probabilities of the targets under softmax((hidden @ weight.T + bias) / temperature).

    Products are in the weight's type (or autocast's), the softmax in float32 (float64 for float64). Gradients, of the
    first order only, flow to whichever of hidden, weight and bias require them. With a frozen head they are formed in
    the forward pass, and the backward pass is free; otherwise it forms each tile's logits anew, or, where all rows are
    one tile, finds its probabilities kept.

    Args:
        hidden: (N, H) last hidden states, one row a token to be scored.
        weight: (V, H) of the head.
        targets: (N,) token ids; leave positions out that should not be scored.
        bias: (V,) of the head, if it has one.
        temperature: that divides the logits.
        tile: rows at a time; by default what makes 16 MiB of float32 logits (256 MiB on a GPU), but at least 128.
        statistics: what to find besides: "entropy", "log_sum_sq", "top_k".

    Raises:
        BadInput: shapes don't fit, a target is not an id of the vocabulary, or the temperature is not positive.
        UnknownMethod: a statistic is not known.
    """
    wanted = _statistics(statistics, with_ref=False)
    if not 0 < temperature < float("inf"):
        raise BadInput(f"temperature should be positive and finite, not {temperature}")
    head = _linear("", hidden, weight, bias)
    return _scores(head, None, targets, Job(wanted, temperature, _rows(tile, head)))


def token_log_probs_and_kl(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    ref_hidden: Tensor,
    ref_weight: Tensor,
    *,
    bias: Tensor | None = None,
    ref_bias: Tensor | None = None,
    tile: int | None = None,
    statistics: Iterable[Statistic] = (),
) -> TokenScores:
    """As :func:`token_log_probs`, and with ``kl``, KL(reference || policy) of each row, and ``ref``.

    The divergence has a gradient with respect to the policy; the reference has none. A token the reference gives
    probability 0, or one so small that it is 0 in floating point, adds nothing to it.

    Args:
        hidden: (N, H) last hidden states of the policy, one row a token to be scored.
        weight: (V, H) of the policy's head.
        targets: (N,) token ids; leave positions out that should not be scored.
        ref_hidden: (N, H') last hidden states of the reference.
        ref_weight: (V, H') of the reference's head.
        bias: (V,) of the policy's head, if it has one.
        ref_bias: (V,) of the reference's head, if it has one.
        tile: rows at a time; by default what makes 16 MiB of float32 logits (256 MiB on a GPU), but at least 128.
        statistics: what to find besides: "entropy", "log_sum_sq", "top_k", "reverse_kl".

    Raises:
        BadInput: shapes don't fit, or a target is not an id of the vocabulary.
        UnknownMethod: a statistic is not known.
    """
    wanted = _statistics(statistics, with_ref=True)
    head = _linear("", hidden, weight, bias)
    ref = _linear("ref_", ref_hidden.detach(), ref_weight.detach(), None if ref_bias is None else ref_bias.detach())
    _same("ref_hidden @ ref_weight.T", (len(ref.hidden), ref.vocabulary), (len(head.hidden), head.vocabulary))
    return _scores(head, ref, targets, Job(wanted, 1.0, _rows(tile, head)))


def scores_from_logits(
    logits: Tensor,
    targets: Tensor,
    *,
    ref_logits: Tensor | None = None,
    tile: int | None = None,
    statistics: Iterable[Statistic] = (),
) -> TokenScores:
    """The same scores from logits, for a model whose head is more than a product with a weight.

    Args:
        logits: (N, V) of the policy; -inf bans a token. Gradients flow to them.
        targets: (N,) token ids; leave positions out that should not be scored.
        ref_logits: (N, V) of the reference; with them ``kl`` and ``ref`` are found too.
        tile: rows at a time, by default as in :func:`token_log_probs`.
        statistics: what to find besides: "entropy", "log_sum_sq", "top_k", and with a reference "reverse_kl".

    Raises:
        BadInput: shapes don't fit, or a target is not an id of the vocabulary.
        UnknownMethod: a statistic is not known.
    """
    wanted = _statistics(statistics, with_ref=ref_logits is not None)
    if logits.ndim != 2 or not logits.is_floating_point():
        raise BadInput(f"logits should be (N, V) floating point, not {tuple(logits.shape)} {logits.dtype}")
    head, ref = Head(logits), None
    if ref_logits is not None:
        _same("ref_logits", tuple(ref_logits.shape), tuple(logits.shape))
        ref = Head(ref_logits.detach())
    return _scores(head, ref, targets, Job(wanted, 1.0, _rows(tile, head)))


def tile_rows(vocabulary: int, device: str = "cpu") -> int:
    """Rows of a tile by default: what :data:`TILE_BYTES` holds, but at least :data:`FEWEST_ROWS`."""
    return max(FEWEST_ROWS, TILE_BYTES.get(device, TILE_BYTES_ELSEWHERE) // (4 * max(1, vocabulary)))


def _scores(head: Head, ref: Head | None, targets: Tensor, job: Job) -> TokenScores:
    targets = _targets(targets, len(head.hidden), head.vocabulary).to(head.hidden.device)
    names = ["log_probs", *(["kl", "ref"] if ref is not None else [])]
    names += [name for name in ("reverse_kl", "entropy", "log_sum_sq") if name in job.statistics]
    names += ["top_k_mass", "top_k_entropy"] if "top_k" in job.statistics else []
    with torch.autocast(head.hidden.device.type, enabled=False):
        if head.weight is None:
            found = GivenScores.apply(head.hidden, targets, ref, job, tuple(names))
        else:
            trained = head.weight.requires_grad or (head.bias is not None and head.bias.requires_grad)
            at_once = torch.is_grad_enabled() and head.hidden.requires_grad and not trained
            found = HeadScores.apply(*head, targets, ref, job, tuple(names), at_once)
    return TokenScores(**dict(zip(names, found, strict=True)))


def _linear(prefix: str, hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Head:
    """The head, with hidden states, weight and bias in one type, as autocast's where it is on."""
    if hidden.ndim != 2 or weight.ndim != 2 or hidden.shape[1] != weight.shape[1]:
        raise BadInput(
            f"{prefix}hidden should be (N, H) and {prefix}weight (V, H); "
            f"they have shapes {tuple(hidden.shape)} and {tuple(weight.shape)}"
        )
    if bias is not None:
        _same(f"{prefix}bias", tuple(bias.shape), (len(weight),))
    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
    return Head(hidden.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype))


def _targets(targets: Tensor, n: int, vocabulary: int) -> Tensor:
    if targets.is_floating_point() or targets.dtype == torch.bool:
        raise BadInput(f"targets should be token ids, integers, not {targets.dtype}")
    _same("targets", tuple(targets.shape), (n,))
    if n and (outside := (targets < 0) | (targets >= vocabulary)).any():
        first = int(outside.nonzero()[0])
        raise BadInput(
            f"target {int(targets[first])} at position {first} is not an id of the vocabulary of {vocabulary}; "
            "leave out positions that should not be scored"
        )
    return targets.long()


def _rows(tile: int | None, head: Head) -> int:
    if tile is None:
        return tile_rows(head.vocabulary, head.hidden.device.type)
    if tile < 1:
        raise BadInput(f"tile should be at least 1 row, not {tile}")
    return tile


def _statistics(names: Iterable[Statistic], *, with_ref: bool) -> frozenset[str]:
    known = [name for name in get_args(Statistic) if with_ref or name != "reverse_kl"]
    wanted = frozenset([names] if isinstance(names, str) else names)
    for name in sorted(wanted):
        if name == "reverse_kl" and not with_ref:
            raise BadInput('statistic "reverse_kl" needs a reference')
        if name not in known:
            raise unknown("statistic", name, known)
    return wanted


def _same(what: str, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if found != expected:
        raise BadInput(f"{what} has shape {found} where {expected} is needed")
