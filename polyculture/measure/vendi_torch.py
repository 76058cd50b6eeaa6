"""Vendi scores of every order as torch functions, to be maximised or put into a loss.

The gradient of an eigenvalue of a symmetric matrix is v v^T, so that no difference of eigenvalues is divided by and
repeated eigenvalues do no harm; eigenvalues that count as 0 are constants (their gradient is unbounded for q < 1).

Pasarkar & Dieng, Cousins of the Vendi Score (2023), on differentiability.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any, TypeVar

import torch

from polyculture.errors import BadInput, unknown
from polyculture.measure.vendi import NEAR_ONE, order

Q = TypeVar("Q", bound=Hashable)


def vendi_score(
    X: torch.Tensor,
    q: float | str = 1.0,
    *,
    kernel: str = "cosine",
    gamma: float | None = None,
    p: torch.Tensor | None = None,
    eig_tol: float | None = None,
) -> torch.Tensor:
    """The Vendi score of embeddings, differentiable in X.

    Args:
        X: (n, d) embeddings of any float type, on any device; the spectrum is taken in float64 where the device has it.
        q: the order, from 0 to inf; the gradient of order 0 is 0.
        kernel: cosine, rbf, or linear (rows of length 1).
        gamma: of rbf; None is 1 / median squared distance, taken as a constant.
        p: (n,) weights, which sum to 1; None weighs all alike.
        eig_tol: share of the largest eigenvalue below which one counts as 0; None is 1e-10 for q < 1, else 1e-12.

    Returns:
        The score, a scalar of X's type.

    Raises:
        BadInput: no items, NaN, a negative order, or weights that don't fit.
        UnknownMethod: no kernel of that name.

    Paper: Cousins of the Vendi Score (2023).
    """
    return vendi_scores(X, (q,), kernel=kernel, gamma=gamma, p=p, eig_tol=eig_tol)[q]


def vendi_scores(
    X: torch.Tensor,
    orders: Sequence[Q],
    *,
    kernel: str = "cosine",
    gamma: float | None = None,
    p: torch.Tensor | None = None,
    eig_tol: float | None = None,
) -> dict[Q, torch.Tensor]:
    """Scores of several orders from one spectrum, keyed as given; arguments as for :func:`vendi_score`."""
    if X.ndim != 2 or len(X) == 0:
        raise BadInput(f"X should be (n, d), one item a row, with at least one; it has shape {tuple(X.shape)}")
    if kernel not in ("cosine", "linear", "rbf"):
        raise unknown("differentiable kernel", kernel, ("cosine", "linear", "rbf"))
    Z = _double(X)
    if kernel == "rbf":
        lam = _eigenvalues(_rbf(Z, gamma), p)
    else:
        Z = torch.nn.functional.normalize(Z, dim=1, eps=1e-30) if kernel == "cosine" else Z
        if ((Z * Z).sum(1) - 1).detach().abs().max() > 1e-3 and kernel == "linear":
            raise BadInput("rows are not of length 1, so the score has no meaning; use kernel='cosine'")
        if len(Z) > Z.shape[1]:
            weighted = Z * _roots(p, Z)[:, None]
            lam = _finite_eigenvalues(weighted.T @ weighted)
        else:
            lam = _eigenvalues(Z @ Z.T, p)
    return {q: vendi_of_eigenvalues(lam, q, eig_tol=eig_tol).to(X.dtype) for q in orders}


def vendi_score_kernel(
    K: torch.Tensor, q: float | str = 1.0, *, p: torch.Tensor | None = None, eig_tol: float | None = None
) -> torch.Tensor:
    """The Vendi score of an (n, n) kernel with diagonal 1, differentiable in K.

    The gradient is that of the symmetric part of K, equal to ``vendi_gradient(K, q).gradient``.

    Args:
        K: (n, n) symmetric positive semi-definite similarities.
        q: the order, from 0 to inf.
        p: (n,) weights, which sum to 1; None weighs all alike.
        eig_tol: share of the largest eigenvalue below which one counts as 0; None is 1e-10 for q < 1, else 1e-12.

    Raises:
        BadInput: no items, not square, NaN, or a negative order.

    Paper: Cousins of the Vendi Score (2023).
    """
    if K.ndim != 2 or K.shape[0] != K.shape[1] or len(K) == 0:
        raise BadInput(f"K should be (n, n) similarities of at least one item; it has shape {tuple(K.shape)}")
    double = _double(K)
    return vendi_of_eigenvalues(_eigenvalues((double + double.T) / 2, p), q, eig_tol=eig_tol).to(K.dtype)


def vendi_of_eigenvalues(lam: torch.Tensor, q: Any = 1.0, *, eig_tol: float | None = None) -> torch.Tensor:
    """The score of a spectrum, differentiable in the eigenvalues that count.

    A repeated largest eigenvalue at order inf shares its gradient equally, a sub-gradient: see :func:`is_subgradient`.
    """
    value = order(q)
    tolerance = (1e-10 if value < 1 else 1e-12) if eig_tol is None else eig_tol
    lam = lam[lam.detach() > max(0.0, tolerance * float(lam.detach().max()))]
    if lam.numel() == 0:
        return lam.sum() + 1.0
    if value == 0:
        return lam.sum() * 0.0 + lam.numel()
    if math.isinf(value):
        return 1 / lam[_largest(lam)].mean()
    logs = torch.log(lam)
    if abs(1 - value) < NEAR_ONE:
        return torch.exp(-(lam * logs).sum())
    return torch.exp(torch.logsumexp(value * logs, 0) / (1 - value))


def is_subgradient(lam: torch.Tensor, q: float | str = 1.0) -> bool:
    """Whether the score of this spectrum has only sub-gradients: order inf, and the largest eigenvalue is repeated."""
    return math.isinf(order(q)) and int(_largest(lam.detach()).sum()) > 1


def eigenvalues(X: torch.Tensor) -> torch.Tensor:
    """The spectrum of the cosine kernel of (n, d) embeddings over n, min(n, d) values, differentiable in X."""
    Z = torch.nn.functional.normalize(_double(X), dim=1, eps=1e-30) / len(X) ** 0.5
    return _finite_eigenvalues(Z.T @ Z if len(Z) > Z.shape[1] else Z @ Z.T)


def _largest(lam: torch.Tensor) -> torch.Tensor:
    return lam >= lam.detach().max() * (1 - 1e-9)


def _rbf(Z: torch.Tensor, gamma: float | None) -> torch.Tensor:
    # Not cdist: its gradient at distance 0 is not a number.
    squares = (Z * Z).sum(1)
    distances = (squares[:, None] + squares[None, :] - 2 * Z @ Z.T).clamp_min(0.0)
    # The diagonal is 0 whatever Z: as a constant it keeps round-off out of the gradient.
    distances = distances * (1 - torch.eye(len(Z), dtype=Z.dtype, device=Z.device))
    if gamma is None:
        from polyculture.space.kernels import median_gamma

        gamma = median_gamma(Z.detach().cpu().numpy())
    if not gamma > 0:
        raise BadInput(f"gamma should be a positive number, not {gamma}")
    return torch.exp(-gamma * distances)


def _roots(p: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
    if p is None:
        return like.new_full((len(like),), len(like) ** -0.5)
    if p.shape != (len(like),) or bool((p < 0).any()) or abs(float(p.sum()) - 1) > 1e-6:
        raise BadInput(f"p should hold {len(like)} weights, none negative, that sum to 1")
    # A weight of 0 has a root without a gradient; its item is absent.
    return torch.where(p > 0, p, torch.ones_like(p)).sqrt().to(like.dtype) * (p > 0)


def _eigenvalues(K: torch.Tensor, p: torch.Tensor | None) -> torch.Tensor:
    roots = _roots(p, K)
    return _finite_eigenvalues(K * roots[:, None] * roots[None, :])


def _finite_eigenvalues(A: torch.Tensor) -> torch.Tensor:
    if not bool(torch.isfinite(A.detach()).all()):
        raise BadInput("the similarities are NaN or infinite; check the embeddings")
    return torch.linalg.eigvalsh(A)


def _double(X: torch.Tensor) -> torch.Tensor:
    return X if X.device.type == "mps" else X.double()
