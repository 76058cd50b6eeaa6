"""What a model computes, as a hash: two models with the same one give the same log-probabilities."""

from __future__ import annotations

import json
from typing import Any

import torch

UNTOLD = ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version", "use_cache")
"""Of a configuration, what says nothing of a model's numbers that its weights do not."""
ADAPTER_UNTOLD = ("base_model_name_or_path", "inference_mode", "revision", "peft_version")
"""The same of an adapter's."""


def fingerprint(model: Any) -> str:
    """A hash of a model's class, configuration, weights and buffers, and of the type that it is computed in.

    Adapters count, with their configurations and which of them are active, unless they are switched off.

    Args:
        model: a transformers model, or a PEFT one, not wrapped for training.
    """
    import xxhash

    # Of adapters: whole models have a method of that name.
    layers = [module for module in model.modules() if isinstance(getattr(module, "disable_adapters", None), bool)]
    off = bool(layers) and all(layer.disable_adapters for layer in layers)
    core = model.get_base_model() if hasattr(model, "get_base_model") else model
    told: dict[str, Any] = {"class": type(core).__name__, "config": _told(core.config, UNTOLD), "computed in": ""}
    device = next(model.parameters()).device.type
    if torch.is_autocast_enabled(device):
        told["computed in"] = str(torch.get_autocast_dtype(device))
    if layers and not off:
        active = sorted({name for layer in layers for name in layer.active_adapters})
        told["adapters"] = {name: _told(model.peft_config[name], ADAPTER_UNTOLD) for name in active}
    digest = xxhash.xxh3_128(json.dumps(told, sort_keys=True, default=_plain).encode())
    # The state, not the parameters alone: quantised models keep their weights in buffers.
    for name, value in sorted(model.state_dict().items()):
        if not isinstance(value, torch.Tensor) or (off and (".lora_" in name or ".modules_to_save." in name)):
            continue
        plain = name.removeprefix("base_model.model.").replace(".base_layer", "").replace(".original_module", "")
        digest.update(f"{plain} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().data)
    return str(digest.hexdigest())


def _told(config: Any, untold: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in config.to_dict().items() if name not in untold}


def _plain(value: Any) -> Any:
    return sorted(map(str, value)) if isinstance(value, (set, frozenset)) else str(value)
