"""Log-probabilities of tokens and their gradient, a training step's head.

Hidden states and weight are normal, float32, the weight of scale 0.05; 2,032 tokens are 8 pairs of 127. Both sides run
forward and backward of the sum of log-probabilities, each weighted by a number of its own. TRL takes its path without
Triton here, as it does on any processor.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.harness import Call, Disagreement, Row

DIMENSIONS = 128


def rows(quick: bool) -> list[Row]:
    sizes = ((64, 104), (64, 1_000)) if quick else ((2_032, 104), (2_032, 32_000))
    found = []
    for tokens, vocabulary in sizes:
        size, end = f"{tokens:,} × {DIMENSIONS}, {vocabulary:,} tokens", str(vocabulary)
        for frozen in (False, True):
            found.append(
                Row(
                    f"log-probs-{'frozen-' if frozen else ''}{end}",
                    f"log-probabilities, forward and backward{', frozen head' if frozen else ''}",
                    size,
                    partial(_ours, tokens, vocabulary, frozen),
                    _same,
                    "trl, ChunkedLogProbFunction",
                    partial(_trl, tokens, vocabulary, frozen),
                )
            )
        found.append(
            Row(
                f"log-probs-kl-{end}",
                "log-probabilities and KL(reference || policy), forward and backward",
                size,
                partial(_ours_kl, tokens, vocabulary),
                _same,
                "torch, log_softmax of all logits",
                partial(_torch_kl, tokens, vocabulary),
                note="TRL has no such divergence; the plain formula keeps all logits, ours a tile of them",
            )
        )
    return found


def inputs(tokens: int, vocabulary: int, *, frozen: bool = False, seed: int = 0) -> tuple[Any, Any, Any, Any]:
    """Hidden states, weight, targets, and what weights the log-probabilities in the loss."""
    import torch

    draw = torch.Generator().manual_seed(seed)
    hidden = torch.randn(tokens, DIMENSIONS, generator=draw).requires_grad_()
    weight = (0.05 * torch.randn(vocabulary, DIMENSIONS, generator=draw)).requires_grad_(not frozen)
    return hidden, weight, torch.randint(vocabulary, (tokens,), generator=draw), torch.randn(tokens, generator=draw)


def _ours(tokens: int, vocabulary: int, frozen: bool) -> Call:
    from polyculture.align.log_probs.head import token_log_probs

    hidden, weight, targets, into = inputs(tokens, vocabulary, frozen=frozen)
    return _step(lambda: {"log_probs": token_log_probs(hidden, weight, targets).log_probs}, into, hidden, weight)


def _trl(tokens: int, vocabulary: int, frozen: bool) -> Call:
    from trl.kernels import ChunkedLogProbFunction
    from trl.trainer.utils import _CHUNKED_LOGPROB_CHUNK_SIZE as CHUNK

    hidden, weight, targets, into = inputs(tokens, vocabulary, frozen=frozen)

    def scores() -> dict[str, Any]:
        found = ChunkedLogProbFunction.apply(hidden, weight, None, targets, 1.0, CHUNK, None, 1.0, ())
        return {"log_probs": found[0]}

    return _step(scores, into, hidden, weight)


def _ours_kl(tokens: int, vocabulary: int) -> Call:
    from polyculture.align.log_probs.head import token_log_probs_and_kl

    hidden, weight, targets, into = inputs(tokens, vocabulary)
    ref_hidden, ref_weight, *_ = inputs(tokens, vocabulary, seed=1)

    def scores() -> dict[str, Any]:
        found = token_log_probs_and_kl(hidden, weight, targets, ref_hidden, ref_weight)
        return {"log_probs": found.log_probs, "divergences": found.kl}

    return _step(scores, into, hidden, weight)


def _torch_kl(tokens: int, vocabulary: int) -> Call:
    import torch

    hidden, weight, targets, into = inputs(tokens, vocabulary)
    ref_hidden, ref_weight, *_ = inputs(tokens, vocabulary, seed=1)

    def scores() -> dict[str, Any]:
        with torch.no_grad():
            ref = (ref_hidden @ ref_weight.T).log_softmax(dim=1)
        policy = (hidden @ weight.T).log_softmax(dim=1)
        of_targets = policy.gather(1, targets[:, None])[:, 0]
        return {"log_probs": of_targets, "divergences": (ref.exp() * (ref - policy)).sum(dim=1)}

    return _step(scores, into, hidden, weight)


def _step(scores: Call, into: Any, hidden: Any, weight: Any) -> Call:
    def call() -> dict[str, Any]:
        hidden.grad = weight.grad = None
        found = scores()
        sum((into * values).sum() for values in found.values()).backward()
        gradients = {"gradients of hidden states": hidden.grad, "gradients of the weight": weight.grad}
        return {name: value.detach() for name, value in (found | gradients).items() if value is not None}

    return call


def _same(ours: Any, peer: Any, relative: float = 1e-4) -> str:
    if ours.keys() != peer.keys():
        raise Disagreement(f"one has {', '.join(ours)}, the other {', '.join(peer)}")
    apart = {name: float((ours[name] - peer[name]).norm() / peer[name].norm()) for name in ours}
    said = ", ".join(f"{name} by {value:.0e}" for name, value in apart.items())
    if not all(value <= relative for value in apart.values()):
        raise Disagreement(f"relative to their norm, they differ: {said}")
    return f"relative to their norm, they differ: {said}"
