"""Proxy runs: train a small language model on each mixture, and write down the loss it reaches on every group.

The rows are those of ``Runs``: ``w:GROUP`` and ``loss:GROUP`` columns, one row a checkpoint.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from polyculture.errors import BadInput
from polyculture.files import atomic, locked, write_json
from polyculture.mix.groups import on_simplex
from polyculture.mix.runs import Runs
from polyculture.pool import Pool
from polyculture.progress import Progress, silent
from polyculture.tables import read_csv

if TYPE_CHECKING:
    from torch import nn

MakeModel = Callable[[], "nn.Module"]
Encode = Callable[[str], Sequence[int]]

END = 256  # after the 256 bytes
BYTES = 257


@dataclass(frozen=True)
class ProxySettings:
    """How proxy models are trained.

    Args:
        steps: optimiser steps of a run.
        batch_size: sequences a step.
        length: tokens a sequence.
        learning_rate: the highest; it warms up over a tenth of the steps and falls to a tenth as a cosine.
        holdout: share of each group's tokens kept for validation, at least one sequence.
        validation_batches: of ``batch_size`` sequences a group at most.
        checkpoints: how often a run is evaluated, evenly; each gives a row with its ``progress``.
        seed: of the initial weights, the split and the order of data; every run shares it, so that they differ by
            their mixtures alone.
    """

    steps: int = 200
    batch_size: int = 16
    length: int = 64
    learning_rate: float = 3e-3
    holdout: float = 0.1
    validation_batches: int = 8
    checkpoints: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.batch_size, self.validation_batches, self.checkpoints) < 1 or self.length < 2:
            raise BadInput("steps, batch_size, validation_batches and checkpoints should be at least 1, length 2")
        if self.checkpoints > self.steps:
            raise BadInput(f"{self.checkpoints} checkpoints don't fit in {self.steps} steps")
        if not 0 < self.holdout < 1 or not self.learning_rate > 0:
            raise BadInput("holdout should be between 0 and 1, learning_rate above 0")


def byte_model() -> nn.Module:
    """A Llama of about 120 thousand weights over bytes: two layers of 64."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=BYTES,
            hidden_size=64,
            intermediate_size=160,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=END,
        )
    )


def byte_tokens(text: str) -> list[int]:
    """A text as its bytes and an end mark."""
    return [*text.encode("utf-8", "replace"), END]


def group_tokens(pool: Pool, encode: Encode = byte_tokens) -> dict[str, np.ndarray]:
    """Each group's texts as one stream of int64 tokens.

    Raises:
        BadInput: the pool has no texts or groups.
    """
    pool.need("texts", "groups")
    assert pool.texts is not None and pool.groups is not None
    streams: dict[str, list[int]] = {name: [] for name in pool.group_names}
    for text, code in zip(pool.texts, pool.groups, strict=True):
        streams[pool.group_names[int(code)]].extend(encode(text))
    return {name: np.array(stream, dtype=np.int64) for name, stream in streams.items()}


def run_proxies(
    pool: Pool,
    mixtures: Any,
    path: Path | str,
    *,
    settings: ProxySettings | None = None,
    make_model: MakeModel = byte_model,
    encode: Encode = byte_tokens,
    groups: Sequence[str] | None = None,
    progress: Progress = silent,
) -> Runs:
    """Train a model on each mixture and append its validation losses to a CSV file.

    A run that is in the file is not run again: stopped at any moment, the same call goes on with the run that was in
    flight. Each sequence of a batch comes from a group drawn with the mixture's weights.

    Args:
        pool: texts and groups; the groups are those of the mixtures.
        mixtures: (n, m) weights, columns as ``groups``.
        path: the CSV file; beside it ``NAME.settings.json`` says how its runs were made.
        settings: how to train; None is the defaults.
        make_model: a new model, ``model(input_ids=..., labels=...)`` with ``.loss`` and ``.logits`` as transformers'
            causal language models have; its initial weights come from torch's generator, which is seeded.
        encode: text to token ids of that model.
        groups: names of the columns; None is the pool's, in their order.
        progress: told of every run and its steps.

    Returns:
        Every run of the file.

    Raises:
        BadInput: a mixture names a group the pool lacks, is negative or sums to 0; a group has too little text for one
            sequence; the file was made with other settings, data or groups; training diverged.
        RunLocked: another process is adding to the file.
    """
    held, file = settings or ProxySettings(), Path(path)
    streams = group_tokens(pool, encode)
    names = tuple(groups or pool.group_names)
    weights = np.atleast_2d(on_simplex(mixtures, "mixtures"))
    if weights.shape[1] != len(names):
        raise BadInput(
            f"mixtures have {weights.shape[1]} weights, but there are {len(names)} groups: {', '.join(names)}"
        )
    absent = [g for g in names if g not in streams]
    if absent:
        raise BadInput(f"the pool has no group '{absent[0]}'; its groups are {', '.join(streams)}")
    data = {g: _split(streams[g], held, g, i) for i, g in enumerate(names)}
    with locked(file.parent / f".{file.name}.lock"):
        _check_settings(file, held, data, make_model)
        done = {row["run"] for _, row in read_csv(file)[1]} if file.exists() else set()
        for i, mixture in enumerate(weights):
            name = run_name(mixture)
            if name in done:
                continue

            def tell(step: int, i: int = i) -> None:
                progress(f"proxy run {i + 1} of {len(weights)}", i * held.steps + step, len(weights) * held.steps)

            rows = _train(mixture, data, held, make_model, tell)
            _append(file, [{"run": name, "mixture": name} | row for row in rows])
            done.add(name)
    progress("proxy runs", len(weights) * held.steps, len(weights) * held.steps)
    return Runs.read(file)


