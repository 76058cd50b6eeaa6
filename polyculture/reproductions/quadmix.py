"""QuaDMix: quality and domains weighed together give a better corpus than either first and the other after.

QuaDMix: Quality-Diversity Balanced Data Selection for Efficient LLM Pretraining (2025), Table 1 and Figure 1, on worlds
of Markov chains: 12 symbols, four domains whose chains share half of their transitions, 4 000 documents of 60 symbols
of which a share of steps, the document's quality, follows the domain's chain and the rest is noise. Three scorers see
that quality noisily, more noisily and with a bias to one domain, or not at all. The target is clean text of the two
small domains. A proxy "model" counts pairs of symbols. Half of the documents serve the proxy runs, the other half the
final corpus, 400 documents by every method. The prior of omega reaches 0.6 instead of 0.1, for a tenth of this pool
would not fill the corpus.

RegMix, the baseline that tunes the domains alone, draws its mixtures from Dirichlet distributions around the square
root of the domains' shares, of 15 strengths from 0.1 to 5, and averages the best 128 of as many simulated mixtures.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from polyculture.pool import Pool
from polyculture.quality.columns import with_columns
from polyculture.reproductions.finding import Curve, Finding, Interval, Plot, Scale
from polyculture.select.quadmix import QuaDMix
from polyculture.select.quadmix_sampling import (
    Parameters,
    draw_copies,
    merged_quality,
    percentile_ranks,
    sampling_values,
    scaled_to_quota,
    token_ranks,
)
from polyculture.select.quadmix_search import QuaDMixSearch
from polyculture.surrogate import LossModel, mean_of_lowest

SYMBOLS, DOCUMENTS, LENGTH, QUOTA, OMEGA, SMOOTHING, MOST = 12, 4000, 60, 400, 0.6, 0.1, 4.0
SHARES = np.array([0.1, 0.1, 0.4, 0.4])
SCORERS = ("noisy", "noisier and biased", "noise")
DOMAINS = ("a", "b", "c", "d")


@dataclass(frozen=True)
class World:
    """Documents as counts of pairs of symbols, with their domains and scores, and the target's pair frequencies."""

    counts: np.ndarray
    domain: np.ndarray
    scores: np.ndarray
    target: np.ndarray

    def half(self, second: bool) -> World:
        """The documents for the final corpus, or those for the proxy runs."""
        rows = slice(int(second), None, 2)
        return World(self.counts[rows], self.domain[rows], self.scores[rows], self.target)

    def loss(self, rows: np.ndarray) -> float:
        """Nats a symbol on the target, of a model that counted pairs in these documents (rows may repeat)."""
        counts = self.counts[rows].sum(axis=0) + SMOOTHING
        return float(-(self.target * np.log(counts / counts.sum(axis=1, keepdims=True))).sum())

    def pool(self) -> Pool:
        """Domains as groups, scores as columns."""
        columns = {name: self.scores[:, i] for i, name in enumerate(SCORERS)}
        return with_columns(Pool.from_arrays(groups=[DOMAINS[d] for d in self.domain]), **columns)


def world(rng: np.random.Generator, *, informative: bool = True) -> World:
    """A world; without ``informative`` every score is noise and the target is an equal mix of all domains."""
    shared = rng.dirichlet(np.full(SYMBOLS, 0.3), SYMBOLS)
    chains = np.stack([0.5 * shared + 0.5 * rng.dirichlet(np.full(SYMBOLS, 0.3), SYMBOLS) for _ in DOMAINS])
    domain = rng.choice(len(DOMAINS), DOCUMENTS, p=SHARES)
    quality = rng.beta(1, 1.5, DOCUMENTS)
    cumulative = chains.cumsum(axis=2)
    state = rng.integers(SYMBOLS, size=DOCUMENTS)
    counts = np.zeros((DOCUMENTS, SYMBOLS, SYMBOLS))
    each = np.arange(DOCUMENTS)
    for _ in range(LENGTH - 1):
        follows = rng.random(DOCUMENTS) < quality
        after = (cumulative[domain, state] < rng.random(DOCUMENTS)[:, None]).sum(axis=1).clip(max=SYMBOLS - 1)
        after = np.where(follows, after, rng.integers(SYMBOLS, size=DOCUMENTS))
        counts[each, state, after] += 1
        state = after
    scores = np.stack(
        [
            quality + 0.2 * rng.normal(size=DOCUMENTS),
            quality + 0.4 * rng.normal(size=DOCUMENTS) + 0.5 * (domain == 2),
            rng.normal(size=DOCUMENTS),
        ],
        axis=1,
    )
    wanted = chains[:2] if informative else chains
    if not informative:
        scores = rng.normal(size=scores.shape)
    # Clean text of a domain: its chain at rest.
    target = np.mean([_stationary(chain)[:, None] * chain for chain in wanted], axis=0)
    return World(counts, domain, scores, target)


