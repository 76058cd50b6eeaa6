"""What an adapter is trained on: a model whose weights are somewhere, for the adapter's folder names it as its base."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from polyculture.errors import BadInput
from polyculture.llm.loading import load

BASE = "base"
"""Folder of the model that an adapter was trained on, where that was an adapter itself."""


def is_adapter(model: Any) -> bool:
    """Whether this is the folder of a PEFT adapter."""
    return isinstance(model, (str, Path)) and (Path(model) / "adapter_config.json").exists()


def check_base(model: Any) -> None:
    """Check that a new adapter can name its base.

    Loaded, an adapter is merged into its own base, and the two are nowhere as one: a new adapter's folder would name
    the base alone, and forget the adapter in between.

    Args:
        model: where a model is to be loaded from, or one in memory.

    Raises:
        BadInput: it is the folder of an adapter.
    """
    if is_adapter(model):
        raise BadInput(
            f"{model} is an adapter, and one trained on it would be saved as one on its base; save the two as a "
            "whole first: AutoPeftModelForCausalLM.from_pretrained(FOLDER).merge_and_unload().save_pretrained(OTHER), "
            "with the tokenizer"
        )


def base_of(model: str, out: Path, dtype: Any) -> str:
    """The folder of a model that a new adapter can name as its base.

    Args:
        model: a folder or hub id.
        out: where the model is written as a whole if it is an adapter; what is there already is kept.
        dtype: of the weights.

    Returns:
        ``model``, or ``out``.
    """
    if not is_adapter(model):
        return model
    if not out.exists():
        whole, tokenizer = load(model, None, dtype)
        fresh = out.with_name(f".{out.name}.tmp")
        shutil.rmtree(fresh, ignore_errors=True)
        whole.save_pretrained(fresh)
        tokenizer.save_pretrained(fresh)
        fresh.rename(out)
    return str(out.resolve())
