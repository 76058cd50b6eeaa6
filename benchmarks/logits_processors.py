"""Truncation of logits, a decoding step.

Every sampler gets the same logits: normal, scale 3, float32.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from benchmarks.harness import Call, Disagreement, Row


def rows(quick: bool) -> list[Row]:
    sizes = ((1, 500), (4, 500)) if quick else ((1, 32_000), (64, 32_000), (1, 128_000), (64, 128_000))
    found = []
    for batch, vocabulary in sizes:
        end, size = f"{batch}x{_short(vocabulary)}", f"{batch} × {vocabulary:,}"
        found += [
            Row(
                f"top-h-{end}",
                "Top-H",
                size,
                partial(_ours, "paper", batch, vocabulary),
                partial(_is_top_h, batch, vocabulary),
                "transformers, top-p",
                partial(_transformers, "TopPLogitsWarper", 0.9, batch, vocabulary),
                note="another rule, which keeps other tokens: this is the price of a step beside the usual one",
            ),
            Row(
                f"top-h-hf-{end}",
                "Top-H, rule `hf`",
                size,
                partial(_ours, "hf", batch, vocabulary),
                _same_kept,
                "transformers, top-h",
                partial(_transformers, "TopHLogitsWarper", 0.4, batch, vocabulary),
            ),
        ]
    batch, vocabulary = sizes[1]
    found.append(
        Row(
            f"top-h-reference-{batch}x{_short(vocabulary)}",
            "Top-H, rule `reference`",
            f"{batch} × {vocabulary:,}",
            partial(_ours, "reference", batch, vocabulary),
            _same_kept,
            "a loop over rows and tokens, as the authors released it",
            partial(_token_loop, batch, vocabulary),
        )
    )
    return found


def scores(batch: int, vocabulary: int) -> Any:
    import torch

    return 3 * torch.randn(batch, vocabulary, generator=torch.Generator().manual_seed(0))


def _ours(rule: Any, batch: int, vocabulary: int) -> Call:
    from polyculture.decode.top_h import TopH

    sampler: Any = TopH(rule=rule)
    logits = scores(batch, vocabulary)
    return lambda: sampler(None, logits)


def _transformers(name: str, value: float, batch: int, vocabulary: int) -> Call:
    import transformers

    sampler, logits = getattr(transformers, name)(value), scores(batch, vocabulary)
    return lambda: sampler(None, logits)


def _token_loop(batch: int, vocabulary: int, alpha: float = 0.4, top_n: int = 100) -> Call:
    import torch

    logits = scores(batch, vocabulary)

    def call() -> Any:
        out = torch.full_like(logits, -torch.inf)
        for row, kept in zip(logits, out, strict=True):
            p, ids = torch.topk(torch.softmax(row, dim=-1), min(top_n, vocabulary))
            limit = alpha * -(p * p.log()).sum()
            running = torch.zeros(())
            for i in range(len(p)):
                running = running - p[i] * p[i].log()
                if i > 0 and running > limit:
                    break
                kept[ids[i]] = row[ids[i]]
        return out

    return call


def _same_kept(ours: Any, peer: Any) -> str:
    a, b = ours.isfinite(), peer.isfinite()
    if not bool((a == b).all()):
        raise Disagreement(f"{int((a != b).sum())} tokens are kept by one and not by the other")
    return f"the same {int(a.sum()):,} tokens are kept"


def _is_top_h(batch: int, vocabulary: int, ours: Any, _: Any, alpha: float = 0.4) -> str:
    """Algorithm 1 anew, by sorting the whole vocabulary in float64."""
    logits = scores(batch, vocabulary).double().numpy()
    for row, kept in zip(logits, ours.isfinite().numpy(), strict=True):
        p = np.exp(row - row.max())
        p = np.sort(p / p.sum())[::-1]
        terms = -p * np.log(p)
        mass, part = np.cumsum(p), np.cumsum(terms)
        entropy = part / mass + np.log(mass)
        within = entropy <= alpha * terms.sum()
        expected = len(p) if within.all() else max(1, int(np.argmin(within)))
        if kept.sum() != expected or row[kept].min() < np.sort(row)[-expected]:
            raise Disagreement(f"{int(kept.sum())} tokens are kept where sorting keeps {expected}")
    return "ours keeps what sorting the vocabulary in float64 keeps"


def _short(vocabulary: int) -> str:
    return f"{vocabulary // 1000}k" if vocabulary % 1000 == 0 else str(vocabulary)
