"""What a file of the reference's log-probabilities is found by: what the model computes, not what it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.numpy import save_file
from transformers import AutoModelForCausalLM

from polyculture.align.data.encoding import Encoded
from polyculture.align.data.layout import Layout
from polyculture.align.log_probs.forward import Abilities
from polyculture.align.reference.fingerprint import fingerprint
from polyculture.align.reference.scores import reference_log_probs, without_adapter
from polyculture.errors import BadInput


def loaded(folder: str) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def test_weights_and_configuration_tell_models_apart(tiny_model: str) -> None:
    model, same, other = loaded(tiny_model), loaded(tiny_model), loaded(tiny_model)
    same.config.use_cache = not same.config.use_cache
    assert fingerprint(model) == fingerprint(same)
    other.config.rope_parameters = {**other.config.rope_parameters, "rope_theta": 5.0}
    assert fingerprint(model) != fingerprint(other)
    with torch.no_grad():
        same.lm_head.weight[0, 0] += 1
    assert fingerprint(model) != fingerprint(same)


@pytest.mark.parametrize("whole", [None, ["lm_head"]])
def test_an_adapter_counts_unless_it_is_switched_off(tiny_model: str, whole: list[str] | None) -> None:
    config = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=whole, task_type="CAUSAL_LM")
    adapted = get_peft_model(loaded(tiny_model), config)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.1)
    plain = fingerprint(loaded(tiny_model))
    assert fingerprint(adapted) != plain
    with without_adapter(adapted) as off:
        assert fingerprint(off) == plain


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


def adapted(folder: str, **config: Any) -> Any:
    made = get_peft_model(loaded(folder), LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM", **config))
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "lora_" in name:
                parameter.fill_(0.1)
    return made


def test_an_adapters_scale_and_which_of_several_is_active_count(tiny_model: str) -> None:
    model = adapted(tiny_model, lora_alpha=4)
    once = fingerprint(model)
    assert fingerprint(adapted(tiny_model, lora_alpha=4)) == once
    assert fingerprint(adapted(tiny_model, lora_alpha=8)) != once, "the same weights, but twice as strong"
    model.add_adapter("other", LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    one = fingerprint(model)
    model.set_adapter("other")
    assert fingerprint(model) != one, "the same weights, but another adapter is used"


def test_weights_that_are_kept_in_buffers_count(tiny_model: str) -> None:
    found = []
    for value in (1.0, 2.0):
        model = loaded(tiny_model)
        model.lm_head.register_buffer("scales", torch.full((3,), value))  # as quantised layers keep theirs
        found.append(fingerprint(model))
    assert found[0] != found[1]


def test_the_type_that_is_computed_in_counts(tiny_model: str) -> None:
    model = loaded(tiny_model)
    with torch.autocast("cpu", torch.bfloat16):
        inside = fingerprint(model)
    assert fingerprint(model) not in (inside, fingerprint(model.to(torch.bfloat16)))


def test_what_is_not_finite_is_named_and_not_kept(tiny_model: str, tmp_path: Path) -> None:
    examples = [Encoded([3, 4], ([5, 1], [6, 1]), {}, place="row 1"), Encoded([3], ([7, 1], [8, 1]), {}, place="row 2")]
    model = loaded(tiny_model)
    with torch.no_grad():
        model.model.embed_tokens.weight[7] = float("nan")  # row 2 reads it before its end

    def scored(which: Any) -> Any:
        return reference_log_probs(which, examples, layout=Layout(2), abilities=Abilities(), folder=tmp_path)

    with pytest.raises(BadInput, match="row 2: the reference gives one of its tokens no probability"):
        scored(model)
    assert not list(tmp_path.iterdir())
    found = scored(loaded(tiny_model))
    (path,) = tmp_path.iterdir()
    save_file({"log_probs": np.full(8, np.nan, dtype=np.float32)}, path)  # written by a machine that failed
    again = scored(loaded(tiny_model))
    assert len(again) == 2 and all(
        (a == b).all() for x, y in zip(found, again, strict=True) for a, b in zip(x, y, strict=True)
    )
