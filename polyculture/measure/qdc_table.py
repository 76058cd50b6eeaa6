"""The survey's table of measures, and what a data set must bring for each.

"Surveying the Effects of Quality, Diversity, and Complexity in Synthetic Data From Large Language Models" (2024), whose
headings are kept; the formulas are the measures' standard ones. See :mod:`polyculture.measure.qdc` for the report.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from polyculture.measure import (
    archive,
    complexity,
    compression,
    lexical,
    ngrams,
    overlap,
    quality_measures,
    spread,
    tags,
)
from polyculture.measure.tokens import Tokenizer, words
from polyculture.measure.vendi import vendi_score

Axis = Literal["quality", "diversity", "complexity"]


@dataclass(frozen=True)
class QDCData:
    """What a data set can be judged by; every field may be absent, and its measures are then skipped with the reason.

    Args:
        texts: one a sample; empty ones are left out of the measures of texts, and counted.
        X: (n, d) embeddings.
        embedder: what made the embeddings, for the report.
        quality: (n,) scores, higher is better.
        answers: one a sample.
        references: the right answer of each.
        n_drawn: answers drawn for each problem.
        n_correct: how many of them are right.
        token_logprobs: natural-log probabilities of each sample's tokens.
        conditional_logprobs: the same, given the instruction.
        tags: the tags of each sample.
        tag_universe: how many tags there are, or which.
        measures: (n, m) descriptors of an archive; uses ``quality``.
        ranges: lowest and highest value of each descriptor.
        levels: a level people gave each sample.
        solve_rates: (n,) share of a solver's tries that succeeded.
        expressions: Python expressions whose trees are measured.
        rubric: the items of a rubric.
        rubric_judge: ``judge(item, text)`` answers an integer from 0 to 5.
        opponents: a rival text for each sample.
        compare: ``judge(first, second)`` answers "A", "B" or "tie".
        complexity_judge: a batch of texts -> an integer from 1 to 6 each.
    """

    texts: Sequence[str] | None = None
    X: Any = None
    embedder: str | None = None
    quality: Any = None
    answers: Sequence[Any] | None = None
    references: Sequence[Any] | None = None
    n_drawn: Any = None
    n_correct: Any = None
    token_logprobs: Sequence[Any] | None = None
    conditional_logprobs: Sequence[Any] | None = None
    tags: Sequence[Sequence[Hashable]] | None = None
    tag_universe: int | Collection[Hashable] | None = None
    measures: Any = None
    ranges: Sequence[tuple[float, float]] | None = None
    levels: Any = None
    solve_rates: Any = None
    expressions: Sequence[str] | None = None
    rubric: Sequence[str] | None = None
    rubric_judge: Callable[[str, Any], int | str | None] | None = None
    opponents: Sequence[str] | None = None
    compare: Callable[[Any, Any], str] | None = None
    complexity_judge: Callable[[Sequence[str]], Sequence[int | str | None]] | None = None


@dataclass(frozen=True)
class Settings:
    """How the report measures.

    Args:
        tokenize: text to tokens, for the lexical measures.
        pass_k: k of pass@k.
        quantile: of the reward.
        neighbours: k of the novelty.
        cells: cells along each dimension of the archive.
        sample: texts that self-BLEU and the pairwise measures look at; they grow with the number of texts, so only
            reports with the same sample size compare.
        fractions: shares of the data, best first, on the trade-off curve.
        rng: a Generator, or a seed for one, for the sample and the random subsets of the curve.
    """

    tokenize: Tokenizer = words
    pass_k: int = 1
    quantile: float = 0.5
    neighbours: int = 3
    cells: int = 10
    sample: int = 1000
    fractions: Sequence[float] = tuple(f / 10 for f in range(1, 11))
    rng: np.random.Generator | int | None = 0


@dataclass(frozen=True)
class Measure:
    """One line of the survey's table: what it gives, its unit, and the fields it needs."""

    axis: Axis
    names: tuple[str, ...]
    unit: str
    needs: tuple[str, ...]
    take: Callable[[Any, Settings], Any]


def _lexical(name: str, function: Callable[[list[str]], float], unit: str) -> Measure:
    pooled = lexical.pooled
    return Measure("diversity", (name,), unit, ("texts",), lambda d, s: function(pooled(d.texts, s.tokenize, name)))


def _text(name: str, function: Callable[..., float], unit: str) -> Measure:
    return Measure("diversity", (name,), unit, ("texts",), lambda d, s: function(d.texts, tokenize=s.tokenize))


def _sampled(name: str, function: Callable[..., float], unit: str) -> Measure:
    return Measure(
        "diversity", (name,), unit, ("texts",), lambda d, s: function(_sample(d.texts, s), tokenize=s.tokenize)
    )


def _cells(data: QDCData, settings: Settings) -> tuple[float, float]:
    found = archive.grid_archive(data.measures, data.quality, cells=settings.cells, ranges=data.ranges)
    return found["coverage"], found["qd_score"]


def _of(result: Any, *names: str) -> tuple[float, ...]:
    return tuple(float(getattr(result, name)) for name in names)


def _sample(texts: Sequence[str], settings: Settings) -> Sequence[str]:
    if len(texts) <= settings.sample:
        return texts
    chosen = np.random.default_rng(settings.rng).choice(len(texts), settings.sample, replace=False)
    return [texts[i] for i in np.sort(chosen)]


