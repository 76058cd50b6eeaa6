"""Samples of a policy in training, and what the policy and its reference think of them, leaving the training as it was.

Each sample draws from its own generator, made from the seed, the prompt and its number: torch's random stream is not
touched, and a policy that has not changed gives the same samples again, so that two evaluations differ by the policy
alone.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polyculture.align.log_probs.head import TokenScores, scores_from_logits
from polyculture.align.log_probs.head_tiles import TOP_K
from polyculture.llm.base import sample_seed
from polyculture.llm.batches import left_padded, takes
from polyculture.llm.sampling import SeededSampling, nothing_configured
from polyculture.measure.over_optimisation import top_k_entropy

CACHE_BYTES = 2**30
"""Keys and values of the sequences that are sampled together, unless their number is given."""
LOGITS = 2**26
"""Logits of the sequences that are read together: 256 MiB of float32."""

Tokens = Sequence[int]


@dataclass(frozen=True)
class Reading:
    """Sums over the tokens of one completion; nats, but ``top_k_entropy`` is in bits. NaN where there is no reference.

    Args:
        tokens: how many there are, the end of the sequence included.
        log_prob: of the tokens under the policy.
        entropy: of the policy's next token.
        top_k_entropy: of the k likeliest next tokens, renormalised.
        top_k_mass: of the same.
        reverse_kl: KL(policy || reference) over the whole vocabulary.
        forward_kl: KL(reference || policy) over the whole vocabulary.
    """

    tokens: int
    log_prob: float
    entropy: float = float("nan")
    top_k_entropy: float = float("nan")
    top_k_mass: float = float("nan")
    reverse_kl: float = float("nan")
    forward_kl: float = float("nan")


def sample_policy(
    model: Any,
    prompts: Sequence[Tokens],
    n: int,
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    seed: int = 0,
    end: Sequence[int] = (),
    pad: int = 0,
    batch_size: int | None = None,
) -> list[list[list[int]]]:
    """Several samples of each prompt, as token ids up to and with the end of the sequence.

    Args:
        model: a transformers causal language model, in eval mode.
        prompts: token ids, at least one each.
        n: samples a prompt.
        max_new_tokens: of one sample.
        temperature: 0 is greedy.
        top_p: draw from the likeliest tokens that make up this much of the probability; 1 cuts nothing off.
        seed: of the samples.
        end: tokens that end a sequence.
        pad: any token; it is masked.
        batch_size: sequences computed together; None takes as many as have 1 GiB of keys and values.
    """
    from transformers import GenerationConfig, LogitsProcessorList, TopPLogitsWarper

    config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        use_cache=True,
        eos_token_id=list(end) or None,
        pad_token_id=pad,
    )
    asked = sorted(
        ((ids, i, j) for i, ids in enumerate(prompts) for j in range(n)), key=lambda ask: (len(ask[0]), *ask[1:])
    )
    found: list[list[list[int]]] = [[[] for _ in range(n)] for _ in prompts]
    rows = batch_size or _cached_rows(model, max(map(len, prompts), default=1) + max_new_tokens)
    for start in range(0, len(asked), rows):
        batch = asked[start : start + rows]
        ids, mask = left_padded([list(prompt) for prompt, _, _ in batch], pad, _device(model))
        processors = LogitsProcessorList()
        if temperature > 0:
            processors += [_Tempered(temperature)] if temperature != 1 else []
            processors += [TopPLogitsWarper(top_p)] if top_p < 1 else []
            processors.append(SeededSampling([sample_seed(seed, " ".join(map(str, p)), j) for p, _, j in batch]))
        with torch.no_grad(), nothing_configured(model):
            drawn = model.generate(
                input_ids=ids, attention_mask=mask, generation_config=config, logits_processor=processors
            )
        for (_, i, j), row in zip(batch, drawn[:, ids.shape[1] :].tolist(), strict=True):
            stop = next((place + 1 for place, token in enumerate(row) if token in end), len(row))
            found[i][j] = row[:stop]
    return found


def read_completions(
    policy: Any,
    prompts: Sequence[Tokens],
    completions: Sequence[Tokens],
    *,
    reference: Any = None,
    distributions: bool = True,
    k: int = TOP_K,
    pad: int = 0,
) -> list[Reading]:
    """What the policy, and the reference, give each completion: one forward pass of each over prompt and completion.

    Args:
        policy: a transformers causal language model, in eval mode.
        prompts: token ids, one prompt a completion.
        completions: token ids.
        reference: another model of the same vocabulary, or a PEFT policy's own base (see :func:`reference_of`).
        distributions: False reads the log-probability alone.
        k: tokens of the top-k entropy and mass.
        pad: any token; it is masked.
    """
    order = sorted((i for i in range(len(prompts)) if len(completions[i])), key=lambda i: len(completions[i]))
    found = [Reading(0, 0.0)] * len(prompts)
    start = 0
    while start < len(order):
        size = max(1, LOGITS // (_vocabulary(policy) * len(completions[order[start]])))
        batch = order[start : start + size]
        size = max(1, LOGITS // (_vocabulary(policy) * len(completions[batch[-1]])))  # the batch's longest decides
        batch = batch[:size]
        start += len(batch)
        pairs = [(list(prompts[i]), list(completions[i])) for i in batch]
        for i, reading in zip(batch, _read(policy, pairs, reference, distributions, k, pad), strict=True):
            found[i] = reading
    return found


@contextlib.contextmanager
def reference_of(policy: Any, reference: Any) -> Iterator[Any]:
    """The reference given, or within this context the base model of a PEFT policy, or None."""
    if reference is not None or not hasattr(policy, "disable_adapter"):
        yield reference
        return
    flags = [(parameter, parameter.requires_grad) for parameter in policy.parameters()]
    with policy.disable_adapter():
        yield policy
    for parameter, flag in flags:  # switching adapters on again makes them trainable, frozen or not
        parameter.requires_grad_(flag)


@contextlib.contextmanager
def undisturbed(*models: Any) -> Iterator[None]:
    """Models in eval mode and without gradients; their modes and every random stream come back as they were."""
    present = [model for model in models if model is not None]
    modes = [(module, module.training) for model in present for module in model.modules()]
    cards = sorted({p.device.index for model in present for p in model.parameters() if p.device.type == "cuda"})
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - a reward may draw from it
    with torch.random.fork_rng(devices=cards), torch.no_grad():
        try:
            for model in present:
                model.eval()
            yield
        finally:
            for module, training in modes:
                module.training = training
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


def end_tokens(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """The tokens that end a sequence: those of the model's generation config and the tokenizer's own."""
    configured = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    listed = list(configured) if isinstance(configured, (list, tuple)) else [configured]
    return tuple(dict.fromkeys(token for token in (*listed, tokenizer.eos_token_id) if token is not None))


def pad_token(tokenizer: Any) -> int:
    """The padding token, or another one where there is none: padding is masked."""
    return int(next(t for t in (tokenizer.pad_token_id, tokenizer.eos_token_id, 0) if t is not None))


def context_of(model: Any) -> int | None:
    """Tokens the model can take, or None if it sets no limit."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


