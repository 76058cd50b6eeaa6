"""Varied for one prompt, or varied across prompts? The diversity protocol, the NLI metric and the generalisation gap.

"Understanding the Effects of RLHF on LLM Generalisation and Diversity" (2023): each metric is taken on the K outputs of
every input (per input), on the first output of every input (across inputs), and on everything (pooled). Outputs sampled
at different temperatures can't be compared, and longer ones look less diverse: report their length.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polyculture.errors import BadInput
from polyculture.measure.ngrams import distinct_averaged, ead
from polyculture.measure.overlap import ngram_cosine_diversity
from polyculture.measure.tokens import undotted_words
from polyculture.measure.undefined import undefined

Metric = Callable[[Sequence[str]], float]


@dataclass(frozen=True)
class InputDiversity:
    """One metric: mean and population standard deviation over inputs, across inputs, and of everything pooled."""

    per_input: float
    per_input_std: float
    across_input: float
    pooled: float


@dataclass(frozen=True)
class DiversityReport:
    """Each metric under the protocol, with what a reader needs to compare two reports."""

    metrics: Mapping[str, InputDiversity]
    n_inputs: int
    outputs_per_input: float
    mean_length: float


def default_metrics() -> dict[str, Metric]:
    """EAD and distinct n-grams, each the mean over n = 1..5, and the diversity of 3-gram cosines."""
    return {"ead": ead, "distinct": distinct_averaged, "ngram-cosine": ngram_cosine_diversity}


def diversity_by_input(
    outputs: Sequence[Sequence[str]],
    *,
    metrics: Mapping[str, Metric] | None = None,
    pool_size: int | None = None,
    rng: np.random.Generator | int | None = 0,
) -> DiversityReport:
    """Per-input, across-input and pooled diversity of the outputs of many inputs.

    Args:
        outputs: one list of texts an input (the paper: about 500 inputs, 16 outputs each).
        metrics: name -> diversity of a set of texts; None takes :func:`default_metrics`.
        pool_size: outputs in the pooled set, drawn without replacement; None takes them all.
        rng: a Generator, or a seed for one; used only when the pool is larger than ``pool_size``.

    Raises:
        BadInput: there is no input, or an input has no output.
    """
    _check(outputs)
    if len({len(texts) for texts in outputs}) > 1:
        warnings.warn("inputs have different numbers of outputs: per-input values are not comparable", stacklevel=2)
    pool = [text for texts in outputs for text in texts]
    if pool_size is not None and pool_size < len(pool):
        drawn = np.random.default_rng(rng).choice(len(pool), pool_size, replace=False)
        pool = [pool[i] for i in np.sort(drawn)]
    firsts = [texts[0] for texts in outputs]
    found = {}
    for name, metric in (default_metrics() if metrics is None else metrics).items():
        each = np.array([metric(texts) for texts in outputs], dtype=np.float64)
        found[name] = InputDiversity(float(each.mean()), float(each.std()), metric(firsts), metric(pool))
    n_outputs = sum(len(texts) for texts in outputs)
    lengths = [len(undotted_words(text)) for texts in outputs for text in texts]
    return DiversityReport(found, len(outputs), n_outputs / len(outputs), float(np.mean(lengths)))


def per_input_ead(outputs: Sequence[Sequence[str]]) -> dict[str, float]:
    """EAD under the protocol: ``per_input``, ``per_input_std``, ``across_input`` and ``pooled``.

    Args:
        outputs: one list of texts an input.
    """
    found = diversity_by_input(outputs, metrics={"ead": ead}).metrics["ead"]
    return dict(vars(found))


def similarity_to_diversity(similarities: Any) -> float:
    """1 - the mean of pairwise similarities; NaN, with a warning, when there is no pair.

    Args:
        similarities: one number a pair i > j, in any order.

    Raises:
        BadInput: one is NaN.
    """
    held = np.asarray(similarities, dtype=np.float64).ravel()
    if not held.size:
        return undefined("similarity_to_diversity", "there is no pair: it needs at least two outputs")
    if np.isnan(held).any():
        raise BadInput("similarity_to_diversity: a similarity is NaN")
    return 1.0 - float(held.mean())


def pairwise_diversity(items: Sequence[Any], similarity: Callable[[Any, Any], float]) -> float:
    """1 - mean similarity over pairs i > j; NaN, with a warning, for fewer than two items.

    Args:
        items: what is compared.
        similarity: of two items.
    """
    return similarity_to_diversity([similarity(items[i], items[j]) for i in range(len(items)) for j in range(i)])


def nli_value(classified: Sequence[Mapping[str, Any]] | Mapping[str, Any]) -> float:
    """The signed value of one direction: +p for contradiction, 0 for neutral, -p for entailment, of the top label only.

    >>> nli_value([{"label": "ENTAILMENT", "score": 0.9}])
    -0.9

    Args:
        classified: the classifier's answer, a label with its ``score``, or a list of them.

    Raises:
        BadInput: there is no answer, or its label is none of the three.
    """
    answers = [classified] if isinstance(classified, Mapping) else list(classified)
    if not answers:
        raise BadInput("the NLI classifier gave no label")
    top = max(answers, key=lambda answer: float(answer["score"]))
    signs = {"contradiction": 1.0, "neutral": 0.0, "entailment": -1.0}
    label = str(top["label"]).lower()
    if label not in signs:
        raise BadInput(f"NLI label '{top['label']}' is none of {', '.join(signs)}; map the model's labels to these")
    return signs[label] * float(top["score"]) if signs[label] else 0.0


def nli_pair_values(directed: Sequence[Any]) -> np.ndarray:
    """Sum of both directions of each pair, (pairs,): answers come as (a1, b1), (b1, a1), (a2, b2), (b2, a2), ...

    Args:
        directed: the classifier's answers, two a pair.

    Raises:
        BadInput: their number is odd.
    """
    if len(directed) % 2:
        raise BadInput(f"{len(directed)} NLI answers: each pair needs both directions")
    return np.array([nli_value(answer) for answer in directed], dtype=np.float64).reshape(-1, 2).sum(axis=1)


def nli_diversity(
    texts: Sequence[str],
    classify: Callable[[Sequence[tuple[str, str]]], Sequence[Any]],
    *,
    official_sign: bool = False,
    sentences: Callable[[str], Sequence[str]] | None = None,
    max_sentences: int = 5,
    rng: np.random.Generator | int | None = 0,
) -> float:
    """Mean over pairs of the NLI pair value: sets that contradict themselves are diverse, higher is more diverse.

    Args:
        texts: the set, at least two; with one it is NaN, with a warning.
        classify: (premise, hypothesis) pairs -> one answer each, a label with its score.
        official_sign: feed the pair value into 1 - mean(similarity) as the paper's released code does, where
            contradictions LOWER diversity. False takes the mean, after Stasaski & Hearst (2022), which it builds on.
        sentences: splits a text into sentences; both texts of a pair are cut to the same number of them, and up to
            ``max_sentences`` are drawn and compared one by one. None compares whole texts.
        max_sentences: sentences drawn of a text.
        rng: a Generator, or a seed for one, for drawing sentences.

    Raises:
        BadInput: the classifier answers with another number of labels than it was asked for.
    """
    if len(texts) < 2:
        return undefined("nli_diversity", "it needs at least two texts")
    generator = np.random.default_rng(rng)
    asked: list[tuple[str, str]] = []
    owners: list[int] = []
    pairs = [(texts[i], texts[j]) for i in range(len(texts)) for j in range(i)]
    for pair, (a, b) in enumerate(pairs):
        for x, y in zip(*_drawn(a, b, sentences, max_sentences, generator), strict=True):
            asked += [(x, y), (y, x)]
            owners.append(pair)
    answers = classify(asked)
    if len(answers) != len(asked):
        raise BadInput(f"the NLI classifier gave {len(answers)} answers to {len(asked)} pairs")
    values, held = nli_pair_values(answers), np.bincount(owners, minlength=len(pairs))
    means = np.bincount(owners, weights=values, minlength=len(pairs))[held > 0] / held[held > 0]
    if not means.size:
        return undefined("nli_diversity", "no pair of texts has a sentence each")
    return 1.0 - float(means.mean()) if official_sign else float(means.mean())


@dataclass(frozen=True)
class GeneralisationGap:
    """Win rates on the inputs a policy was trained for and on shifted ones; ``gap`` is the first less the second."""

    in_distribution: float
    out_of_distribution: float

    @property
    def gap(self) -> float:
        """How much the win rate falls under the shift."""
        return self.in_distribution - self.out_of_distribution


def generalisation_gap(wins_id: Any, wins_ood: Any) -> GeneralisationGap:
    """The gap from one win value a prompt (1, 0, or 1/2 for a tie) in and out of distribution.

    Args:
        wins_id: win values on prompts as in training.
        wins_ood: win values on shifted prompts.

    Raises:
        BadInput: one of them is empty or holds NaN.
    """
    means = []
    for name, wins in (("wins_id", wins_id), ("wins_ood", wins_ood)):
        held = np.asarray(wins, dtype=np.float64).ravel()
        if not held.size or np.isnan(held).any():
            raise BadInput(f"{name} should hold at least one win value and no NaN")
        means.append(math.fsum(held) / held.size)
    return GeneralisationGap(*means)


def _drawn(
    a: str, b: str, sentences: Callable[[str], Sequence[str]] | None, most: int, rng: np.random.Generator
) -> tuple[list[str], list[str]]:
    if sentences is None:
        return [a], [b]
    left, right = sentences(a), sentences(b)
    shared = min(len(left), len(right))
    chosen = np.sort(rng.choice(shared, min(most, shared), replace=False)).tolist() if shared else list[int]()
    return [left[i] for i in chosen], [right[i] for i in chosen]


def _check(outputs: Sequence[Sequence[str]]) -> None:
    if not len(outputs):
        raise BadInput("the diversity protocol needs at least one input; outputs is empty")
    for row, texts in enumerate(outputs):
        if isinstance(texts, str):
            raise BadInput(f"outputs row {row + 1} is one string; give the list of the input's outputs")
        if not len(texts):
            raise BadInput(f"outputs row {row + 1}: the input has no output; drop it")
