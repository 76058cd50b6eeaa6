"""From the log-probabilities of a pair's tokens to the inputs that an objective of pairs names."""

from __future__ import annotations

import torch
from torch import Tensor

from polyculture.align.objectives.bounds import at_least_float32
from polyculture.errors import BadInput


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


def _sides(name: str, rows: Tensor) -> dict[str, Tensor]:
    chosen, rejected = rows.chunk(2)
    return {f"{name}_chosen": chosen, f"{name}_rejected": rejected}