class _Tempered:
    """Divides the scores in float32: half precision would round what is drawn from."""

    def __init__(self, temperature: float) -> None:
        self._temperature = temperature

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return scores.float() / self._temperature


def _read(
    policy: Any, pairs: Sequence[tuple[list[int], list[int]]], reference: Any, distributions: bool, k: int, pad: int
) -> list[Reading]:
    counts = [len(completion) for _, completion in pairs]
    inside = torch.arange(max(counts))[None, :] < torch.tensor(counts)[:, None]
    targets = torch.tensor([token for _, completion in pairs for token in completion])
    logits = _logits(policy, pairs, inside, pad)
    ref_logits = None
    if distributions:
        with reference_of(policy, reference) as model:
            ref_logits = None if model is None else _logits(model, pairs, inside, pad).to(logits.device)
    wanted: list[Any] = ["entropy", "top_k"] if distributions else []
    with torch.no_grad():
        scores = scores_from_logits(
            logits,
            targets.to(logits.device),
            ref_logits=ref_logits,
            statistics=[*wanted, "reverse_kl"] if ref_logits is not None else wanted,
        )
    per_token = _columns(scores)
    if distributions and k != TOP_K:
        top = top_k_entropy(logits.float(), k=k)
        per_token |= {"top_k_mass": torch.as_tensor(top.mass), "top_k_entropy": torch.as_tensor(top.entropy)}
    sums = {name: [part.sum().item() for part in column.split(counts)] for name, column in per_token.items()}
    return [Reading(count, **{name: values[row] for name, values in sums.items()}) for row, count in enumerate(counts)]


def _columns(scores: TokenScores) -> dict[str, Tensor]:
    """A reading's columns of token scores, in float64 for the sums; rounding can't make a divergence negative."""
    held = {
        "log_prob": scores.log_probs,
        "entropy": scores.entropy,
        "top_k_mass": scores.top_k_mass,
        "top_k_entropy": scores.top_k_entropy,
        "reverse_kl": None if scores.reverse_kl is None else scores.reverse_kl.clamp(min=0),
        "forward_kl": None if scores.kl is None else scores.kl.clamp(min=0),
    }
    return {name: values.detach().cpu().double() for name, values in held.items() if values is not None}


def _logits(model: Any, pairs: Sequence[tuple[list[int], list[int]]], inside: Tensor, pad: int) -> Tensor:
    """(N, V) logits that the tokens of the completions are drawn from, row after row.

    Prompts are padded on the left and completions on the right, so that the head sees the completions alone.
    """
    device, width = _device(model), inside.shape[1]
    ids, mask = left_padded([prompt for prompt, _ in pairs], pad, device)
    after = torch.tensor([completion + [pad] * (width - len(completion)) for _, completion in pairs], device=device)
    ids, mask = torch.cat([ids, after], dim=1), torch.cat([mask, inside.to(device, mask.dtype)], dim=1)
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "use_cache": False}
    core = model.get_base_model() if hasattr(model, "get_base_model") else model  # PEFT's forward names no arguments
    if takes(core, "position_ids"):
        inputs["position_ids"] = (mask.cumsum(dim=1) - 1).clamp(min=0)
    if takes(core, "logits_to_keep"):
        inputs["logits_to_keep"] = width + 1
    with torch.no_grad():
        scores = model(**inputs).logits[:, -width - 1 : -1]
    return scores[inside.to(scores.device)]


def _vocabulary(model: Any) -> int:
    return int(model.config.get_text_config().vocab_size)


def _device(model: Any) -> torch.device:
    return next(model.parameters()).device


def _cached_rows(model: Any, length: int) -> int:
    """How many sequences of a length have keys and values of CACHE_BYTES."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_attention_heads", 1)
    width = getattr(config, "head_dim", None) or getattr(config, "hidden_size", 1024) // heads
    stored = getattr(config, "num_key_value_heads", None) or heads
    size = next(model.parameters()).element_size()
    return max(1, CACHE_BYTES // (2 * getattr(config, "num_hidden_layers", 1) * stored * width * size * length))
