"""Top-H: kept tokens under the three rules, and the exact optimum."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from polyculture.decode.top_h import entropy_constrained_mass, top_h_mask, truncation
from tests.golden.adapters.given import given


def logits(inputs: dict[str, Any]) -> torch.Tensor:
    return torch.tensor([[float(x) for x in inputs["logits"]]], dtype=torch.float64)


def ids(mask: torch.Tensor) -> list[int]:
    return torch.nonzero(mask[0]).flatten().tolist()


def paper(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    z = logits(inputs)
    mask = top_h_mask(z, **given(params, "alpha", "temperature"))
    cut = truncation(z, mask, **given(params, "temperature"))
    return {
        "kept_token_ids": ids(mask),
        "H_p": cut.entropy.item(),
        "H_q": cut.kept_entropy.item(),
        "mass": cut.mass.item(),
        "jsd_p_q": cut.jsd.item(),
    }


def reference(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    options = given(params, "alpha", "temperature", "top_n")
    return {"kept_token_ids": ids(top_h_mask(logits(inputs), rule="reference", **options))}


def hf(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    options = given(params, "top_n", alpha="top_h")
    return {"kept_token_ids": ids(top_h_mask(logits(inputs), rule="hf", **options))}


def ecmm(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    best = entropy_constrained_mass(np.array(inputs["p"]), **given(params, "alpha"))
    return {
        "optimal_mass": best.mass,
        "optimal_subset": list(best.subset),
        "greedy_mass": best.greedy_mass,
        "ratio": best.ratio,
    }


OPS = {"top_h_paper": paper, "top_h_reference": reference, "top_h_hf": hf, "ecmm": ecmm}
