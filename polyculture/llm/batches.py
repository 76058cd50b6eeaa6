"""Sequences of tokens in batches, and the key-value cache of a prompt that several of them begin with."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch


def left_padded(sequences: Sequence[list[int]], pad: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """(rows, longest) ids and mask, padded on the left so that all sequences end in the last column."""
    longest = max(map(len, sequences))
    ids = [[pad] * (longest - len(s)) + s for s in sequences]
    mask = [[0] * (longest - len(s)) + [1] * len(s) for s in sequences]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def logits(
    model: Any, ids: torch.Tensor, mask: torch.Tensor, *, keep: int = 0, cache: Any = None, start: int | None = None
) -> torch.Tensor:
    """One forward pass.

    Args:
        model: a transformers causal language model.
        ids: (rows, length) token ids.
        mask: (rows, cached + length), 0 where there is padding.
        keep: logits of the last so many positions only; 0 keeps all.
        cache: key-value cache to read and extend.
        start: position of the first column after the cache; by default positions count each row's real tokens.
    """
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    if start is not None:
        positions = torch.arange(start, start + ids.shape[1], device=ids.device).expand(ids.shape[0], -1)
    inputs = {"input_ids": ids, "attention_mask": mask, "use_cache": cache is not None, "logits_to_keep": keep}
    if takes(model, "position_ids"):  # models with relative positions have none
        inputs["position_ids"] = positions
    if cache is not None:
        inputs["past_key_values"] = cache
    scores = model(**inputs).logits
    return scores[:, -keep:] if keep else scores


def takes(model: Any, argument: str) -> bool:
    """Whether a model's forward names an argument."""
    import inspect

    return argument in inspect.signature(model.forward).parameters


def prefill(model: Any, prompts: Sequence[list[int]], pad: int) -> Any:
    """The key-value cache of prompts, one row each, padded on the left."""
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    logits(model, *left_padded(prompts, pad, model.device), keep=1, cache=cache)
    return cache


def can_share(model: Any) -> bool:
    """Whether the model's cache can be copied row by row; recurrent layers keep a state that can't."""
    from transformers import DynamicCache

    layers = DynamicCache(config=model.config).layers
    return all(hasattr(layer, "batch_select_indices") and hasattr(layer, "batch_repeat_interleave") for layer in layers)


def runs(order: Iterable[int], key: Callable[[int], Any]) -> Iterator[list[int]]:
    """Neighbours with the same key together."""
    return (list(group) for _, group in itertools.groupby(order, key))


def batches(order: Sequence[int], size: int, key: Callable[[int], Any]) -> Iterator[list[int]]:
    """Runs of at most ``size`` neighbours with the same key."""
    for run in runs(order, key):
        for start in range(0, len(run), size):
            yield run[start : start + size]
