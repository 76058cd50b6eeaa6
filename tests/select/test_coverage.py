from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from polyculture.errors import BadInput
from polyculture.pool import Pool
from polyculture.select.facility_location import FacilityLocation, facility_location, nearest_similarities
from polyculture.select.qdit import QDIT


def plain_greedy(S: np.ndarray, k: int, own: np.ndarray, scale: float = 1.0, floor: float = 0.0) -> list[int]:
    chosen: list[int] = []
    covered = np.full(len(S), floor)
    for _ in range(k):
        totals = scale * np.maximum(S - covered[:, None], 0).sum(axis=0) + own
        totals[chosen] = -np.inf
        chosen.append(int(totals.argmax()))
        covered = np.maximum(covered, S[:, chosen[-1]])
    return chosen


@pytest.fixture
def S() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(70, 70))


@pytest.mark.parametrize("symmetric", [True, False])
def test_lazy_is_greedy(S: np.ndarray, symmetric: bool) -> None:
    S = (S + S.T) / 2 if symmetric else S
    own = np.random.default_rng(2).random(70)
    rows, gains = facility_location(S, 20, modular=own)
    assert rows.tolist() == plain_greedy(S, 20, own)
    value = np.maximum(S[:, rows].max(axis=1), 0).sum() + own[rows].sum()
    assert gains.sum() == pytest.approx(value)
    assert facility_location(S, 20, floor=-1.0)[0].tolist() == plain_greedy(S, 20, np.zeros(70), floor=-1.0)
    assert facility_location(csr_matrix(S), 20, modular=own)[0].tolist() == rows.tolist()
    float32 = facility_location(S.astype(np.float32), 20, modular=own)[0]
    assert float32.tolist() == rows.tolist()


def test_ties_go_to_the_first_row_and_the_rest_is_filled() -> None:
    S = np.kron(np.eye(3), np.ones((4, 4)))
    assert facility_location(S, 5)[0].tolist() == [0, 4, 8, 1, 2]
    own = np.zeros(12)
    own[7] = 0.5
    assert facility_location(S, 4, modular=own)[0].tolist() == [7, 0, 8, 1]
    assert facility_location(np.zeros((4, 4)), 3)[0].tolist() == [0, 1, 2]


def test_refuses() -> None:
    with pytest.raises(BadInput, match="square"):
        facility_location(np.zeros((3, 4)), 1)
    with pytest.raises(BadInput, match="between 1 and the 3"):
        facility_location(np.eye(3), 4)
    with pytest.raises(BadInput, match="floor"):
        facility_location(csr_matrix(np.eye(3)), 1, floor=-1.0)
    pool = Pool.from_arrays(np.eye(3))
    with pytest.raises(BadInput, match="sample"):
        FacilityLocation(sample=2.0).select(pool, 1)
    with pytest.raises(BadInput, match="neighbors"):
        FacilityLocation(neighbors=-1).select(pool, 1)


def test_sparse_with_all_neighbours_is_dense() -> None:
    X = np.random.default_rng(3).normal(size=(80, 5))
    pool = Pool.from_arrays(X)
    dense = FacilityLocation().select(pool, 15)
    assert FacilityLocation(neighbors=80).select(pool, 15).tolist() == dense.tolist()
    gamma = FacilityLocation(similarity="rbf", gamma=0.3).select(pool, 15)
    assert FacilityLocation(similarity="rbf", gamma=0.3, neighbors=80).select(pool, 15).tolist() == gamma.tolist()
    assert nearest_similarities(X, 1).totals(0.0).tolist() == [1.0] * 80


def test_recomputed_similarities_are_the_stored_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool.from_arrays(np.random.default_rng(3).normal(size=(80, 5)))
    dense = FacilityLocation().select(pool, 15)
    monkeypatch.setattr("polyculture.select.facility_location.STORED", 10)
    assert FacilityLocation(neighbors=0).select(pool, 15).tolist() == dense.tolist()


def test_sampling_comes_close() -> None:
    X = np.random.default_rng(4).normal(size=(400, 4))
    U = X / np.linalg.norm(X, axis=1, keepdims=True)
    S = np.maximum(U @ U.T, 0)
    pool = Pool.from_arrays(X)
    full = S[:, FacilityLocation().select(pool, 20)].max(axis=1).sum()
    sampled = S[:, FacilityLocation(sample=0.05).select(pool, 20, rng=0)].max(axis=1).sum()
    assert 0.95 * full <= sampled <= full * 1.01


def test_qdit_against_its_formula() -> None:
    rng = np.random.default_rng(5)
    X, q = rng.normal(size=(40, 3)), rng.random(40)
    U = X / np.linalg.norm(X, axis=1, keepdims=True)
    for alpha in (0.0, 0.4, 0.9):
        expected = plain_greedy(U @ U.T, 8, alpha * q, 1 - alpha, -1.0)
        assert QDIT(alpha).select(Pool.from_arrays(X, quality=q), 8).tolist() == expected
    assert QDIT(1.0).select(Pool.from_arrays(X, quality=q), 3).tolist() == np.argsort(-q)[:3].tolist()
    with pytest.raises(BadInput, match="alpha"):
        QDIT(1.5).select(Pool.from_arrays(X, quality=q), 3)
