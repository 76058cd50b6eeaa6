from __future__ import annotations

import numpy as np
import pytest

from polyculture.errors import BadInput, UnknownMethod
from polyculture.measure.knn_entropy import log_knn_distance
from polyculture.methods import build
from polyculture.pool import Pool
from polyculture.quality.columns import with_columns
from polyculture.select.fifa import FiFA, importance


@pytest.fixture
def pool() -> Pool:
    rng = np.random.default_rng(0)
    return Pool.from_arrays(rng.normal(size=(40, 5)), quality=rng.normal(size=40), source="pairs.jsonl")


def test_importance_by_hand() -> None:
    found = importance([0.0, 1.0, 2.0], [10.0, 0.0, 5.0], [-1.0, -1.0, 3.0], alpha=2.0, gamma=0.5)
    np.testing.assert_allclose(found.score, [2.0, 0.5, 2.5])
    assert found.top(5).tolist() == [2, 0, 1]
    assert importance([1.0, 1.0], [0.0, 0.0], [2.0, 2.0]).score.tolist() == [0.0, 0.0]


def test_ties_go_to_the_first_row() -> None:
    assert importance([1.0, 2.0, 2.0, 1.0], np.zeros(4), np.zeros(4)).top(3).tolist() == [1, 2, 0]


def test_without_other_weights_it_is_the_margin(pool: Pool) -> None:
    chosen = FiFA(alpha=0.0, gamma=0.0).select(pool.with_(embeddings=None), 10)
    assert chosen.tolist() == np.argsort(-pool.q)[:10].tolist()
    absolute = FiFA(gamma=0.0, absolute=True).select(pool, 10)
    assert absolute.tolist() == np.argsort(-np.abs(pool.q))[:10].tolist()


def test_isolated_prompts_come_first_where_only_they_count(pool: Pool) -> None:
    flat = pool.with_(quality=np.ones(40))
    chosen = FiFA(gamma=1.0, normalize=False).select(flat, 8)
    assert chosen.tolist() == np.argsort(-log_knn_distance(pool.X, 5), kind="stable")[:8].tolist()
    found = FiFA(normalize=False).importance(flat)
    apart = found.summary(chosen, pool.X)
    assert apart["entropy"] > found.summary(np.argsort(found.isolation)[:8], pool.X)["entropy"]
    assert apart["margin"] == 1.0


def test_columns_of_margins_rewards_and_ratings(pool: Pool) -> None:
    rewards = np.random.default_rng(1).normal(size=(40, 2))
    held = with_columns(
        pool.with_(quality=None),
        chosen=rewards[:, 0],
        rejected=rewards[:, 1],
        margin=rewards[:, 0] - rewards[:, 1],
        judge=np.arange(40),
    )
    one = build("select", "fifa", margin="margin", text_quality="judge").importance(held)
    two = build("select", "fifa", margin="chosen, rejected", text_quality="judge").importance(held)
    np.testing.assert_allclose(one.score, two.score)
    assert one.text_quality.tolist() == list(range(40))
    alone = FiFA(margin=("margin",), gamma=0.0)
    assert alone.required() == ()
    assert FiFA().required() == ("embeddings", "quality")


def test_pairs_without_a_margin_are_left_out(pool: Pool) -> None:
    margins = pool.q.copy()
    margins[[3, 7]] = np.nan
    held = with_columns(pool, margin=[None if i == 11 else float(m) for i, m in enumerate(margins)])
    with pytest.warns(UserWarning, match="3 of 40 pairs have no margin"):
        chosen = FiFA(margin=("margin",)).select(held, 40)
    assert len(chosen) == 37 and not {3, 7, 11} & set(chosen.tolist())
    with pytest.raises(BadInput, match="no pair has a margin"), pytest.warns(UserWarning):
        FiFA(margin=("margin",)).select(with_columns(pool, margin=[None] * 40), 3)


def test_copies_of_prompts_squeeze_the_others_unless_ranked(pool: Pool) -> None:
    copied = pool.take(np.concatenate([np.arange(40), np.full(8, 2)]))
    with pytest.warns(UserWarning, match="exact copies"):
        plain = FiFA(alpha=0, neighbors=3).importance(copied)
    ranked = FiFA(alpha=0, neighbors=3, scale="rank").importance(copied)
    spread = [np.ptp((found.score - scaled)[:40][np.arange(40) != 2]) for found, scaled in (
        (plain, _unit(copied.q)), (ranked, np.searchsorted(np.sort(copied.q), copied.q) / 47))]  # fmt: skip
    assert spread[0] < 0.15 and spread[1] > 0.35
    apart = np.concatenate([[-18.0], np.linspace(0, 1, 199)])
    clipped = importance(np.zeros(200), np.zeros(200), apart, scale="clipped").score
    assert clipped[:3] == pytest.approx([0.0, 0.0, 0.0], abs=0.01) and clipped[-1] == 0.5


def test_neighbours_through_an_inverted_file(pool: Pool) -> None:
    exact, close = (FiFA(approximate=flag).importance(pool).isolation for flag in (False, True))
    np.testing.assert_allclose(exact, close, atol=1e-5)  # below 20 000 rows both are exact


def _unit(values: np.ndarray) -> np.ndarray:
    return (values - values.min()) / np.ptp(values)


def test_refuses(pool: Pool) -> None:
    with pytest.raises(BadInput, match="weights"):
        FiFA(alpha=-1).select(pool, 2)
    with pytest.raises(BadInput, match="1 or more"):
        FiFA(neighbors=0).select(pool, 2)
    with pytest.raises(BadInput, match="two of rewards"):
        FiFA(margin=("a", "b", "c")).select(pool, 2)
    with pytest.raises(UnknownMethod, match="scale"):
        FiFA(scale="log").select(pool, 2)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="has no columns"):
        FiFA(margin=("margin",)).select(pool, 2)
    with pytest.raises(BadInput, match="one number a pair"):
        importance([1.0], [1.0, 2.0], [0.0, 0.0])
    with pytest.raises(BadInput, match="NaN or infinite"):
        importance([1.0, 2.0], [1.0, np.nan], [0.0, 0.0])
