"""Group influence: solvers agree, re-training agrees, and a model's benefits tell its own data from noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from polyculture.errors import BadInput
from polyculture.mix.influence import (
    dense_solver,
    group_influence,
    logistic_influence,
    model_influence,
    product_solver,
)


def logistic(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(90, 3))
    y = (X @ [1, -1, 0.5] + rng.logistic(size=90) > 0).astype(float)
    return X, y, np.arange(90) % 3


def test_influence_foretells_what_reweighing_does() -> None:
    X, y, group = logistic()
    penalty, step = 0.1, 1e-4

    def loss_after(weights: np.ndarray) -> float:
        theta = np.zeros(3)
        for _ in range(50):
            p = 1 / (1 + np.exp(-X @ theta))
            slope = X.T @ (weights * (p - y)) / len(y) + penalty * theta
            H = (X * (weights * p * (1 - p))[:, None]).T @ X / len(y) + penalty * np.eye(3)
            theta -= np.linalg.solve(H, slope)
        margin = X[:20] @ theta
        return float(np.mean(np.logaddexp(0, margin) - y[:20] * margin))

    got = logistic_influence(X, y, group, [(X[:20], y[:20])], penalty).influence
    for g in range(3):
        up, down = (np.where(group == g, 1 + s, 1.0) for s in (step, -step))
        # A weight of 1 + s on a group adds s / n times the sum of its gradients to the mean loss.
        change = (loss_after(up) - loss_after(down)) / (2 * step) * len(y)
        assert got[0, g] == pytest.approx(change, rel=1e-3, abs=1e-6)


def test_solvers_agree_whichever_side_is_smaller() -> None:
    rng = np.random.default_rng(0)
    A = rng.normal(size=(8, 8))
    H = A @ A.T + np.eye(8)
    for n, m in ((2, 5), (5, 2)):
        V, G = rng.normal(size=(n, 8)), rng.normal(size=(m, 8))
        exact = -V @ np.linalg.inv(H + 0.1 * np.eye(8)) @ G.T
        np.testing.assert_allclose(group_influence(V, G, dense_solver(H, 0.1)), exact, atol=1e-10)
        by_products = product_solver(lambda v: H @ v, 0.1, tol=1e-12)
        np.testing.assert_allclose(group_influence(V, G, by_products), exact, atol=1e-6)
    with pytest.raises(BadInput, match="singular at damping 0"):
        dense_solver(np.zeros((2, 2)))(np.ones((2, 1)))


def test_absent_and_lonely_groups() -> None:
    X, y, group = logistic()
    group = np.where(group == 1, 0, group)
    group[5] = 3
    got = logistic_influence(X, y, group, [(X, y)], 0.1).influence
    assert got.shape == (1, 4) and got[0, 1] == 0 and np.isfinite(got).all()
    with pytest.raises(BadInput, match="penalty"):
        logistic_influence(X, y, group, [(X, y)], 0.0)


def mean_squares(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return ((model(batch[0]) - batch[1]) ** 2).mean()


def linear_batches(slope: float, n: int, seed: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    xs = [torch.randn(4, 2, generator=generator) for _ in range(n)]
    return [(x, slope * x.sum(dim=1, keepdim=True)) for x in xs]


def test_benefits_of_a_model() -> None:
    torch.manual_seed(0)
    model = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.zero_()
    groups = {"same": linear_batches(1, 20, 0), "opposite": linear_batches(-1, 20, 1), "flat": linear_batches(0, 20, 2)}
    told: list[str] = []
    found = model_influence(
        model, groups, {"task": linear_batches(1, 20, 3)}, loss=mean_squares, progress=lambda w, i, n: told.append(w)
    )
    got = found.benefits
    for j, batches in enumerate(groups.values()):
        assert found.of(batches) == pytest.approx(got.values[:, j])
    same, opposite, flat = got.values[0]
    assert same > 0 > opposite and abs(flat) < 1e-6 and got.groups == tuple(groups)
    assert told[-1] == "gradients of task" and bool((model.weight == 0).all())
    again = model_influence(model, groups, {"task": linear_batches(1, 20, 3)}, loss=mean_squares).benefits
    np.testing.assert_array_equal(got.values, again.values)
    # Benefits are of the mean gradient: the same data twice as often changes nothing.
    doubled = groups | {"same": groups["same"] * 2}
    twice = model_influence(model, doubled, {"task": linear_batches(1, 20, 3)}, loss=mean_squares).benefits
    np.testing.assert_allclose(twice.values, got.values, rtol=1e-5, atol=1e-7)


def test_bad_models_and_groups() -> None:
    model = nn.Linear(2, 1)
    some = linear_batches(1, 2, 0)
    with pytest.raises(BadInput, match="at least one group"):
        model_influence(model, {}, {"t": some}, loss=mean_squares)
    with pytest.raises(BadInput, match="'empty' has no batches"):
        model_influence(model, {"empty": []}, {"t": some}, loss=mean_squares)
    with torch.no_grad():
        model.weight.fill_(float("nan"))
    with pytest.raises(BadInput, match="'g': a gradient is NaN"):
        model_influence(model, {"g": some}, {"t": some}, loss=mean_squares)
