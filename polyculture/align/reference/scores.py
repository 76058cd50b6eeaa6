"""The reference model: its log-probabilities of the data, computed once and kept on disk, or the model itself.

Most objectives need of the reference only the log-probability of each token in the data. These are computed before the
training, block by block, and written to disk: the model need not be held in memory beside the policy, a stopped run
finds them again, and so does the next run with another beta.
"""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from polyculture.align.data.encoding import Encoded
from polyculture.align.data.layout import Layout
from polyculture.align.data.ragged import Ragged
from polyculture.align.log_probs.forward import Abilities, score_batch
from polyculture.align.reference.fingerprint import fingerprint
from polyculture.errors import BadInput
from polyculture.files import atomic
from polyculture.progress import Progress, silent

BLOCK = 2048
"""Examples of one file."""

Scores = list[list[np.ndarray]]
"""Of several examples, for each completion, the log-probability of every token."""
Share = Callable[[dict[int, Any]], dict[int, Any]]
"""Hands what this process found to all others, and gives what all did."""


def reference_log_probs(
    model: Any,
    examples: Sequence[Encoded],
    *,
    layout: Layout,
    abilities: Abilities,
    folder: Path | None,
    known_as: str = "",
    batch_size: int = 8,
    rank: int = 0,
    world: int = 1,
    share: Share = lambda found: found,
    progress: Progress = silent,
) -> Ragged:
    """Of each example, for each completion, the model's log-probability of every token, float32.

    Args:
        model: the reference, not wrapped; it is run in eval mode and left as it was.
        examples: the data.
        layout: how they lie in a batch.
        abilities: of the model.
        folder: where they are kept; None keeps nothing. A file is found again by its content: what the model computes
            (its fingerprint), and the tokens.
        known_as: the model's fingerprint, if it was taken just now.
        batch_size: examples computed at once.
        rank: of this process.
        world: number of processes; each computes its part.
        share: see Share; needed where there are several processes.
        progress: told the examples.

    Raises:
        BadInput: the reference gives a token of the data no probability, or the processes hold different models.
    """
    if folder is not None or world > 1:
        known_as = known_as or fingerprint(model)
    if world > 1 and len(set(share({rank: known_as}).values())) > 1:
        raise BadInput(
            "the processes hold different weights of the reference; if only the first one loads them "
            "(FSDP_CPU_RAM_EFFICIENT_LOADING), let all of them"
        )

    def block_by_block() -> Iterator[list[np.ndarray]]:
        for start in range(0, len(examples), BLOCK):
            block = examples[start : start + BLOCK]
            path = None if folder is None else folder / f"{_key(known_as, block)}.safetensors"
            held = None if path is None else _read(path, block)
            # All compute or none does: another one may not see the file, or may see it before this one does.
            if world > 1 and not all(share({rank: held is not None}).values()):
                held = None
            if held is None:
                own = [i for i in range(len(block)) if i % world == rank]
                part = share(_score(model, block, own, layout, abilities, batch_size, start, len(examples), progress))
                held = [part[i] for i in range(len(block))]
                _check_finite(block, held)
                if path is not None and int(os.environ.get("LOCAL_RANK", rank)) == 0:  # machines may share no disk
                    _write(path, held)
            yield from held

    was_training = model.training
    model.eval()
    try:
        return Ragged(block_by_block(), np.float32)
    finally:
        model.train(was_training)


def _check_finite(block: Sequence[Encoded], held: Scores) -> None:
    for example, scores in zip(block, held, strict=True):
        if not all(np.isfinite(one).all() for one in scores):
            raise BadInput(
                f"{example.place or 'an example'}: the reference gives one of its tokens no probability (NaN or "
                "infinite log-probability); use a reference with the same tokenizer, or drop the row"
            )


def frozen_copy(model: Any) -> Any:
    """A copy of a model that takes no gradient, in eval mode."""
    made = copy.deepcopy(model).eval()
    for parameter in made.parameters():
        parameter.requires_grad_(False)
    return made


@contextlib.contextmanager
def without_adapter(model: Any) -> Iterator[Any]:
    """A PEFT model as it was before its adapter, in eval mode, for the block."""
    modes = [(module, module.training) for module in model.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    model.eval()
    try:
        with model.disable_adapter():
            yield model
    finally:
        for module, training in modes:
            module.training = training
        for parameter, flag in flags:  # switching the adapter on again makes all of it trainable
            parameter.requires_grad_(flag)


def has_adapter(model: Any) -> bool:
    """Whether a model trains a PEFT adapter, so that the reference is the same model without it."""
    return hasattr(model, "disable_adapter") and hasattr(model, "peft_config")


def _score(
    model: Any,
    block: Sequence[Encoded],
    own: Sequence[int],
    layout: Layout,
    abilities: Abilities,
    batch_size: int,
    done: int,
    total: int,
    progress: Progress,
) -> dict[int, list[np.ndarray]]:
    device = next(model.parameters()).device
    order = sorted(own, key=lambda i: (sum(map(len, block[i].completions)) + len(block[i].prompt), i))
    found: dict[int, list[np.ndarray]] = {}
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        batch = {name: value.to(device) for name, value in layout([(i, block[i], {}) for i in rows]).items()}
        with torch.no_grad():
            log_probs = score_batch(model, batch, abilities).log_probs.float().cpu().numpy()
        for b, i in enumerate(rows):
            found[i] = [log_probs[k * len(rows) + b, : len(c)].copy() for k, c in enumerate(block[i].completions)]
        progress("reference log-probabilities", done + start + len(rows), total)
    return found


def _key(fingerprint: str, block: Sequence[Encoded]) -> str:
    import xxhash

    digest = xxhash.xxh3_128(fingerprint.encode())
    for example in block:
        for ids in (example.prompt, *example.completions):
            digest.update(np.asarray([len(ids), *ids], dtype=np.int64).tobytes())
    return str(digest.hexdigest())


def _write(path: Path, held: Scores) -> None:
    from safetensors.numpy import save

    flat = [one for scores in held for one in scores]
    values = np.concatenate(flat) if flat else np.zeros(0, dtype=np.float32)
    with atomic(path, "wb") as file:
        file.write(save({"log_probs": values.astype(np.float32)}))


def _read(path: Path, block: Sequence[Encoded]) -> Scores | None:
    """What was kept, or None if nothing was, or something else."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not path.exists():
        return None
    lengths = [len(one) for example in block for one in example.completions]
    try:
        values = load_file(path)["log_probs"]
    except (SafetensorError, KeyError, OSError):
        return None
    if values.shape != (sum(lengths),) or not np.isfinite(values).all():
        return None
    flat = iter(np.split(values, np.cumsum(lengths)[:-1]))
    return [[next(flat) for _ in example.completions] for example in block]
