from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from polyculture.errors import BadInput, UnknownMethod
from polyculture.methods import build
from polyculture.pool import Pool
from polyculture.quality.columns import with_columns
from polyculture.select.quadmix import QuaDMix
from polyculture.select.quadmix_sampling import (
    Parameters,
    draw_copies,
    expected_tokens,
    merged_quality,
    parameters_of_uniforms,
    percentile_ranks,
    sampling_values,
    scaled_to_quota,
    token_ranks,
)
from polyculture.select.quadmix_search import QuaDMixSearch


def theta(**changes: list[float]) -> Parameters:
    held = {"lam": [20.0, 1000.0], "omega": [0.5, 0.2], "eta": [1.0, 0.0], "epsilon": [0.001, 0.0]} | changes
    lam, omega, eta, epsilon = (np.array(values) for values in held.values())
    return Parameters(np.eye(2), lam, omega, eta, epsilon, ("x", "y"), ("a", "b"))


@pytest.fixture
def pool() -> Pool:
    rng = np.random.default_rng(0)
    bare = Pool.from_arrays(groups=rng.choice(["a", "b"], 400), quality=rng.random(400), source="docs.jsonl")
    return with_columns(bare, x=rng.random(400), y=rng.random(400), tokens=rng.integers(1, 50, 400))


def test_percentile_ranks() -> None:
    assert percentile_ranks([[3.0], [1.0], [2.0], [2.0]]).ravel().tolist() == [0.25, 1.0, 0.75, 0.75]
    scores = np.random.default_rng(0).normal(size=(5000, 2))
    close = percentile_ranks(scores, sample=1000, rng=0)
    assert np.abs(close - percentile_ranks(scores)).max() < 0.06


def test_token_ranks_are_those_of_a_plain_loop() -> None:
    rng = np.random.default_rng(1)
    for n in (0, 1, 2, 40):
        q, t, d = np.round(rng.random(n), 1), rng.integers(1, 9, n), rng.integers(0, 3, n)
        plain = [t[(d == d[i]) & (q <= q[i] + 1e-12)].sum() / t[d == d[i]].sum() for i in range(n)]
        np.testing.assert_allclose(token_ranks(q, t, d), plain)
    with pytest.raises(BadInput, match="row 2 has 0 tokens"):
        token_ranks([0.1, 0.2], [1, 0], [0, 0])


def test_curve() -> None:
    held = theta()
    inside = sampling_values([0.5, 0.5001, 0.0, 0.2, 0.19], [0, 0, 0, 1, 1], held)
    np.testing.assert_allclose(inside, [1.001, 0.001, 2 / (1 + np.exp(-10)) + 0.001, 1.0, 1.0])
    assert np.isfinite(sampling_values([0.0, 1.0], [1, 1], theta(lam=[1.0, 1e9]))).all()
    ranks = np.linspace(0, 1, 200)
    assert (np.diff(sampling_values(ranks, np.zeros(200, dtype=int), held)) <= 0).all()


def test_merge_and_expected_tokens() -> None:
    np.testing.assert_allclose(merged_quality([[0.2, 0.8], [0.2, 0.8]], [0, 1], np.eye(2)), [0.2, 0.8])
    assert merged_quality([], [], np.eye(2)).shape == (0,) == token_ranks([], [], []).shape  # no documents
    assert expected_tokens([1.0, 0.5, 2.0], [10, 10, 3], [0, 1, 1], 3).tolist() == [10.0, 11.0, 0.0]


def test_scaled_to_quota() -> None:
    rng = np.random.default_rng(0)
    values, tokens = rng.random(60) * (rng.random(60) < 0.8), rng.integers(1, 9, 60)
    for quota in (1.0, 40.0, 150.0):
        found = scaled_to_quota(values, quota, tokens=tokens)
        assert (found * tokens).sum() == pytest.approx(quota)
        assert found.max() <= 1 and (found[values == 0] == 0).all()
        free = (found < 1) & (values > 0)
        np.testing.assert_allclose(np.ptp(found[free] / values[free]), 0, atol=1e-9)
    with pytest.raises(BadInput, match="widen omega"):
        scaled_to_quota(values, 1e6, tokens=tokens)


