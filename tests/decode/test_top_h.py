"""Top-H: counts by hand, the three rules against plain prefixes and transformers, ties, banned tokens, bad input."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from transformers import TopHLogitsWarper

from polyculture.decode.top_h import TopH, entropy_constrained_mass, top_h_mask, truncation
from polyculture.errors import BadInput, UnknownMethod


def prefix_by_brute_force(logits: np.ndarray, alpha: float, temperature: float, rule: str, top_n: int) -> set[int]:
    order = sorted(range(logits.size), key=lambda i: (-logits[i], i))
    if rule == "hf":
        order = order[:top_n]
        logits = np.where(np.isin(np.arange(logits.size), order), logits, -np.inf)
    p = np.exp((logits - logits.max()) / temperature)
    p /= p.sum()
    considered = order if rule == "paper" else order[:top_n]

    def held(ids: list[int]) -> float:
        part = p[ids]
        return float(entropy(part)) if rule == "paper" else float(-(part * np.log(part)).sum())

    bound = alpha * held(considered)
    kept = {order[0]}
    for i in range(2, len(considered) + 1):
        if held(considered[:i]) > bound + 1e-12:
            break
        kept.add(considered[i - 1])
    return kept


@pytest.mark.parametrize("rule", ["paper", "reference", "hf"])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_rules_keep_the_prefix_they_define(rule: str, temperature: float) -> None:
    rng = np.random.default_rng(3)
    for width, alpha in itertools.product((1, 2, 7, 60), (0.1, 0.4, 0.9)):
        logits = rng.normal(size=(4, width)) * 3
        mask = top_h_mask(torch.tensor(logits), alpha, temperature=temperature, rule=rule, top_n=20)  # type: ignore[arg-type]
        for row, got in zip(logits, mask, strict=True):
            expected = prefix_by_brute_force(row, alpha, temperature, rule, 20)
            assert set(torch.nonzero(got).flatten().tolist()) == expected


def test_the_hf_rule_is_the_one_of_transformers() -> None:
    scores = torch.randn(8, 3000, generator=torch.Generator().manual_seed(0)) * 3
    assert torch.equal(TopH(0.4, rule="hf")(None, scores), TopHLogitsWarper(0.4)(None, scores))


@pytest.mark.parametrize("certainty", [20.0, 30.0, 50.0, 200.0])
def test_the_hf_rule_is_the_one_of_transformers_where_a_row_is_nearly_certain(certainty: float) -> None:
    scores = torch.linspace(0.0, 1.0, 12, dtype=torch.float64).repeat(2, 1)
    scores[0, 3] = scores[1, 7] = certainty
    for alpha in (0.1, 0.4, 0.7):
        assert torch.equal(TopH(alpha, rule="hf")(None, scores), TopHLogitsWarper(alpha)(None, scores))


@pytest.mark.parametrize(("n", "alpha", "kept"), [(81, 0.5, 9), (16, 0.5, 4), (1000, 2 / 3, 100), (100, 0.01, 1)])
def test_of_n_equal_tokens_the_paper_keeps_n_to_the_alpha_lowest_ids(n: int, alpha: float, kept: int) -> None:
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        mask = top_h_mask(torch.full((2, n), 1.25, dtype=dtype), alpha)
        assert torch.nonzero(mask[0]).flatten().tolist() == list(range(kept))


@pytest.mark.parametrize("rule", ["reference", "hf"])
def test_of_n_equal_tokens_the_partial_entropies_keep_a_share(rule: str) -> None:
    mask = top_h_mask(torch.zeros(100), 0.4, rule=rule)  # type: ignore[arg-type]
    assert torch.nonzero(mask).flatten().tolist() == list(range(40))


def test_a_row_that_keeps_most_of_a_large_vocabulary_is_searched_to_its_end() -> None:
    logits = torch.randn(3, 20_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    logits[1] *= 8  # one narrow row among wide ones
    mask = top_h_mask(logits, 0.97)
    cut = truncation(logits, mask)
    assert (cut.kept_entropy <= 0.97 * cut.entropy + 1e-9).all()
    assert mask[0].sum() > 5000 > mask[1].sum()
    for row, kept in zip(logits, mask, strict=True):
        threshold = row[kept].min()
        assert torch.equal(kept, row >= threshold)  # a prefix
        one_more = kept | (row == row[~kept].max())
        assert truncation(row[None], one_more[None]).kept_entropy > 0.97 * entropy(torch.softmax(row, 0))


def test_the_blocked_search_finds_the_same_as_a_sort() -> None:
    from polyculture.decode.top_h import _largest

    z = torch.randn(3, 64 * 500, generator=torch.Generator().manual_seed(2))
    values, at = _largest(z, 129)
    assert torch.equal(values, z.sort(descending=True).values[:, :129])
    assert torch.equal(z.gather(1, at), values)


def test_banned_tokens_are_never_kept() -> None:
    logits = torch.tensor([[0.3, -torch.inf, 2.1, -0.4, -torch.inf, 1.2]])
    for alpha in (0.1, 0.6, 1.0):
        mask = top_h_mask(logits, alpha)
        assert not mask[0, [1, 4]].any()
        without = top_h_mask(logits[:, [0, 2, 3, 5]], alpha)
        assert torch.equal(mask[:, [0, 2, 3, 5]], without)
    assert mask.sum() == 4  # alpha = 1 keeps the rest


def test_one_certain_token_is_all_that_is_kept() -> None:
    logits = torch.full((1, 8), -torch.inf)
    logits[0, 5] = 3.0
    for rule in ("paper", "reference", "hf"):
        assert torch.nonzero(top_h_mask(logits, 0.4, rule=rule)[0]).tolist() == [[5]]  # type: ignore[arg-type]
    assert top_h_mask(torch.arange(8.0), 0.4, temperature=1e-4).sum() == 1


def test_kept_scores_are_left_as_they_came() -> None:
    scores = 3 * torch.randn(4, 50, generator=torch.Generator().manual_seed(0))
    before = scores.clone()
    out = TopH(0.4, temperature=2.0)(None, scores)
    assert torch.equal(scores, before)
    mask = top_h_mask(scores, 0.4, temperature=2.0)
    assert torch.equal(out.isfinite(), mask) and torch.equal(out[mask], scores[mask])
    assert not torch.equal(mask, top_h_mask(scores, 0.4, temperature=1.0))


def test_the_divergence_in_closed_form_is_the_divergence() -> None:
    logits = torch.randn(1, 30, generator=torch.Generator().manual_seed(4)).double()
    mask = top_h_mask(logits, 0.5)
    p = torch.softmax(logits, -1)[0].numpy()
    q = np.where(mask[0].numpy(), p, 0) / p[mask[0].numpy()].sum()
    middle = (p + q) / 2
    jsd = (entropy(p, middle) + entropy(q, middle)) / 2
    assert truncation(logits, mask).jsd.item() == pytest.approx(jsd, abs=1e-12)


def test_the_optimum_is_at_least_the_greedy_prefix_and_feasible() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        p = rng.dirichlet(np.full(9, 0.6))
        best = entropy_constrained_mass(p, 0.5)
        part = p[list(best.subset)]
        assert entropy(part) <= 0.5 * entropy(p) + 1e-9
        assert best.mass == pytest.approx(part.sum())
        assert 0 < best.ratio <= 1 + 1e-12
        feasible = [
            p[list(s)].sum()
            for r in range(1, 10)
            for s in itertools.combinations(range(9), r)
            if entropy(p[list(s)]) <= 0.5 * entropy(p) + 1e-12
        ]
        assert best.mass == pytest.approx(max(feasible))


def test_the_optimum_of_a_certain_and_of_an_even_distribution() -> None:
    assert entropy_constrained_mass(np.array([0.0, 1.0, 0.0])).subset == (1,)
    assert entropy_constrained_mass(np.array([1.0])).ratio == 1.0
    assert entropy_constrained_mass(np.full(16, 1 / 16), 0.5).subset == (0, 1, 2, 3)


def test_bad_options_are_named() -> None:
    for alpha in (0.0, -1.0, 1.1, float("nan")):
        with pytest.raises(BadInput, match="alpha"):
            TopH(alpha)
    with pytest.raises(BadInput, match="temperature"):
        TopH(temperature=0.0)
    with pytest.raises(UnknownMethod, match="paper"):
        TopH(rule="papers")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="top_n"):
        TopH(rule="hf", top_n=0)


def test_bad_logits_are_named() -> None:
    banned = torch.zeros(2, 4)
    banned[1] = -torch.inf
    nan = torch.tensor([[0.0, torch.nan]])
    for rows in (banned, nan, torch.tensor([[0.0, torch.inf]])):
        with pytest.raises(BadInput, match="finite logit"):
            top_h_mask(rows)
    with pytest.raises(BadInput, match="floating"):
        top_h_mask(torch.zeros(2, 4, dtype=torch.long))
    with pytest.raises(BadInput, match="floating"):
        top_h_mask(torch.zeros(2, 0))
    with pytest.raises(BadInput, match="1 to 20"):
        entropy_constrained_mass(np.full(21, 1 / 21))
    with pytest.raises(BadInput, match="add up"):
        entropy_constrained_mass(np.array([0.5, 0.6]))
