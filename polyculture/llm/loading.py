"""Where a transformers model comes from: the hub, a folder, a PEFT adapter, or memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from polyculture.errors import BadInput, need


def load(model: Any, tokenizer: Any, dtype: Any) -> tuple[Any, Any]:
    """The model and its tokenizer, loaded where they are not in memory yet.

    Args:
        model: hub id, folder, folder of a PEFT adapter, or a model.
        tokenizer: a tokenizer, where to load it from, or None for where the model is.
        dtype: "auto", the name of a torch dtype, or one.

    Raises:
        BadInput: there is nothing there, it is not a causal language model, or it comes without a tokenizer.
        MissingExtra: it is an adapter and peft is not installed.
    """
    from transformers import AutoModelForCausalLM

    place = str(model)
    if not isinstance(model, (str, Path)):
        if tokenizer is None:
            raise BadInput("a model in memory needs its tokenizer: TransformersLLM(model, tokenizer)")
        return model, _tokenizer(tokenizer)
    if Path(place).exists() and not (Path(place) / "config.json").exists() and not _is_adapter(place):
        inside = Path(place) / "model"  # a run of polyculture align
        is_run = (inside / "config.json").exists() or _is_adapter(str(inside))
        remedy = f"{inside} has one, give that" if is_run else "give the folder save_pretrained wrote"
        raise BadInput(f"{place}: no config.json or adapter_config.json there; {remedy}")
    try:
        if _is_adapter(place):
            found, base = _adapter(place, dtype)
        else:
            found, base = AutoModelForCausalLM.from_pretrained(place, dtype=_dtype(dtype)), place
    except (OSError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BadInput(
            f"can't load the model '{place}': {first}; give a folder, or a hub id that can be reached"
        ) from error
    return found, _tokenizer(tokenizer or (place if _has_tokenizer(place) else base))


def on_device(model: Any, device: Any) -> Any:
    """The model on ``device``; None is the first GPU if there is one, else the CPU.

    Raises:
        BadInput: there is no such device.
    """
    import torch

    try:
        return model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except (RuntimeError, AssertionError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise BadInput(
                f"the model does not fit on {device or 'cuda'}; use dtype='bfloat16', or another device"
            ) from error
        raise BadInput(f"device '{device}' can't be used: {str(error).splitlines()[0]}") from error


def _is_adapter(place: str) -> bool:
    return (Path(place) / "adapter_config.json").exists()


def _has_tokenizer(place: str) -> bool:
    return not Path(place).exists() or any((Path(place)).glob("tokenizer*"))


def _adapter(place: str, dtype: Any) -> tuple[Any, str]:
    from transformers import AutoModelForCausalLM

    peft = need("peft", "train")
    base = peft.PeftConfig.from_pretrained(place).base_model_name_or_path
    model = AutoModelForCausalLM.from_pretrained(base, dtype=_dtype(dtype))
    # Merged, the adapter costs nothing a token, and every transformers feature sees a plain model.
    return peft.PeftModel.from_pretrained(model, place).merge_and_unload(), base


def _dtype(dtype: Any) -> Any:
    import torch

    if isinstance(dtype, str) and dtype != "auto":
        found = getattr(torch, dtype, None)
        if not isinstance(found, torch.dtype):
            raise BadInput(f"dtype '{dtype}' is none of torch's; use auto, float32, bfloat16 or float16")
        return found
    return dtype


def _tokenizer(source: Any) -> Any:
    from transformers import AutoTokenizer

    if not isinstance(source, (str, Path)):
        return source
    try:
        return AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"can't load a tokenizer from '{source}': {str(error).strip().splitlines()[0]}") from error