def test_copies() -> None:
    assert draw_copies([0.0, 1.0, 3.0]).tolist() == [1, 2, 2, 2]
    drawn = draw_copies(np.full(20_000, 1.25), 0)
    assert len(drawn) == pytest.approx(25_000, rel=0.02)


def test_draws_more_of_the_better(pool: Pool) -> None:
    selector = QuaDMix(criteria=("x", "y"), alpha=(1.0, 0.0), omega=(0.3,), tokens="tokens")
    found = selector.sampling(pool)
    drawn = np.zeros(400)
    for seed in range(30):
        drawn[selector.select(pool, 60, rng=seed)] += 1
    good = found.values > 1
    assert drawn[good].mean() > 20 * drawn[~good].mean()
    assert np.corrcoef(drawn[good], found.values[good])[0, 1] > 0.3
    better = with_columns(pool, x=-numbers_of(pool, "x"))
    turned = QuaDMix(None, ("x", "y"), ("x",), (1.0, 0.0), omega=(0.3,), tokens="tokens")
    np.testing.assert_allclose(turned.sampling(better).values, found.values)


def numbers_of(pool: Pool, name: str) -> np.ndarray:
    return np.array([pool.records.row(i)[name] for i in range(len(pool))])


def test_inclusion_follows_the_curve(pool: Pool) -> None:
    selector = QuaDMix(omega=(0.6,), eta=(1.0,), lam=(5.0,))
    expected = scaled_to_quota(selector.sampling(pool).values, 80)
    drawn = np.zeros(400)
    for seed in range(400):
        drawn[selector.select(pool, 80, rng=seed)] += 1 / 400
    assert np.abs(drawn - expected).max() < 0.12 and np.abs(drawn - expected).mean() < 0.02


def test_corpus_of_tokens(pool: Pool) -> None:
    selector = QuaDMix(criteria=("x", "y"), omega=(0.3,), tokens="tokens")
    rows = selector.corpus(pool, 6000, rng=0)
    tokens = numbers_of(pool, "tokens")
    assert tokens[rows].sum() == pytest.approx(6000, rel=0.05)
    assert np.bincount(rows).max() > 1, "rows repeat where the quota asks for it"
    with pytest.raises(BadInput, match="widen omega"):
        QuaDMix(epsilon=(0.0,)).corpus(pool, 300, most=1.0)


def test_parameters_from_a_file(pool: Pool, tmp_path: Path) -> None:
    path = tmp_path / "theta.json"
    held = theta()
    held.save(path)
    loaded = Parameters.load(path)
    np.testing.assert_array_equal(loaded.vector, held.vector)
    assert loaded.names()[:3] == ["alpha:x:a", "alpha:y:a", "alpha:x:b"] and loaded.names()[-1] == "epsilon:b"
    one = build("select", "quadmix", parameters=str(path)).sampling(pool)
    two = build(
        "select",
        "quadmix",
        criteria="x,y",
        alpha="1,0,0,1",
        lam="20,1000",
        omega="0.5,0.2",
        eta="1,0",
        epsilon="0.001,0",
    ).sampling(pool)
    np.testing.assert_array_equal(one.values, two.values)
    with pytest.raises(BadInput, match="is for domains a, b"):
        QuaDMix(parameters=str(path)).select(pool.with_(group_names=("a", "c")), 5)
    with pytest.raises(BadInput, match="not those of"):
        QuaDMix(parameters=str(path), criteria=("x",)).select(pool, 5)
    with pytest.raises(BadInput, match="can't be read"):
        Parameters.load(tmp_path / "none.json")
    path.write_text(json.dumps({"format": "other"}))
    with pytest.raises(BadInput, match="holds no QuaDMix parameters"):
        Parameters.load(path)