def run_name(mixture: np.ndarray) -> str:
    """A name for a mixture that two equal ones share."""
    return hashlib.blake2b(np.round(mixture, 9).tobytes(), digest_size=6).hexdigest()


def _split(stream: np.ndarray, settings: ProxySettings, group: str, place: int) -> tuple[np.ndarray, np.ndarray]:
    """Sequences (n, length) for training and validation, drawn apart at random."""
    n = len(stream) // settings.length
    if n < 2:
        raise BadInput(
            f"group '{group}' has {len(stream)} tokens: too few for a sequence of {settings.length} to train on and "
            "one to validate with; add text or use a shorter length"
        )
    sequences = stream[: n * settings.length].reshape(n, settings.length)
    order = np.random.default_rng([settings.seed, place]).permutation(n)
    held = min(max(1, round(settings.holdout * n)), n - 1)
    return sequences[order[held:]], sequences[order[:held]]


def _check_settings(
    file: Path, settings: ProxySettings, data: dict[str, tuple[np.ndarray, np.ndarray]], make_model: MakeModel
) -> None:
    digest = hashlib.blake2b(digest_size=16)
    for name, parts in data.items():
        digest.update(name.encode())
        for part in parts:
            digest.update(part.tobytes())
    model = (
        f"{make_model.__module__}:{make_model.__qualname__}"
        if hasattr(make_model, "__qualname__")
        else repr(make_model)
    )
    now = asdict(settings) | {"groups": list(data), "data": digest.hexdigest(), "model": model}
    beside = file.with_name(f"{file.name}.settings.json")
    if beside.exists() and file.exists():
        before = json.loads(beside.read_text(encoding="utf-8"))
        other = [key for key in now if before.get(key) != now[key]]
        if other:
            raise BadInput(
                f"{file} holds runs made with other {', '.join(other)}; runs are only comparable if these are the "
                "same. Choose another file with -o"
            )
        return
    if file.exists():
        raise BadInput(f"{file} is there, but not how its runs were made ({beside.name}); choose another file with -o")
    write_json(beside, now)


def _append(file: Path, rows: list[dict[str, Any]]) -> None:
    """Add rows by writing the whole file anew beside it and renaming: it is never seen half written."""
    header, before = read_csv(file) if file.exists() else (list(rows[0]), [])
    with atomic(file) as handle:
        writer = csv.DictWriter(handle, header, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row for _, row in before)
        writer.writerows({key: repr(v) if isinstance(v, float) else v for key, v in row.items()} for row in rows)


def _train(
    mixture: np.ndarray,
    data: dict[str, tuple[np.ndarray, np.ndarray]],
    settings: ProxySettings,
    make_model: MakeModel,
    tell: Callable[[int], None],
) -> list[dict[str, Any]]:
    import torch

    start = time.perf_counter()
    names = list(data)
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        model = make_model()
    rng = np.random.default_rng([settings.seed, len(names)])
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=0.01)
    warm = max(1, settings.steps // 10)

    def rate(step: int) -> float:
        fallen = (step - warm) / max(1, settings.steps - warm)
        return (step + 1) / warm if step < warm else 0.1 + 0.45 * (1 + math.cos(math.pi * fallen))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
    marks = np.unique(np.rint(np.linspace(0, settings.steps, settings.checkpoints + 1)[1:]).astype(int))
    rows = []
    model.train()
    for step in range(1, settings.steps + 1):
        tell(step - 1)
        # The same draws decide for every run; only the mixture moves the borders between the groups.
        of_group = np.searchsorted(np.cumsum(mixture)[:-1], rng.random(settings.batch_size), side="right")
        places = rng.random(settings.batch_size)
        batch = np.stack([_pick(data[names[g]][0], u) for g, u in zip(of_group, places, strict=True)])
        ids = torch.from_numpy(batch)
        loss = model(input_ids=ids, labels=ids).loss
        if not torch.isfinite(loss):
            raise BadInput(f"training on mixture {np.round(mixture, 3).tolist()} diverged; use a lower learning rate")
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step in marks:
            losses = {f"loss:{name}": group_loss(model, data[name][1], settings) for name in names}
            rows.append(
                {f"w:{name}": float(w) for name, w in zip(names, mixture, strict=True)}
                | {"progress": step / settings.steps, "steps": step}
                | losses
                | {"seconds": round(time.perf_counter() - start, 3)}
            )
    return rows


def _pick(sequences: np.ndarray, u: float) -> np.ndarray:
    return sequences[min(int(u * len(sequences)), len(sequences) - 1)]


def group_loss(model: nn.Module, sequences: np.ndarray, settings: ProxySettings) -> float:
    """Mean loss a token over at most ``validation_batches`` batches of sequences, in nats."""
    import torch

    was_training = model.training
    model.eval()
    total = count = 0.0
    with torch.no_grad():
        for start in range(0, len(sequences), settings.batch_size)[: settings.validation_batches]:
            ids = torch.from_numpy(sequences[start : start + settings.batch_size])
            total += float(model(input_ids=ids, labels=ids).loss) * len(ids)
            count += len(ids)
    model.train(was_training)
    return total / count