def _stationary(chain: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eig(chain.T)
    rest = np.abs(np.real(vectors[:, np.argmax(np.real(values))]))
    return np.asarray(rest / rest.sum())


def corpus_by(held: World, theta: Parameters, sigma: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A corpus of the quota's size that these parameters draw."""
    ranks = token_ranks(merged_quality(sigma, held.domain, theta.alpha), np.ones(len(held.domain)), held.domain)
    return draw_copies(scaled_to_quota(sampling_values(ranks, held.domain, theta), QUOTA, most=MOST), rng)


def mixed(held: World, weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A corpus of the quota's size that holds the domains in these shares, each drawn evenly."""
    sizes = np.bincount(held.domain, minlength=len(DOMAINS))
    values = weights[held.domain] / np.maximum(sizes, 1)[held.domain]
    return draw_copies(scaled_to_quota(values, QUOTA, most=MOST), rng)


def quadmix(held: World, runs: int, candidates: int, seed: int) -> tuple[np.ndarray, QuaDMixSearch]:
    """Search on one half, draw the corpus from the other with the selector; its rows, and the search."""
    proxy, final = held.half(False), held.half(True)
    sigma = percentile_ranks(proxy.scores)
    source = np.random.default_rng([seed, 10])

    def evaluate(theta: Parameters) -> float:
        return proxy.loss(corpus_by(proxy, theta, sigma, source))

    search = QuaDMixSearch(SCORERS, DOMAINS, omega=OMEGA, candidates=candidates, seed=seed)
    search.search(evaluate, runs, rng=seed)
    best = search.best_
    selector = QuaDMix(
        criteria=SCORERS,
        alpha=tuple(best.alpha.ravel()),
        lam=tuple(best.lam),
        omega=tuple(best.omega),
        eta=tuple(best.eta),
        epsilon=tuple(best.epsilon),
    )
    return selector.corpus(final.pool(), QUOTA, most=MOST, rng=seed), search


def regmix(held: World, runs: int, candidates: int, seed: int) -> np.ndarray:
    """Search for the domains' shares on one half, draw the corpus from the other; its rows."""
    proxy, final = held.half(False), held.half(True)
    rng = np.random.default_rng([seed, 11])

    def draws(n: int) -> np.ndarray:
        prior = np.sqrt(np.bincount(proxy.domain, minlength=len(DOMAINS)) / len(proxy.domain))
        strengths = rng.choice(np.geomspace(0.1, 5, 15), n)
        drawn = np.stack([rng.dirichlet(prior / prior.sum() * strength * len(prior)) for strength in strengths])
        return np.maximum(drawn, 1e-3) / np.maximum(drawn, 1e-3).sum(axis=1, keepdims=True)

    weights = draws(runs)
    losses = np.array([proxy.loss(mixed(proxy, w, rng)) for w in weights])
    held_out = max(2, runs // 15)
    model = LossModel(seed=seed).fit(weights[held_out:], losses[held_out:], weights[:held_out], losses[:held_out])
    simulated = draws(candidates)
    return mixed(final, mean_of_lowest(simulated, model.predict(simulated), min(128, candidates))[0], rng)


def losses(held: World, runs: int, candidates: int, seed: int) -> dict[str, float]:
    """Loss on the target of the corpus that each method draws, and the search's correlation on held-out runs."""
    final = held.half(True)
    rng = np.random.default_rng([seed, 12])
    ranks = percentile_ranks(final.scores)

    def top(score: np.ndarray) -> np.ndarray:
        return np.argsort(score, kind="stable")[:QUOTA]

    rows, search = quadmix(held, runs, candidates, seed)
    corpora = {
        "QuaDMix": rows,
        "RegMix": regmix(held, runs, candidates, seed),
        **{f"top by {name}": top(ranks[:, i]) for i, name in enumerate(SCORERS)},
        "top by the mean": top(ranks.mean(axis=1)),
        "random": rng.choice(len(final.domain), QUOTA, replace=False),
    }
    return {name: final.loss(rows) for name, rows in corpora.items()} | {"correlation": search.correlation_}


def reproduce(*, scale: Scale = "smoke", seed: int = 0) -> Finding:
    """Loss on the target by method, in worlds with and without anything to know, over seeds."""
    start = time.perf_counter()
    runs, candidates, seeds = (120, 5_000, 2) if scale == "smoke" else (250, 100_000, 8)
    values: dict[str, list[float]] = {}
    control: dict[str, list[float]] = {}
    for s in range(seed, seed + seeds):
        for name, value in losses(world(np.random.default_rng([s, 0])), runs, candidates, s).items():
            values.setdefault(name, []).append(value)
        blind = world(np.random.default_rng([s, 1]), informative=False)
        for name, value in losses(blind, runs, candidates, s).items():
            control.setdefault(name, []).append(value)
    mean = {name: float(np.mean(v)) for name, v in values.items()}
    blind_means = [float(np.mean(v)) for name, v in control.items() if name != "correlation"]
    tops = [name for name in mean if name.startswith("top by")]
    return Finding(
        slug="quadmix",
        claim="A corpus drawn by quality and domain together, with parameters searched by proxy runs, is better than "
        "by the best domain mixture or by any quality score.",
        metric="nats a symbol on clean text of the two target domains, lower is better; correlation of predicted and "
        "true losses of proxy runs held out",
        values={name: Interval.of(v) for name, v in values.items()},
        control="scores that are noise and a target that is an equal mix of all domains: nothing to know",
        control_values={name: Interval.of(v) for name, v in control.items()},
        checks={
            "QuaDMix beats RegMix": mean["QuaDMix"] < mean["RegMix"],
            "RegMix beats random": mean["RegMix"] < mean["random"],
            "QuaDMix beats every score by 0.03": mean["QuaDMix"] < min(mean[name] for name in tops) - 0.03,
            "control: all within 0.01": max(blind_means) - min(blind_means) < 0.01,
        },
        scale=scale,
        seed=seed,
        seconds=time.perf_counter() - start,
        plot=_plot({name: Interval.of(v) for name, v in values.items() if name != "correlation"}),
        notes=(f"{runs} proxy runs; the paper has 3 000. Corpora are 400 of 2 000 documents for every method.",),
    )


def _plot(values: dict[str, Interval]) -> Plot:
    names = list(values)
    held = [values[name] for name in names]
    curve = Curve("loss", names, [v.mean for v in held], [v.low for v in held], [v.high for v in held], kind="bars")
    return Plot("Loss on the target by how the corpus was drawn", "method", "nats a symbol", [curve])
