"""ODiS: components and their signs, budgets filled one at a time, raters of every kind, and input it can't use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA

from polyculture.errors import BadInput, UnknownMethod
from polyculture.llm.scripted import ScriptedLLM
from polyculture.pool import Pool
from polyculture.quality.columns import with_columns
from polyculture.select.components import (
    Components,
    choose_by_components,
    correlation,
    fill_by_component,
    fit_components,
    overlap,
)
from polyculture.select.odis import ODiS

pytestmark = pytest.mark.filterwarnings("ignore:component 2 explains less")

NAMES = ("a", "b", "c", "d")


@pytest.fixture
def scores() -> np.ndarray:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(80, 2))
    return np.stack([z[:, 0], z[:, 0], z[:, 0], z[:, 1]], axis=1) + 0.2 * rng.normal(size=(80, 4))


@pytest.fixture
def pool(scores: np.ndarray) -> Pool:
    X = np.concatenate([scores @ np.random.default_rng(1).normal(size=(4, 6)), np.ones((80, 1))], axis=1)
    bare = Pool.from_arrays(X, texts=[f"text {i}" for i in range(80)])
    return with_columns(bare, **dict(zip(NAMES, scores.T, strict=True)), tokens=np.arange(80) % 5 + 1)


def test_components_are_those_of_pca(scores: np.ndarray) -> None:
    found = fit_components(scores, 3)
    Z = (scores - scores.mean(0)) / scores.std(0)
    want = PCA(3, svd_solver="full").fit(Z)
    np.testing.assert_allclose(np.abs(found.loadings), np.abs(want.components_), atol=1e-10)
    np.testing.assert_allclose(found.variance, want.explained_variance_)
    np.testing.assert_allclose(found.share, want.explained_variance_ratio_)
    assert (found.loadings.sum(axis=1) > 0).all()
    T = found.project(scores)
    np.testing.assert_allclose(correlation(T), np.eye(3), atol=1e-10)
    raw = fit_components(scores, 1, standardise=False)
    np.testing.assert_allclose(raw.variance, PCA(1).fit(scores).explained_variance_)


def test_how_many_components(scores: np.ndarray) -> None:
    assert len(fit_components(scores).variance) == 2
    assert len(fit_components(scores, enough=1.0, most=3).variance) == 3
    wide = np.random.default_rng(0).normal(size=(50, 9))
    assert len(fit_components(wide).variance) == 4


def test_a_constant_rater_counts_nothing(scores: np.ndarray) -> None:
    found = fit_components(np.column_stack([scores, np.full(80, 7.0)]), 2)
    np.testing.assert_allclose(found.loadings[:, 4], 0, atol=1e-12)
    np.testing.assert_allclose(found.loadings[:, :4], fit_components(scores, 2).loadings, atol=1e-10)
    flat = fit_components(np.full((9, 3), 0.1))
    assert (flat.variance == 0).all() and (flat.project(np.full((9, 3), 0.1)) == 0).all()
    assert correlation(np.zeros((4, 2))).tolist() == [[1, 0], [0, 1]]


def test_loadings_that_cancel_are_oriented_by_the_mean_score() -> None:
    x = np.random.default_rng(0).normal(size=50)
    with pytest.warns(UserWarning, match="cancel"):
        found = fit_components(np.stack([2 * x, -x], axis=1), 1)
    T = found.project(np.stack([2 * x, -x], axis=1))[:, 0]
    assert np.corrcoef(T, x)[0, 1] > 0.99


def test_bad_scores(scores: np.ndarray) -> None:
    with pytest.raises(BadInput, match="more rows than raters"):
        fit_components(scores[:4])
    scores[3, 1] = np.nan
    with pytest.raises(BadInput, match="row 4 are NaN"):
        fit_components(scores)
    with pytest.raises(BadInput, match="between 1 and the 4 raters"):
        fit_components(np.ones((9, 4)), 5)
    with pytest.raises(BadInput, match="components of 4 raters"):
        fit_components(np.eye(9)[:, :4]).project(np.ones((2, 3)))


def test_filling_by_hand() -> None:
    T = np.array([[4.0, 3], [3, 4], [2, 1], [1, 2]])
    assert [rows.tolist() for rows in fill_by_component(T, [2, 2])] == [[0, 1], [3, 2]]
    assert [rows.tolist() for rows in fill_by_component(T, [2, 2], round_robin=True)] == [[0, 2], [1, 3]]
    # Tokens: a component stops once it has its share, and may overshoot by its last row.
    assert [rows.tolist() for rows in fill_by_component(T, [3, 3], [2, 2, 9, 9])] == [[0, 1], [3]]
    assert [rows.tolist() for rows in fill_by_component(T, [9, 9])] == [[0, 1, 2, 3], []]
    kept = fill_by_component(T, [2, 2], admissible=[True, False, True, True])
    assert [rows.tolist() for rows in kept] == [[0, 2], [3]]
    assert overlap(T, 2).tolist() == [[1, 1], [1, 1]] and overlap(T, 1).tolist() == [[1, 0], [0, 1]]
    with pytest.raises(BadInput, match="counts of 0 or more"):
        fill_by_component(T, [1, 1], [1, 1, -1, 1])


def test_a_budget_above_the_pool_gives_everything_once(scores: np.ndarray) -> None:
    found = choose_by_components(scores, 500, n_components=2)
    assert sorted(np.concatenate(found.rows)) == list(range(80))


def test_columns(pool: Pool, scores: np.ndarray) -> None:
    selector = ODiS(raters="a, b, c, d")
    rows = selector.select(pool, 10, rng=0)
    want = choose_by_components(scores, 10)
    np.testing.assert_array_equal(rows, np.concatenate(want.rows))
    assert selector.owner_.tolist() == [0] * 5 + [1] * 5 and selector.scorers_ == ()
    assert (
        ODiS(raters="a,b,c,d", n_components=1).select(pool, 3).tolist()
        == np.argsort(-fit_components(scores, 1).project(scores)[:, 0])[:3].tolist()
    )
    odd = ODiS(raters="a,b,c,d").select(pool, 7)
    assert len(odd) == 7


def test_shares_quantiles_and_tokens(pool: Pool) -> None:
    by_variance = ODiS(raters="a,b,c,d", share="variance")
    assert len(by_variance.select(pool, 12)) == 12
    assert (by_variance.owner_ == 0).sum() > (by_variance.owner_ == 1).sum() > 0
    joint = ODiS(raters="a,b,c,d", joint_min=0.9)
    rows = joint.select(pool, 30)
    assert len(rows) == 8 and set(rows) == set(np.argsort(-joint.projected_.mean(axis=1))[:8])
    with_tokens = ODiS(raters="a,b,c,d", tokens="tokens", token_budget=40)
    rows = with_tokens.select(pool, 80)
    assert 40 <= (rows % 5 + 1).sum() <= 50
    with pytest.raises(BadInput, match="more than k = 3"):
        with_tokens.select(pool, 3)
    with pytest.raises(BadInput, match="--tokens"):
        ODiS(raters="a,b,c,d", token_budget=40).select(pool, 80)
    with pytest.raises(BadInput, match="quantile"):
        ODiS(raters="a,b,c,d", joint_min=2).select(pool, 3)
    with pytest.raises(UnknownMethod, match="equal"):
        ODiS(raters="a,b,c,d", share="even").select(pool, 3)  # type: ignore[arg-type]


def test_some_rows_annotated(pool: Pool, scores: np.ndarray) -> None:
    known = [value if i % 2 else None for i, value in enumerate(scores[:, 0].tolist())]
    partly = with_columns(pool, a=known)
    selector = ODiS(raters="a,b,c,d")
    rows = selector.select(partly, 10, rng=0)
    assert len(selector.scorers_) == 2 and all(s.r2 > 0.9 and s.spearman > 0.9 for s in selector.scorers_)
    assert len(set(rows) & set(ODiS(raters="a,b,c,d").select(pool, 10))) >= 6
    with pytest.raises(BadInput, match="needs embeddings"):
        selector.select(partly.with_(embeddings=None), 10)
    few = with_columns(pool, a=[None] * 70 + scores[70:, 0].tolist())
    with pytest.raises(BadInput, match="10 of 80 rows are annotated"):
        selector.select(few, 10)
    forest = ODiS(raters="a,b,c,d", regressor="python:sklearn.linear_model:LinearRegression")
    assert len(forest.select(partly, 10, rng=0)) == 10
    with pytest.raises(BadInput, match="should be a number"):
        selector.select(with_columns(pool, a=["high"] * 80), 10)


def test_saved_loadings_are_not_refitted(pool: Pool, tmp_path: Path) -> None:
    first = ODiS(raters="a,b,c,d")
    first.select(pool, 10)
    first.components_.save(tmp_path / "axes.json")
    again = ODiS(raters="a,b,c,d", loadings=str(tmp_path / "axes.json"))
    again.select(pool.take(np.arange(20)), 4)
    np.testing.assert_array_equal(again.components_.loadings, first.components_.loadings)
    with pytest.raises(BadInput, match="can't be read as saved components"):
        Components.load(tmp_path / "none.json")


def test_a_judge_and_the_rules(pool: Pool) -> None:
    judge = ScriptedLLM(lambda prompt, i, rng: str(rng.randint(0, 10)))
    selector = ODiS(raters="judge", judge=judge, axes=("fluency", "humour=how funny it is"), annotate=40)
    assert len(selector.select(pool, 10, rng=0)) == 10
    assert judge.n_completions == 80 and len(selector.scorers_) == selector.projected_.shape[1]
    with pytest.raises(BadInput, match="--judge"):
        ODiS(raters="judge").select(pool, 10)
    texts = [("Plant oats and clover. " * (i % 9 + 1) + "!?" * (i % 4)) + str(i) * (i % 6) for i in range(80)]
    assert len(ODiS().select(Pool.from_arrays(texts=texts), 10)) == 10
    with pytest.raises(BadInput, match="needs texts"):
        ODiS().select(Pool.from_arrays(np.ones((9, 2))), 3)


def test_noise_components_are_told() -> None:
    pool = Pool.from_arrays(np.random.default_rng(0).normal(size=(50, 5)))
    with pytest.warns(UserWarning, match="explains less of the variance than one rater"):
        ODiS(raters="embeddings", n_components=5).select(pool, 10)


def test_equal_documents_are_taken_in_order(scores: np.ndarray) -> None:
    twice = np.concatenate([scores, scores])
    found = choose_by_components(twice, 40, n_components=1)
    first = found.rows[0]
    assert (first[1::2] == first[::2] + 80).all()