_DISTINCT = "distinct / all n-grams"
_BLEU = "BLEU in [0, 1], lower is more diverse"
TABLE = (
    Measure(
        "quality",
        ("accuracy",),
        "share right",
        ("answers", "references"),
        lambda d, s: quality_measures.accuracy(d.answers, d.references),
    ),
    Measure(
        "quality",
        ("pass_at_k",),
        "probability",
        ("n_drawn", "n_correct"),
        lambda d, s: float(np.mean(quality_measures.pass_at_k(d.n_drawn, d.n_correct, s.pass_k))),
    ),
    Measure("quality", ("mean_reward",), "score", ("quality",), lambda d, s: quality_measures.mean_reward(d.quality)),
    Measure(
        "quality",
        ("reward_quantile",),
        "score",
        ("quality",),
        lambda d, s: quality_measures.reward_quantile(d.quality, q=s.quantile),
    ),
    Measure(
        "quality",
        ("perplexity",),
        "per token, lower is better",
        ("token_logprobs",),
        lambda d, s: quality_measures.corpus_perplexity(d.token_logprobs),
    ),
    Measure(
        "quality",
        ("rubric_score", "rubric_missing"),
        "share of the best score; items without an answer",
        ("texts", "rubric", "rubric_judge"),
        lambda d, s: _of(quality_measures.rubric_score(d.texts, d.rubric, d.rubric_judge), "score", "n_missing"),
    ),
    Measure(
        "quality",
        ("win_rate", "win_rate_missing"),
        "wins + ties / 2; comparisons without a verdict",
        ("texts", "opponents", "compare"),
        lambda d, s: _of(quality_measures.win_rate(d.texts, d.opponents, d.compare), "rate", "n_missing"),
    ),
    _text("distinct_2", partial(ngrams.distinct_n, n=2), _DISTINCT),
    _text("ngram_diversity", ngrams.ngram_diversity, f"{_DISTINCT}, mean over n = 1..4"),
    Measure("diversity", ("ead",), "distinct / expected n-grams", ("texts",), lambda d, s: ngrams.ead(d.texts)),
    _sampled("self_bleu", overlap.self_bleu, _BLEU),
    _sampled("pairwise_bleu", overlap.pairwise_bleu, _BLEU),
    _lexical("ttr", lexical.type_token_ratio, "types / tokens"),
    _lexical("root_ttr", lexical.root_type_token_ratio, "types / sqrt(tokens)"),
    _lexical("log_ttr", lexical.log_type_token_ratio, "ln types / ln tokens"),
    _lexical("mattr", lexical.moving_average_ttr, "types / tokens in windows of 50"),
    _lexical("hdd", lexical.hdd, "types / tokens in samples of 42"),
    _lexical("mtld", lexical.mtld, "tokens a factor"),
    Measure(
        "diversity",
        ("compression_ratio",),
        "bytes / zlib bytes, lower is more diverse",
        ("texts",),
        lambda d, s: compression.compression_ratio(d.texts),
    ),
    Measure(
        "diversity",
        ("mean_cosine_distance", "mean_euclidean_distance"),
        "mean over pairs",
        ("X",),
        lambda d, s: (spread.mean_pairwise_distance(d.X), spread.mean_pairwise_distance(d.X, metric="euclidean")),
    ),
    Measure("diversity", ("mean_nn_distance",), "Euclidean", ("X",), lambda d, s: spread.mean_nn_distance(d.X)),
    Measure("diversity", ("novelty_k",), "Euclidean", ("X",), lambda d, s: spread.mean_novelty(d.X, k=s.neighbours)),
    Measure("diversity", ("vendi",), "effective number, q = 1, cosine", ("X",), lambda d, s: vendi_score(d.X)),
    Measure("diversity", ("n_unique_tags",), "tags", ("tags",), lambda d, s: tags.n_unique_tags(d.tags)),
    Measure(
        "diversity",
        ("tag_coverage",),
        "share of the universe",
        ("tags", "tag_universe"),
        lambda d, s: tags.tag_coverage(d.tags, d.tag_universe),
    ),
    Measure(
        "diversity",
        ("tag_entropy", "effective_tags"),
        "nats; effective number",
        ("tags",),
        lambda d, s: (tags.tag_entropy(d.tags), tags.effective_tags(d.tags)),
    ),
    Measure(
        "diversity",
        ("coverage", "qd_score"),
        "share of cells; sum of best quality",
        ("measures", "quality"),
        lambda d, s: _cells(d, s),
    ),
    Measure(
        "complexity",
        ("mean_length", "median_length"),
        "tokens",
        ("texts",),
        lambda d, s: tuple(complexity.length(d.texts, tokenize=s.tokenize).values()),
    ),
    Measure(
        "complexity",
        ("n_nodes", "depth"),
        "nodes; levels",
        ("expressions",),
        lambda d, s: tuple(complexity.tree_complexity(d.expressions).values()),
    ),
    Measure("complexity", ("mean_tags",), "tags a sample", ("tags",), lambda d, s: tags.mean_tags(d.tags)),
    Measure("complexity", ("human_level",), "level", ("levels",), lambda d, s: complexity.human_level(d.levels)),
    Measure(
        "complexity",
        ("complexity_score", "complexity_missing"),
        "1 to 6; texts without a score",
        ("texts", "complexity_judge"),
        lambda d, s: _of(complexity.complexity_score(d.texts, d.complexity_judge), "mean", "n_missing"),
    ),
    Measure(
        "complexity",
        ("difficulty",),
        "1 - solve rate",
        ("solve_rates",),
        lambda d, s: 1 - quality_measures.mean_reward(d.solve_rates),
    ),
    Measure(
        "complexity",
        ("ifd",),
        "perplexity ratio",
        ("conditional_logprobs", "token_logprobs"),
        lambda d, s: float(np.mean(complexity.ifd(d.conditional_logprobs, d.token_logprobs))),
    ),
)
