"""Overlap of all pairs of texts beside rouge-score and nltk: seconds a set, and how far the values differ.

``python benchmarks/text_overlap.py`` prints a table. Peer and ours alternate; the median of the CPU time of several
runs. The ROUGE-L peer is the loop over pairs that the ``diversity`` package runs.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

Measure = Callable[[Sequence[str]], float]


def rows(sizes: tuple[tuple[int, int], ...] = ((60, 60),), repeats: int = 3) -> list[dict[str, Any]]:
    """One row a comparison: name, peer, ours_seconds, peer_seconds, ratio (peer over ours), size and difference."""
    from polyculture.measure.overlap import pairwise_bleu, rouge_l_homogenization, self_bleu

    pairs: tuple[tuple[str, Measure, str, Measure], ...] = (
        ("rouge-l-homogenization", rouge_l_homogenization, "rouge-score, all pairs", rouge_pairs),
        ("self-bleu", self_bleu, "nltk, all others as references", nltk_self_bleu),
        ("pairwise-bleu", pairwise_bleu, "nltk, all pairs", nltk_pairwise_bleu),
    )
    found = []
    for n, words in sizes:
        draw = random.Random(0)
        texts = [" ".join(f"w{int(draw.paretovariate(0.7)) % 2000}" for _ in range(words)) for _ in range(n)]
        for name, ours, peer, theirs in pairs:
            seconds: tuple[list[float], list[float]] = ([], [])
            values = [0.0, 0.0]
            for _ in range(repeats):
                for side, function in enumerate((ours, theirs)):
                    start = time.process_time()
                    values[side] = function(texts)
                    seconds[side].append(time.process_time() - start)
            a, b = (statistics.median(times) for times in seconds)
            found.append(
                {
                    "name": name,
                    "peer": peer,
                    "ours_seconds": a,
                    "peer_seconds": b,
                    "ratio": b / a,
                    "size": f"{n} texts of {words} words",
                    "difference": abs(values[0] - values[1]),
                }
            )
    return found


def rouge_pairs(texts: Sequence[str]) -> float:
    """Mean F of ROUGE-L over ordered pairs, one call a pair."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    pairs = [(a, b) for i, a in enumerate(texts) for j, b in enumerate(texts) if i != j]
    return statistics.fmean(scorer.score(a, b)["rougeL"].fmeasure for a, b in pairs)


def nltk_self_bleu(texts: Sequence[str]) -> float:
    """Mean BLEU of each text against all others, smoothing method 1."""
    tokens = [text.lower().split() for text in texts]
    return statistics.fmean(_bleu(tokens[:i] + tokens[i + 1 :], own) for i, own in enumerate(tokens))


def nltk_pairwise_bleu(texts: Sequence[str]) -> float:
    """Mean BLEU over ordered pairs, smoothing method 1."""
    tokens = [text.lower().split() for text in texts]
    return statistics.fmean(_bleu([b], a) for i, a in enumerate(tokens) for j, b in enumerate(tokens) if i != j)


def _bleu(references: list[list[str]], hypothesis: list[str]) -> float:
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    return float(sentence_bleu(references, hypothesis, smoothing_function=SmoothingFunction().method1))


if __name__ == "__main__":
    for row in rows():
        print(
            f"{row['name']:22} {row['ours_seconds'] * 1e3:7.2f} ms  {row['peer']:32}{1e3 * row['peer_seconds']:8.0f} ms"
            f"  {row['ratio']:7.0f} x  {row['size']}  differ by {row['difference']:.1e}"
        )
