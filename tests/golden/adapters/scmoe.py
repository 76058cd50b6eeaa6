"""Self-contrast: one decoding step, and an expert block routed by gate ranks."""

from __future__ import annotations

from typing import Any

import torch
from transformers import MixtralConfig
from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

from polyculture.decode.scmoe import contrast
from polyculture.llm.routing import routing
from tests.golden.adapters.given import given


def tensor(values: Any) -> torch.Tensor:
    rows = [[float(x) for x in row] for row in values]
    return torch.tensor(rows, dtype=torch.float64)


def contrast_step(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    z = contrast(
        tensor(inputs["z_strong"]),
        tensor(inputs["z_weak"]),
        **given(params, "beta", "alpha", strong_temperature="t_strong", weak_temperature="t_weak"),
    )
    valid = [torch.nonzero(row > -torch.inf).flatten() for row in z]
    return {
        "valid_token_ids": [ids.tolist() for ids in valid],
        "z_sc_on_valid": [row[ids].tolist() for row, ids in zip(z, valid, strict=True)],
        "probabilities_on_valid": [row.softmax(-1)[ids].tolist() for row, ids in zip(z, valid, strict=True)],
        "greedy_tokens": z.argmax(-1).tolist(),
    }


def rank_routing(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    x, gate = tensor(inputs["x"]), tensor(inputs["weights"]["gate"])
    experts = inputs["weights"]["experts"]
    config = MixtralConfig(
        hidden_size=x.shape[1],
        intermediate_size=len(experts[0]["w1"]),
        num_local_experts=len(experts),
        num_experts_per_tok=1,
    )
    config._experts_implementation = "eager"
    block = MixtralSparseMoeBlock(config).double().eval()
    with torch.no_grad():
        block.gate.weight.copy_(gate)
        for i, expert in enumerate(experts):
            block.experts.gate_up_proj[i] = torch.cat([tensor(expert["w1"]), tensor(expert["w3"])])
            block.experts.down_proj[i] = tensor(expert["w2"])
        outputs = {}
        for ranks in params["routes_by_rank"]:
            with routing(block, ranks):
                outputs["_".join(map(str, ranks))] = block(x[None])[0].tolist()
        return {"outputs_by_ranks": outputs, "router_logits": block.gate(x)[0].tolist()}


OPS = {"contrast_step": contrast_step, "rank_routing": rank_routing}
