"""Pairs in stages from easy to hard: each prompt's next pair, or all pairs in one order cut in equal parts.

Curry-DPO: Enhancing Alignment using Curriculum Learning & Ranked Preferences (2024), section 3.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from polyculture.align.data.ranked import Order, easiest_first, ranked_pairs, reordered
from polyculture.errors import BadInput, unknown

Mode = Literal["per_prompt", "global"]
MODES = ("per_prompt", "global")


class StagedPair(NamedTuple):
    """One pair of a stage: the prompt's index, the answers' indices in it, and the gap of their ratings."""

    prompt: int
    chosen: int
    rejected: int
    gap: float


def curriculum_stages(
    scores: Sequence[Sequence[float]],
    *,
    mode: Mode = "per_prompt",
    iterations: int = 3,
    max_pairs: int | None = None,
    min_gap: float = 0.0,
    order: Order = "easy_to_hard",
    criterion: Sequence[Sequence[float]] | None = None,
    scales: Sequence[Hashable] | None = None,
    rng: np.random.Generator | int | None = None,
) -> list[list[StagedPair]]:
    """The pairs of each iteration, from the ratings of each prompt's answers.

    Args:
        scores: for each prompt the ratings of its answers; prompts may have different numbers of them.
        mode: "per_prompt": iteration t takes each prompt's t-th pair, prompts in order, and pairs beyond the last
            iteration are left out. "global": all pairs in one order, cut at round(n t / iterations).
        iterations: T, how many stages; always so many lists are returned, and some may be empty.
        max_pairs: most pairs of a prompt; the easiest are kept.
        min_gap: leave out pairs whose ratings differ by less.
        order: easy first, hard first, or random. Equally easy pairs keep the order of prompts and answers.
        criterion: for each prompt what its answers are told by instead of the ratings (:func:`ranked_pairs`).
        scales: for each prompt the scale that its ratings are on. Given, gaps are divided by the root mean square of
            the gaps on that scale, so that a "global" order compares data sets rated differently.
        rng: of the random order.

    Raises:
        BadInput: iterations is below 1, or an argument is not as long as the ratings.
        UnknownMethod: there is no such mode or order.
    """
    for name, given in (("criterion", criterion), ("scales", scales)):
        if given is not None and len(given) != len(scores):
            raise BadInput(f"{name} should have one entry a prompt: {len(scores)}, not {len(given)}")
    pairs, ease = [], []
    for i, ratings in enumerate(scores):
        told_by = None if criterion is None else criterion[i]
        found = ranked_pairs(ratings, max_pairs=max_pairs, min_gap=min_gap, criterion=told_by)
        for pair in sorted(found, key=lambda pair: pair.rejected):
            pairs.append(StagedPair(i, pair.chosen, pair.rejected, pair.gap))
            ease.append(pair.ease)
    if scales is not None:
        ease = list(standardised(ease, [scales[pair.prompt] for pair in pairs]))
    cut = cut_stages([p.prompt for p in pairs], ease, mode=mode, iterations=iterations, order=order, rng=rng)
    return [[pairs[i] for i in stage] for stage in cut]


def cut_stages(
    prompts: Sequence[int],
    ease: Sequence[float] | np.ndarray,
    *,
    mode: Mode = "per_prompt",
    iterations: int = 3,
    order: Order = "easy_to_hard",
    rng: np.random.Generator | int | None = None,
) -> list[list[int]]:
    """Indices of the pairs of each stage; see :func:`curriculum_stages`.

    Args:
        prompts: for each pair the index of its prompt.
        ease: for each pair how easy it is.
        mode: each prompt's t-th pair, or the t-th part of all pairs.
        iterations: how many stages.
        order: the order of the pairs.
        rng: of the random order.

    Raises:
        BadInput: iterations is below 1.
        UnknownMethod: there is no such mode or order.
    """
    if iterations < 1:
        raise BadInput(f"a curriculum should have 1 iteration or more, not {iterations}")
    if mode not in MODES:
        raise unknown("mode of a curriculum", mode, MODES)
    random = np.random.default_rng(rng)
    if mode == "global":
        ordered, n = reordered(easiest_first(ease), ease, order, random), len(ease)
        cuts = [round(n * t / iterations) for t in range(iterations + 1)]
        return [ordered[start:stop] for start, stop in itertools.pairwise(cuts)]
    stages: list[list[int]] = [[] for _ in range(iterations)]
    by_prompt: dict[int, list[int]] = {}
    for i in easiest_first(ease):
        by_prompt.setdefault(prompts[i], []).append(i)
    for prompt in sorted(by_prompt):
        # The same pairs whatever the order, so that orders can be compared.
        for t, i in enumerate(reordered(by_prompt[prompt][:iterations], ease, order, random)):
            stages[t].append(i)
    return stages


def standardised(gaps: Sequence[float] | np.ndarray, scales: Sequence[Hashable]) -> np.ndarray:
    """Gaps over the root mean square of the gaps on the same scale.

    Args:
        gaps: (n,) differences of ratings.
        scales: for each the scale it is on.
    """
    held = np.asarray(gaps, dtype=np.float64)
    codes = {scale: code for code, scale in enumerate(dict.fromkeys(scales))}
    groups = np.asarray([codes[scale] for scale in scales], dtype=np.int64)
    counts = np.maximum(np.bincount(groups, minlength=len(codes)), 1)
    spread = np.sqrt(np.bincount(groups, held**2, minlength=len(codes)) / counts)
    return held / np.where(spread > 0, spread, 1.0)[groups]
