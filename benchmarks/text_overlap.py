"""Overlap and repetition of texts.

The top of this module is the standard library's alone: the ``diversity`` package imports it in its own environment.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.diversity_environment import python as diversity_python
from benchmarks.harness import Call, Disagreement, Row, close

Measure = Callable[[Sequence[str]], Any]


def rows(quick: bool) -> list[Row]:
    n, many, words = (8, 40, 20) if quick else (60, 1000, 60)

    def row(name: str, what: str, n: int, ours: str, peer: str, theirs: Callable[[], Measure], **more: Any) -> Row:
        return Row(
            name,
            what,
            f"{n:,} texts of {words} words",
            lambda: _on_texts(_ours(ours), n, words),
            more.pop("check", _same),
            peer,
            lambda: _on_texts(theirs(), n, words),
            repeats=3,
            **more,
        )

    apart: dict[str, Any] = {"peer_python": lambda: diversity_python(make=not quick)}
    rounded = apart | {"check": _same_to_three_decimals, "note": "the peer rounds to three decimals"}
    return [
        row(
            "rouge-l-diversity",
            "ROUGE-L homogenisation, all pairs",
            n,
            "overlap:rouge_l_homogenization",
            "diversity, `homogenization_score`",
            lambda: _diversity("homogenization:homogenization_score", measure="rougel", verbose=False),
            **rounded,
        ),
        row(
            "rouge-l-rouge-score",
            "ROUGE-L homogenisation, all pairs",
            n,
            "overlap:rouge_l_homogenization",
            "rouge-score, a call a pair",
            rouge_pairs,
        ),
        row(
            "ngram-diversity",
            "N-gram diversity, n = 1 to 4",
            many,
            "ngrams:ngram_diversity_sum",
            "diversity, `ngram_diversity_score`",
            lambda: _diversity("ngram_diversity:ngram_diversity_score", num_n=4),
            **rounded,
        ),
        row(
            "self-repetition",
            "Self-repetition of 4-grams",
            n if quick else 200,
            "ngrams:self_repetition",
            "diversity, `self_repetition_score`",
            lambda: _diversity("self_repetition:self_repetition_score", n=4, verbose=False),
            **apart,
        ),
        row("self-bleu", "Self-BLEU", n, "overlap:self_bleu", "nltk, all others as references", nltk_self_bleu),
        row("pairwise-bleu", "BLEU, all ordered pairs", n, "overlap:pairwise_bleu", "nltk", nltk_pairwise_bleu),
    ]


def some_texts(n: int, words: int) -> list[str]:
    """Words drawn as often as their rank says, as in prose."""
    draw = random.Random(0)
    return [" ".join(f"w{int(draw.paretovariate(0.7)) % 2000}" for _ in range(words)) for _ in range(n)]


def _on_texts(measure: Measure, n: int, words: int) -> Call:
    texts = some_texts(n, words)
    return lambda: float(measure(texts))


def _ours(name: str) -> Measure:
    import importlib

    module, function = name.split(":")
    found: Measure = getattr(importlib.import_module(f"polyculture.measure.{module}"), function)
    return found


def _diversity(name: str, **options: Any) -> Measure:
    import importlib

    module, function = name.split(":")
    measure = getattr(importlib.import_module(f"diversity.{module}"), function)
    return lambda texts: measure(texts, **options)


def rouge_pairs() -> Measure:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=False)

    def measure(texts: Sequence[str]) -> float:
        pairs = [(a, b) for i, a in enumerate(texts) for j, b in enumerate(texts) if i != j]
        return statistics.fmean(scorer.score(a, b)["rougeL"].fmeasure for a, b in pairs)

    return measure


def nltk_self_bleu() -> Measure:
    bleu = _bleu()

    def measure(texts: Sequence[str]) -> float:
        tokens = [text.lower().split() for text in texts]
        return statistics.fmean(bleu(tokens[:i] + tokens[i + 1 :], own) for i, own in enumerate(tokens))

    return measure


def nltk_pairwise_bleu() -> Measure:
    bleu = _bleu()

    def measure(texts: Sequence[str]) -> float:
        tokens = [text.lower().split() for text in texts]
        return statistics.fmean(bleu([b], a) for i, a in enumerate(tokens) for j, b in enumerate(tokens) if i != j)

    return measure


def _bleu() -> Callable[[list[list[str]], list[str]], float]:
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    smoothing = SmoothingFunction().method1
    return lambda references, own: float(sentence_bleu(references, own, smoothing_function=smoothing))


def _same(ours: float, peer: float) -> str:
    return close(ours, peer, relative=1e-9)


def _same_to_three_decimals(ours: float, peer: float) -> str:
    if abs(ours - peer) > 5.001e-4:
        raise Disagreement(f"ours {ours:.6f}, the peer's {peer:.3f}")
    return f"ours {ours:.6f}, the peer's {peer:.3f}"
