"""Complexity: length, the size of parse trees, and what models and judges find hard.

The measures are those listed in "Surveying the Effects of Quality, Diversity, and Complexity in Synthetic Data From
Large Language Models" (2024): tree size after Tree-Instruct (2023), the judge's score after Deita (2023), IFD after
Li et al., "From Quantity to Quality" (2023).
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polyculture.errors import BadInput
from polyculture.measure.tokens import Tokenizer, at_least_one, words
from polyculture.measure.undefined import undefined


def length(texts: Sequence[str], *, tokenize: Tokenizer = words) -> dict[str, float]:
    """Tokens a text: ``mean`` and ``median``.

    Args:
        texts: the set, at least one.
        tokenize: text to tokens.
    """
    counts = [len(tokenize(text)) for text in at_least_one(texts, "length")]
    return {"mean": float(np.mean(counts)), "median": float(np.median(counts))}


def expression_size(expression: str) -> tuple[int, int]:
    """Nodes and depth of the syntax tree of one Python expression; all kinds of nodes count, the root has depth 1.

    >>> expression_size("1+2*3")
    (7, 3)

    Raises:
        BadInput: it is not a Python expression.
    """
    try:
        root = ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise BadInput(f"'{expression[:60]}' is not a Python expression: {error}") from error
    nodes, depth = 0, 0
    level: list[ast.AST] = [root]
    while level:
        nodes, depth = nodes + len(level), depth + 1
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return nodes, depth


def tree_complexity(texts: Sequence[str]) -> dict[str, float]:
    """Mean nodes and depth of the syntax trees of Python expressions.

    Args:
        texts: expressions, at least one.

    Raises:
        BadInput: a text is not a Python expression; its row is named.
    """
    sizes = []
    for row, text in enumerate(at_least_one(texts, "tree_complexity")):
        try:
            sizes.append(expression_size(text))
        except BadInput as error:
            raise BadInput(f"texts row {row + 1}: {error}") from error
    nodes, depth = np.mean(sizes, axis=0)
    return {"n_nodes": float(nodes), "depth": float(depth)}


def human_level(levels: Sequence[float] | np.ndarray) -> float:
    """Mean of a level that people gave each sample, such as 1 to 5; a NaN (no level) is left out, with a warning.

    Args:
        levels: one number a sample.
    """
    held = np.asarray(levels, dtype=np.float64)
    if not held.size:
        raise BadInput("human_level needs at least one level; the list is empty")
    given = held[~np.isnan(held)]
    if not given.size:
        return undefined("human_level", "no sample has a level")
    if given.size < held.size:
        import warnings

        warnings.warn(f"human_level leaves out {held.size - given.size} samples without a level", stacklevel=2)
    return float(given.mean())


def difficulty(samples: Sequence[Any], solve: Callable[[Any], bool], *, tries: int = 8) -> np.ndarray:
    """1 - solve rate of a solver over several tries, (n,), each in [0, 1]; higher is harder.

    Args:
        samples: what is to be solved.
        solve: one try at one sample: whether it was solved.
        tries: tries a sample.

    Raises:
        BadInput: there is no sample, or tries is below 1.
    """
    if tries < 1:
        raise BadInput(f"difficulty needs at least one try, not {tries}")
    if not len(samples):
        raise BadInput("difficulty needs at least one sample; the list is empty")
    return np.array([1 - sum(bool(solve(sample)) for _ in range(tries)) / tries for sample in samples])


def ifd(given_instruction: Sequence[Any], alone: Sequence[Any]) -> np.ndarray:
    """Instruction-following difficulty: PPL(answer given instruction) / PPL(answer), (n,).

    Above 1 the instruction does not help.

    Args:
        given_instruction: one list of natural-log probabilities of the answer's tokens a sample, given the instruction.
        alone: the same of the answer without the instruction.

    Raises:
        BadInput: the two have different samples or tokens, or an answer has no token.
    """
    if len(given_instruction) != len(alone):
        raise BadInput(f"{len(given_instruction)} samples with instruction, {len(alone)} without")
    ratios = []
    for row, (with_it, without) in enumerate(zip(given_instruction, alone, strict=True)):
        a, b = np.asarray(with_it, dtype=np.float64), np.asarray(without, dtype=np.float64)
        if a.shape != b.shape or a.ndim != 1 or not a.size:
            raise BadInput(
                f"row {row + 1}: an answer needs the same tokens, at least one, with and without instruction"
            )
        ratios.append(math.exp(b.mean() - a.mean()))
    return np.array(ratios)


@dataclass(frozen=True)
class JudgedComplexity:
    """What a judge gave: the mean over its answers, each score (NaN where it gave none), how many it missed."""

    mean: float
    scores: np.ndarray
    n_missing: int


def complexity_score(
    texts: Sequence[str],
    judge: Callable[[Sequence[str]], Sequence[int | str | None]],
    *,
    batch: int = 6,
    low: int = 1,
    high: int = 6,
) -> JudgedComplexity:
    """A judge's integer from 1 to 6 for each text, seen in batches so that it can compare them.

    Args:
        texts: the samples.
        judge: given a batch, answers one integer (or a text holding one) for each.
        batch: texts the judge sees at a time.
        low: lowest score.
        high: highest score.

    Raises:
        BadInput: there is no text, or the batch is below 1.
    """
    held = at_least_one(texts, "complexity_score")
    if batch < 1:
        raise BadInput(f"the judge needs at least one text at a time, not {batch}")
    scores = np.full(len(held), np.nan)
    for start in range(0, len(held), batch):
        part = held[start : start + batch]
        answers = list(judge(part))
        # A judge that lost count can't be trusted on which answer belongs to which text.
        if len(answers) == len(part):
            scores[start : start + len(part)] = [one_integer(answer, low, high) for answer in answers]
    missing = int(np.isnan(scores).sum())
    if missing == len(held):
        return JudgedComplexity(undefined("complexity_score", "the judge gave no usable score"), scores, missing)
    return JudgedComplexity(float(np.nanmean(scores)), scores, missing)


def one_integer(answer: int | str | None, low: int, high: int) -> float:
    """The one integer in a judge's answer, NaN unless there is exactly one and it is in [low, high].

    >>> one_integer("Score: 4", 1, 6), one_integer("3 or 4", 1, 6)
    (4.0, nan)
    """
    if isinstance(answer, str):
        found = re.findall(r"(?<![\d.])-?\d+(?!\.?\d)", answer)
        if len(found) != 1:
            return math.nan
        answer = int(found[0])
    if answer is None or isinstance(answer, bool) or not low <= answer <= high or int(answer) != answer:
        return math.nan
    return float(answer)
