"""From the scores of a batch to the inputs an objective names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from polyculture.align.inputs import Kind
from polyculture.align.log_probs.forward import Passed
from polyculture.align.log_probs.pairs import pair_inputs


def inputs_of(kind: Kind, passed: Passed, batch: Mapping[str, Any], *, ld_alpha: float = 1.0) -> dict[str, Tensor]:
    """The inputs of one kind of data, and every column of numbers of the batch.

    Args:
        kind: what the objective trains on.
        passed: the policy's pass over the batch, rows k B + b.
        batch: what the layout made.
        ld_alpha: see :func:`polyculture.align.log_probs.pairs.pair_inputs`.
    """
    mask: Tensor = batch["mask"]
    ref = passed.ref if passed.ref is not None else batch.get("ref_logps")
    size = len(batch["index"])
    numbers = {name: value for name, value in batch.items() if name not in LAID}
    if kind == "pairs":
        given = pair_inputs(passed.log_probs, mask, ref, ld_alpha=ld_alpha)
        if passed.kl is not None:
            given["kl_chosen"], given["kl_rejected"] = passed.kl.sum(dim=1).chunk(2)
        return given | numbers
    sums = _sums(passed.log_probs, mask, size)
    refs = None if ref is None else _sums(ref, mask, size)
    if kind == "rankings":
        there = mask.any(dim=1).view(-1, size).T
        given = {"policy_ranked": sums, "ranked": there} | ({} if refs is None else {"ref_ranked": refs})
    elif kind == "labels":
        given = {"policy": sums[:, 0], "desirable": batch["desirable"]}
        if sums.shape[1] > 1:
            given["kl_policy"] = sums[:, 1]
        if refs is not None:
            given["ref"] = refs[:, 0]
            if refs.shape[1] > 1:
                given["kl_ref"] = refs[:, 1]
    else:
        tokens = mask[:size].sum(dim=1).to(sums.dtype)
        given = {"policy_chosen": sums[:, 0], "mean_chosen": sums[:, 0] / tokens.clamp(min=1), "tokens_chosen": tokens}
        if refs is not None:
            given |= {"ref_chosen": refs[:, 0], "ref_mean_chosen": refs[:, 0] / tokens.clamp(min=1)}
    return given | numbers


LAID = frozenset(
    ("input_ids", "position_ids", "visible", "lengths", "source", "targets", "slot", "mask", "ref_logps", "index")
) | {"desirable", "own"}
"""What a layout puts into every batch, and the trainer into an epoch's last; the rest are columns of the data."""


def _sums(token_logps: Tensor, mask: Tensor, size: int) -> Tensor:
    """(B, K) summed log-probabilities of each completion."""
    values = token_logps if token_logps.dtype in (torch.float32, torch.float64) else token_logps.float()
    return torch.where(mask, values, 0.0).sum(dim=1).view(-1, size).T
