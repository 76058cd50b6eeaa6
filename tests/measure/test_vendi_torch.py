from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from polyculture.errors import BadInput, UnknownMethod
from polyculture.measure import vendi as exact
from polyculture.measure import vendi_torch
from polyculture.measure.vendi_sampling import VendiSampling
from polyculture.space.kernels import rbf_kernel

ORDERS = (0, 0.1, 0.5, 1, 2, "inf")


def rows(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kernel", ["cosine", "rbf"])
@pytest.mark.parametrize("shape", [(30, 5), (6, 9)])
def test_values_agree_with_numpy(kernel: str, shape: tuple[int, int]) -> None:
    X = rows(*shape)
    got = vendi_torch.vendi_scores(X, ORDERS, kernel=kernel)
    assert {q: float(v) for q, v in got.items()} == pytest.approx(exact.vendi_scores(X.numpy(), ORDERS, kernel=kernel))


@pytest.mark.parametrize("kernel", ["cosine", "rbf"])
@pytest.mark.parametrize("shape", [(8, 3), (4, 6)])
@pytest.mark.parametrize("q", [0.5, 1, 2, "inf"])
def test_gradients_reach_the_embeddings(kernel: str, shape: tuple[int, int], q: float | str) -> None:
    X = rows(*shape).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: vendi_torch.vendi_score(x, q, kernel=kernel, gamma=0.3), (X,))


@pytest.mark.parametrize("q", [0.5, 1, 2, "inf"])
def test_the_kernel_gradient_is_the_analytic_one(q: float | str) -> None:
    X = rows(5, 3).numpy()
    p = np.array([0.1, 0.2, 0.3, 0.4, 0.0])
    kernel = torch.tensor(rbf_kernel(X, 0.2), requires_grad=True)
    vendi_torch.vendi_score_kernel(kernel, q, p=torch.tensor(p)).backward()
    assert kernel.grad is not None
    assert kernel.grad.numpy() == pytest.approx(exact.vendi_gradient(kernel.detach().numpy(), q, p=p).gradient)


@pytest.mark.parametrize("q", ORDERS)
def test_repeated_eigenvalues_and_duplicates_give_finite_gradients(q: float | str) -> None:
    for X in (torch.eye(4, dtype=torch.float64), rows(3, 2).repeat(3, 1), torch.ones(4, 3, dtype=torch.float64)):
        for kernel in ("cosine", "rbf"):
            leaf = X.clone().requires_grad_(True)
            vendi_torch.vendi_score(leaf, q, kernel=kernel).backward()
            assert leaf.grad is not None and torch.isfinite(leaf.grad).all()
    assert vendi_torch.is_subgradient(vendi_torch.eigenvalues(torch.eye(4)), q) == (q == "inf")
    assert not vendi_torch.is_subgradient(vendi_torch.eigenvalues(rows(5, 3)), q)


def test_types_follow_the_input_and_zero_rows_do_no_harm() -> None:
    X = torch.cat([rows(5, 3).float(), torch.zeros(1, 3)]).requires_grad_(True)
    score = vendi_torch.vendi_score(X)
    assert score.dtype == torch.float32
    score.backward()
    assert X.grad is not None and torch.isfinite(X.grad).all()
    assert float(vendi_torch.vendi_of_eigenvalues(torch.zeros(3))) == 1.0


def test_ascending_the_score_spreads_the_items() -> None:
    X = (torch.ones(8, 4, dtype=torch.float64) + 0.1 * rows(8, 4)).requires_grad_(True)
    optimizer = torch.optim.SGD([X], lr=0.5)
    before = vendi_torch.vendi_score(X, 0.5).item()
    for _ in range(50):
        optimizer.zero_grad()
        (-torch.log(vendi_torch.vendi_score(X, 0.5))).backward()
        optimizer.step()
    assert vendi_torch.vendi_score(X, 0.5).item() > before + 1


def test_bad_input() -> None:
    with pytest.raises(BadInput, match="at least one"):
        vendi_torch.vendi_score(torch.zeros(0, 2))
    with pytest.raises(BadInput, match="NaN"):
        vendi_torch.vendi_score(torch.full((2, 2), math.nan))
    with pytest.raises(UnknownMethod, match="rbf"):
        vendi_torch.vendi_score(torch.eye(2), kernel="rbff")
    with pytest.raises(BadInput, match="length 1"):
        vendi_torch.vendi_score(2 * torch.eye(2), kernel="linear")
    with pytest.raises(BadInput, match="weights"):
        vendi_torch.vendi_score(torch.eye(2), p=torch.tensor([0.5, 0.2]))
    with pytest.raises(BadInput, match="\\(n, n\\)"):
        vendi_torch.vendi_score_kernel(torch.ones(2, 3))
    with pytest.raises(BadInput, match="gamma"):
        vendi_torch.vendi_score(torch.eye(2), kernel="rbf", gamma=-1.0)


def double_well(x: torch.Tensor) -> torch.Tensor:
    return 4 * (x[:, 0] ** 2 - 1) ** 2


def test_vendi_sampling_crosses_a_barrier_that_langevin_does_not() -> None:
    start = torch.full((16, 1), -1.0, dtype=torch.float64)
    crossed = {}
    for nu in (0.0, 100.0):
        sampler = VendiSampling(double_well, nu=nu, anneal=400, eta=5e-3, kT=0.3, gamma=1.0)
        end = sampler.run(start, 600, every=600, generator=torch.Generator().manual_seed(0))[-1]
        crossed[nu] = float((end > 0).double().mean())
    assert crossed[0.0] < 0.1 < 0.25 < crossed[100.0]


def test_vendi_sampling_anneals_and_repeats_under_a_seed() -> None:
    sampler = VendiSampling(double_well, nu=2.0, anneal=10)
    assert [sampler.strength(s) for s in (0, 5, 10, 50)] == [2.0, 1.0, 0.0, 0.0]
    assert VendiSampling(double_well, nu=2.0).strength(999) == 2.0
    start = rows(4, 1)
    runs = [sampler.run(start, 5, generator=torch.Generator().manual_seed(1)) for _ in range(2)]
    assert torch.equal(*runs) and runs[0].shape == (5, 4, 1)
    with pytest.raises(BadInput, match="eta"):
        VendiSampling(double_well, eta=0.0)
    with pytest.raises(BadInput, match="lower eta"):
        VendiSampling(double_well, eta=1.0).run(10 * start, 50, generator=torch.Generator().manual_seed(1))
    with pytest.raises(BadInput, match="n_steps"):
        sampler.run(start, 0)
