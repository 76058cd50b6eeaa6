"""What a file of the reference's log-probabilities is found by: what the model computes, not what it is called."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from polyculture.align.data.encoding import Encoded
from polyculture.align.data.layout import Layout
from polyculture.align.log_probs.forward import Abilities
from polyculture.align.reference.scores import _fingerprint, reference_log_probs, without_adapter
from polyculture.errors import BadInput


def loaded(folder: str) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def test_weights_and_configuration_tell_models_apart(tiny_model: str) -> None:
    model, same, other = loaded(tiny_model), loaded(tiny_model), loaded(tiny_model)
    same.config.use_cache = not same.config.use_cache
    assert _fingerprint(model) == _fingerprint(same)
    other.config.rope_parameters = {**other.config.rope_parameters, "rope_theta": 5.0}
    assert _fingerprint(model) != _fingerprint(other)
    with torch.no_grad():
        same.lm_head.weight[0, 0] += 1
    assert _fingerprint(model) != _fingerprint(same)


@pytest.mark.parametrize("whole", [None, ["lm_head"]])
def test_an_adapter_counts_unless_it_is_switched_off(tiny_model: str, whole: list[str] | None) -> None:
    config = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=whole, task_type="CAUSAL_LM")
    adapted = get_peft_model(loaded(tiny_model), config)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.1)
    plain = _fingerprint(loaded(tiny_model))
    assert _fingerprint(adapted) != plain
    with without_adapter(adapted) as off:
        assert _fingerprint(off) == plain


def test_processes_with_other_weights_are_noticed(tiny_model: str) -> None:
    examples = [Encoded([3, 4], ([5, 1], [6, 1]), {})]
    with pytest.raises(BadInput, match="the processes hold different weights of the reference"):
        reference_log_probs(
            loaded(tiny_model),
            examples,
            layout=Layout(2),
            abilities=Abilities(),
            folder=None,
            world=2,
            share=lambda found: {**found, 1: "another"},
        )