def test_refuses(pool: Pool) -> None:
    with pytest.raises(BadInput, match="2 domains need 1"):
        QuaDMix(omega=(0.1, 0.2, 0.3)).select(pool, 5)
    with pytest.raises(UnknownMethod, match="criterion"):
        QuaDMix(criteria=("x",), lower_is_better=("z",)).select(pool, 5)
    with pytest.raises(BadInput, match="should not all be 0"):
        QuaDMix(alpha=(0.0,)).select(pool, 5)
    with pytest.raises(BadInput, match="0 or more"):
        QuaDMix(eta=(-1.0,)).select(pool, 5)
    with pytest.raises(BadInput, match="one number a domain"):
        theta(lam=[1.0])
    with pytest.raises(UnknownMethod, match="prior"):
        parameters_of_uniforms([1.0], [[1.0]], [[1.0] * 4], lambda_prior="flat")  # type: ignore[arg-type]


SEARCH = QuaDMixSearch(("x", "y"), ("a", "b"), candidates=4000, trees=200, learning_rate=0.1)


def score(held: Parameters) -> float:
    """Least where the first domain weighs x and has a large omega."""
    return float(2 - held.alpha[0, 0] - 5 * held.omega[0])


def test_prior() -> None:
    drawn = SEARCH.propose(300, rng=0)
    vectors = np.stack([held.vector for held in drawn])
    assert vectors.shape == (300, 12)
    assert all(np.allclose(held.alpha.sum(axis=1), 1) for held in drawn)
    lam = np.concatenate([held.lam for held in drawn])
    assert lam.min() >= 1 and lam.max() <= 1000 and np.median(lam) == pytest.approx(31.6, rel=0.3)
    assert max(held.omega.max() for held in drawn) <= 0.1
    np.testing.assert_array_equal(vectors, SEARCH.vectors(300, rng=0))


def test_finds_what_scores_well(tmp_path: Path) -> None:
    search = QuaDMixSearch(**SEARCH.get_params()).search(score, 150, rng=1, runs=tmp_path / "runs.csv")
    drawn = np.array([score(held) for held in SEARCH.propose(1000, rng=5)])
    assert score(search.best_) < np.quantile(drawn, 0.05)
    assert search.correlation_ > 0.7 and search.error_ < drawn.std()
    np.testing.assert_allclose(search.best_.alpha.sum(axis=1), 1)
    assert search.spread_.shape == (12,)

    def never(held: Parameters) -> float:
        raise AssertionError("this run was done already")

    again = QuaDMixSearch(**SEARCH.get_params()).search(never, 150, rng=1, runs=tmp_path / "runs.csv")
    np.testing.assert_array_equal(again.best_.vector, search.best_.vector)
    table = QuaDMixSearch(**SEARCH.get_params()).fit(tmp_path / "runs.csv")
    np.testing.assert_array_equal(table.best_.vector, search.best_.vector)
    text = (tmp_path / "runs.csv").read_text()
    (tmp_path / "bad.csv").write_text(text.replace("omega:a", "omega"))
    with pytest.raises(BadInput, match="'omega:a' is missing"):
        SEARCH.fit(tmp_path / "bad.csv")


def test_runs_without_a_loss_are_left_out() -> None:
    losses = iter([float("nan"), *np.linspace(1, 2, 19)])
    with pytest.warns(UserWarning, match="1 of 20 runs"):
        QuaDMixSearch(**SEARCH.get_params()).search(lambda held: next(losses), 20, rng=0)


def test_search_refuses() -> None:
    with pytest.raises(BadInput, match="4 runs or more"):
        SEARCH.fit(SEARCH.propose(3, rng=0), [1.0, 2.0, 3.0])
    with pytest.raises(BadInput, match="12 parameters"):
        SEARCH.fit(np.zeros((9, 5)), np.zeros(9))
    with pytest.raises(BadInput, match="no such file"):
        SEARCH.fit("nowhere.csv")
    with pytest.raises(BadInput, match="1 or more"):
        SEARCH.propose(0)
    rows = [dict(zip(held.names(), held.vector.tolist(), strict=True)) | {"loss": "much"} for held in SEARCH.propose(5)]
    with pytest.raises(BadInput, match="run 1: 'loss' is 'much'"):
        SEARCH.fit(rows)
