"""Top-H beside the truncation samplers of transformers and beside the released form: seconds a decoding step.

``python benchmarks/logits_processors.py`` prints a table. One thread; peer and ours alternate; the median of the CPU
time of several runs. Every sampler gets the same logits: normal, scale 3, float32.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

Sampler = Callable[[Any, Any], Any]
SIZES = ((1, 32_000), (64, 32_000), (1, 128_000), (64, 128_000))


def rows(sizes: tuple[tuple[int, int], ...] = SIZES, repeats: int = 15) -> list[dict[str, Any]]:
    """One row a comparison: name, peer, ours_seconds, peer_seconds, ratio (peer over ours) and size."""
    import torch
    from transformers import TopHLogitsWarper, TopPLogitsWarper

    from polyculture.decode.top_h import TopH

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = []
    try:
        for batch, vocabulary in sizes:
            scores = 3 * torch.randn(batch, vocabulary, generator=torch.Generator().manual_seed(0))
            pairs: tuple[tuple[str, Sampler, str, Sampler], ...] = (
                ("top-h", TopH(), "transformers top-p", TopPLogitsWarper(0.9)),
                ("top-h", TopH(), "transformers top-h", TopHLogitsWarper(0.4)),
                ("top-h, rule hf", TopH(rule="hf"), "transformers top-h", TopHLogitsWarper(0.4)),
                ("top-h, rule reference", TopH(rule="reference"), "token loop of the released form", token_loop),
            )
            for name, ours, peer, theirs in pairs:
                a, b = alternate(ours, theirs, scores, repeats if batch == 1 else 3)
                found.append(
                    {
                        "name": name,
                        "peer": peer,
                        "ours_seconds": a,
                        "peer_seconds": b,
                        "ratio": b / a,
                        "size": f"{batch} x {vocabulary}",
                    }
                )
    finally:
        torch.set_num_threads(threads)
    return found


def token_loop(input_ids: None, scores: Any, alpha: float = 0.4, top_n: int = 100) -> Any:
    """The rule "reference" as it was released: one row at a time, one token at a time."""
    import torch

    out = torch.full_like(scores, -torch.inf)
    for row, kept in zip(scores, out, strict=True):
        p, ids = torch.topk(torch.softmax(row, dim=-1), top_n)
        limit = alpha * -(p * p.log()).sum()
        running = torch.zeros(())
        for i in range(top_n):
            running = running - p[i] * p[i].log()
            if i > 0 and running > limit:
                break
            kept[ids[i]] = row[ids[i]]
    return out


def alternate(ours: Sampler, theirs: Sampler, scores: Any, repeats: int) -> tuple[float, float]:
    """Median CPU seconds of each, taken in turns after one warm-up."""
    seconds: tuple[list[float], list[float]] = ([], [])
    ours(None, scores), theirs(None, scores)
    for _ in range(repeats):
        for call, taken in zip((ours, theirs), seconds, strict=True):
            start = time.process_time()
            call(None, scores)
            taken.append(time.process_time() - start)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


if __name__ == "__main__":
    print(f"{'ours':24s}{'peer':34s}{'size':>14s}{'ours ms':>10s}{'peer ms':>10s}{'ratio':>8s}")
    for row in rows():
        print(
            f"{row['name']:24s}{row['peer']:34s}{row['size']:>14s}"
            f"{1e3 * row['ours_seconds']:10.2f}{1e3 * row['peer_seconds']:10.2f}{row['ratio']:8.2f}"
        )
