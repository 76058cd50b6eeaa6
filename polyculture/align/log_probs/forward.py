"""One pass of a model over a batch: the log-probabilities of the completions' tokens, and nothing larger than needed.

The model's head is replaced, for the pass, by a function that scores the tokens it is asked for and returns one row a
token: the logits of the whole batch never exist, and since all happens inside the model's own ``forward``, DDP, FSDP,
autocast and activation checkpointing see a usual pass.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from polyculture.align.data.encoding import Encoded
from polyculture.align.data.layout import Layout
from polyculture.align.log_probs.head import (
    Statistic,
    TokenScores,
    scores_from_logits,
    token_log_probs,
    token_log_probs_and_kl,
)
from polyculture.errors import BadInput
from polyculture.llm.batches import takes

TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}
"""How far log-probabilities of a token may lie from the model's own."""
COARSE, COARSE_LEAK = 0.3, 0.01
"""The same for other types, such as bfloat16; and how far tokens that should be hidden may move them."""
WINDOWS = ("sliding_window", "attention_chunk_size", "attention_window_size", "window_size")
"""How configurations name the tokens that a layer looks back over, in models that have such layers."""

FIELDS: dict[Statistic, tuple[str, ...]] = {
    "entropy": ("entropy",),
    "log_sum_sq": ("log_sum_sq",),
    "top_k": ("top_k_mass", "top_k_entropy"),
    "reverse_kl": ("reverse_kl",),
}


@dataclass(frozen=True)
class Abilities:
    """How a model can be run.

    Args:
        replace_head: its log-probabilities are those of its head alone, so the head can be replaced.
        share_prompts: it takes attention masks of our own and positions, so a prompt can be shared.
        why: why not, in words; empty if it can do both.
        some_rows: where its head can't be replaced, it can be run on the positions asked for alone.
    """

    replace_head: bool = True
    share_prompts: bool = True
    why: str = ""
    some_rows: bool = True


@dataclass(frozen=True)
class Passed:
    """What a pass found, (K B, T) each, 0 where there is no token; see polyculture.align.log_probs.head.TokenScores.

    ``balance`` is the load-balancing loss of the model's experts, a scalar, if it was asked for.
    """

    log_probs: Tensor
    kl: Tensor | None = None
    ref: Tensor | None = None
    statistics: Mapping[str, Tensor] | None = None
    balance: Tensor | None = None


def score_batch(
    model: Any,
    batch: Mapping[str, Any],
    abilities: Abilities,
    *,
    statistics: Sequence[Statistic] = (),
    reference: Callable[[], contextlib.AbstractContextManager[Any]] | None = None,
    balance: bool = False,
) -> Passed:
    """The log-probabilities of every token of every completion of a batch.

    Args:
        model: a transformers causal language model, wrapped (DDP, FSDP, PEFT) or not.
        batch: what a :class:`polyculture.align.data.layout.Layout` made, on the model's device.
        abilities: of the model, from :func:`probe`.
        statistics: what to find besides, without gradient; see polyculture.align.log_probs.head.
        reference: gives, as a context, the reference model, for ``kl`` and ``ref`` over the whole vocabulary.
        balance: ask the model for the load-balancing loss of its experts; prompts are not shared then.
    """
    ref_head = None
    if reference is not None:
        with torch.no_grad(), reference() as ref_model:
            ref_head, _ = _pass(ref_model, batch, abilities, lambda head, rows: (head, rows))
    names = [name for statistic in statistics for name in FIELDS[statistic]]

    def score(head: Any, rows: Tensor) -> Tensor:
        found = _score(head, rows, batch["targets"], ref_head, statistics)
        fields = ["log_probs", *(("kl", "ref") if ref_head is not None else ()), *names]
        return torch.stack([getattr(found, field) for field in fields], dim=1)

    columns, balancing = _pass(model, batch, abilities, score, balance=balance)
    rows, length = batch["mask"].shape
    flat = columns.new_zeros(rows * length, columns.shape[1]).index_copy(0, batch["slot"], columns)
    held = [column.view(rows, length) for column in flat.unbind(dim=1)]
    kl, ref = (held[1], held[2]) if ref_head is not None else (None, None)
    rest = held[3 if ref_head is not None else 1 :]
    return Passed(held[0], kl, ref, dict(zip(names, (value.detach() for value in rest), strict=True)), balancing)


