"""Tiny mixtures of experts in memory, one of each architecture, with random weights that have opinions."""

from __future__ import annotations

import functools
from typing import Any

import torch
from transformers import (
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedModel,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

MODELS = ("mixtral", "qwen2", "qwen3")


@functools.cache
def tiny_moe(kind: str, vocab_size: int = 40, seed: int = 0) -> PreTrainedModel:
    """A model of two layers with four experts, two of them active; in eval mode. Shared: leave it as it is."""
    shared: dict[str, Any] = {
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "num_experts_per_tok": 2,
        "max_position_embeddings": 64,
        "bos_token_id": 1,
        "eos_token_id": None,
        "pad_token_id": 0,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: PreTrainedModel
        if kind == "mixtral":
            model = MixtralForCausalLM(MixtralConfig(num_local_experts=4, **shared))
        elif kind == "qwen2":
            sizes = {"moe_intermediate_size": 24, "shared_expert_intermediate_size": 24}
            model = Qwen2MoeForCausalLM(Qwen2MoeConfig(num_experts=4, **sizes, **shared))
        else:
            sizes = {"moe_intermediate_size": 24, "head_dim": 8}
            model = Qwen3MoeForCausalLM(Qwen3MoeConfig(num_experts=4, norm_topk_prob=True, **sizes, **shared))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.dim() > 1:
                    parameter.normal_(0, 1.0 if "gate.weight" in name else 0.25)
    return model.eval()
