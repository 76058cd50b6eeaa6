"""What an adapter is trained on has to be somewhere, for its folder names it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from polyculture.align.adapters import base_of, is_adapter
from polyculture.align.trainer import AlignmentTrainer
from polyculture.errors import BadInput


@pytest.fixture
def adapter(tiny_model: str, tmp_path: Path) -> str:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    folder = tmp_path / "adapter"
    get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), config).save_pretrained(folder)
    return str(folder)


def test_a_whole_model_is_its_own_base(tiny_model: str, adapter: str, tmp_path: Path) -> None:
    assert base_of(tiny_model, tmp_path / "base", "auto") == tiny_model and not (tmp_path / "base").exists()
    base = base_of(adapter, tmp_path / "base", "auto")
    assert base == str(tmp_path / "base") and (tmp_path / "base" / "tokenizer.json").exists()
    assert is_adapter(adapter) and not is_adapter(base)
    written = (tmp_path / "base" / "model.safetensors").stat().st_mtime_ns
    base_of(adapter, tmp_path / "base", "auto")
    assert (tmp_path / "base" / "model.safetensors").stat().st_mtime_ns == written


def test_an_adapter_on_an_adapter_is_refused(adapter: str, preferences: list[dict[str, Any]], tmp_path: Path) -> None:
    from peft import LoraConfig

    config = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    with pytest.raises(BadInput, match=r"is an adapter, .*merge_and_unload"):
        AlignmentTrainer(adapter, "dpo", train_dataset=preferences, peft_config=config)