def probe(model: Any, vocabulary: int, max_length: int = 0) -> Abilities:
    """Find out what a model allows by trying it on a few tokens, beside a plain pass.

    Args:
        model: a transformers causal language model, not wrapped yet.
        vocabulary: ids below this are tried.
        max_length: most tokens that will be given; layers that look back over a window must see all of them if
            prompts are to be shared.

    Raises:
        BadInput: it gives no finite logits, or is not causal.
    """
    ids = (torch.arange(36) * 7 + 3) % max(1, vocabulary)
    prompt, first, second = (part.tolist() for part in ids.split([6, 26, 4]))
    device, dtype = next(model.parameters()).device, next(model.parameters()).dtype

    def batch_of(*completions: list[int], share: bool) -> dict[str, Any]:
        batch = Layout(0, share=share)([(0, Encoded(prompt, completions, {}), {})])
        return {name: value.to(device) for name, value in batch.items()}

    def differs(share: bool, can: Abilities, tolerance: float) -> tuple[str, float]:
        batch = batch_of(first, second, share=share)
        try:
            if can.replace_head:
                marks = torch.linspace(-60, 60, len(batch["targets"]), device=device)[:, None]
                if not torch.equal(_pass(model, batch, can, lambda head, rows: marks)[0], marks):
                    return "the model changes what the head gives", 0.0
            found = score_batch(model, batch, can).log_probs
            apart = float((found[batch["mask"]].float() - plain).abs().max())
            other = score_batch(model, batch_of(first[::-1], second, share=share), can).log_probs
            # Hidden tokens weigh exactly 0, whatever the type; what is left is how a mixture of experts groups them.
            leaked = float((found[1] - other[1]).abs().max())
        except (RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
            return (str(error).splitlines()[0] if str(error) else type(error).__name__), 0.0
        if not leaked <= leaks:
            return f"a completion sees the one before it, and its log-probabilities differ by {leaked:.2g}", apart
        return "" if apart <= tolerance else f"log-probabilities differ by {apart:.2g}", apart

    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            plain = _plain(model, prompt, (first, second), device)
            exact = TOLERANCE.get(dtype)
            leaks = COARSE_LEAK if exact is None else exact / 10
            early = _plain(model, prompt, (first[:1], second[:1]), device)
            ahead = float((early - plain[[0, len(first)]]).abs().max())
            if ahead > (exact or COARSE):
                raise BadInput(
                    f"the model is not causal: what {type(model).__name__} says of a token changes by {ahead:.2g} with "
                    "the tokens after it; align trains causal language models (for BERT and its like, is_decoder=True)"
                )
            own_head, noise = differs(False, Abilities(), exact or COARSE)
            some_rows = not own_head or not differs(False, Abilities(False), exact or COARSE)[0]
            can = Abilities(not own_head, some_rows=some_rows)
            # What the type costs without sharing tells what it may cost with it.
            apart, _ = differs(True, can, exact or min(COARSE, 4 * noise + 0.05))
    finally:
        model.train(was_training)
    held = (getattr(model.config.get_text_config(), name, None) for name in WINDOWS)
    window = min((size for size in held if isinstance(size, int) and size > 0), default=max_length)
    if not apart and window < max_length:
        apart = f"its layers look back over {window} tokens and max_length is {max_length}"
    if balance_weight(model):  # that loss takes no mask but of padding
        apart = "its experts' load is balanced over whole rows (output_router_logits)"
    why = [f"its head can't be replaced: {own_head}"] if own_head else []
    why += [f"prompts can't be shared: {apart}"] if apart else []
    return Abilities(not own_head, not apart, "; ".join(why), some_rows)


def balance_weight(model: Any) -> float:
    """What the load-balancing loss of a mixture of experts is multiplied by; 0 where the configuration asks for none.

    Args:
        model: a transformers causal language model, not wrapped by DDP or FSDP.
    """
    config = model.config.get_text_config()
    if not getattr(config, "output_router_logits", False):
        return 0.0
    return float(getattr(config, "router_aux_loss_coef", None) or 0.0)


def head_of(model: Any) -> nn.Module:
    """The head of a causal language model, whatever wraps it.

    Raises:
        BadInput: it has none.
    """
    inner = model
    while hasattr(inner, "module"):  # DDP
        inner = inner.module
    head = inner.get_output_embeddings() if hasattr(inner, "get_output_embeddings") else None
    if not isinstance(head, nn.Module):
        raise BadInput(f"{type(inner).__name__} has no language-model head; align trains causal language models")
    return head


def _pass(
    model: Any,
    batch: Mapping[str, Any],
    abilities: Abilities,
    read: Callable[[Any, Tensor], Any],
    *,
    balance: bool = False,
) -> tuple[Any, Tensor | None]:
    """Run the model and ``read`` its head and the last hidden states that predict a token, or None and their logits."""
    inputs: dict[str, Any] = {"input_ids": batch["input_ids"], "use_cache": False}
    if "visible" in batch:
        inputs |= {"position_ids": batch["position_ids"], "attention_mask": _attention(model, batch["visible"])}
    elif balance:
        places = torch.arange(batch["input_ids"].shape[1], device=batch["input_ids"].device)
        inputs |= {"attention_mask": (places < batch["lengths"][:, None]).long(), "output_router_logits": True}
    source, kept = batch["source"], []
    head = head_of(model) if abilities.replace_head or abilities.some_rows else None

    def instead(hidden: Tensor) -> Any:
        rows = hidden.reshape(-1, hidden.shape[-1])[source]
        if not abilities.replace_head:
            return _forward(head, rows)[None]
        found = read(head, rows)
        if isinstance(found, Tensor):
            return found
        kept.append(found)
        return hidden[..., :1]

    with contextlib.nullcontext() if head is None else _replaced(head, instead):
        out = model(**inputs)
    logits = out.logits
    if not abilities.replace_head:
        flat = logits.reshape(-1, logits.shape[-1])
        kept.append(read(None, flat if abilities.some_rows else flat[source]))
    found = getattr(out, "aux_loss", None) if balance else None
    if balance and not isinstance(found, Tensor):
        raise BadInput(
            "the model's configuration says output_router_logits, but the model gives no load-balancing loss; set "
            "output_router_logits to false"
        )
    return kept[0] if kept else logits, found


def _score(
    head: Any, rows: Tensor, targets: Tensor, ref: tuple[Any, Tensor] | None, statistics: Sequence[Statistic]
) -> TokenScores:
    if type(head) is nn.Linear and (ref is None or type(ref[0]) is nn.Linear):
        if ref is None:
            return token_log_probs(rows, head.weight, targets, bias=head.bias, statistics=statistics)
        weight, bias = ref[0].weight, ref[0].bias
        return token_log_probs_and_kl(
            rows, head.weight, targets, ref[1], weight, bias=head.bias, ref_bias=bias, statistics=statistics
        )
    # A head of another kind (an adapter on it, a soft cap): its own logits, of the tokens asked for alone.
    logits = rows if head is None else _forward(head, rows)
    ref_logits = None if ref is None else (ref[1] if ref[0] is None else _forward(ref[0], ref[1]))
    return scores_from_logits(logits, targets, ref_logits=ref_logits, statistics=statistics)


def _forward(head: Any, rows: Tensor) -> Tensor:
    """The head's own forward, which is replaced while the model runs."""
    found: Tensor = type(head).forward(head, rows)
    return found


@contextlib.contextmanager
def _replaced(head: nn.Module, instead: Callable[[Tensor], Any]) -> Iterator[None]:
    before = head.__dict__.get("forward")
    head.forward = instead
    try:
        yield
    finally:
        del head.forward
        if before is not None:
            head.forward = before


def _attention(model: Any, visible: Tensor) -> Tensor:
    """What is added to the scores. Given truth values, sdpa would make this anew in every layer, and keep it."""
    inner = model
    while hasattr(inner, "module"):
        inner = inner.module
    dtype = torch.get_autocast_dtype(visible.device.type) if torch.is_autocast_enabled(visible.device.type) else None
    dtype = dtype or inner.dtype
    return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill(~visible, torch.finfo(dtype).min)


def _plain(model: Any, prompt: list[int], completions: tuple[list[int], ...], device: torch.device) -> Tensor:
    """Log-probabilities of the completions' tokens by a plain pass, one completion at a time."""
    found = []
    for completion in completions:
        ids = torch.tensor([[*prompt, *completion]], device=device)
        more = {"use_cache": False} if takes(model, "use_cache") else {}
        logits = model(input_ids=ids, **more).logits[0, len(prompt) - 1 : -1].float()
        if not bool(torch.isfinite(logits).all()):
            raise BadInput("the model gives NaN or infinite logits before any training; check its weights and dtype")
        wanted = torch.tensor(completion, device=device)[:, None]
        found.append(logits.log_softmax(dim=-1).gather(1, wanted)[:, 0])
    return torch.cat(found)
