"""Group influence: how much weighing a group of data up would raise the loss on a validation set.

TiKMiX (2025), arXiv 2508.17677, Eq. 8: I_f(G) = -grad f(theta)^T H^-1 sum_{z in G} grad L(z, theta). Positive is bad
for a loss f; the benefit of a group is the negative influence of its MEAN gradient, so that size alone does not win.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from polyculture.errors import BadInput
from polyculture.mix.benefits import Benefits
from polyculture.progress import Progress, silent

if TYPE_CHECKING:
    import torch

    from polyculture.space.gradients import Loss, Projection

Solve = Callable[[np.ndarray], np.ndarray]
"""(p, r) right-hand sides -> (p, r) solutions of H x = b."""


def group_influence(validation: Any, groups: Any, solve: Solve) -> np.ndarray:
    """Eq. 8 from gradients and a way to solve with the Hessian.

    Args:
        validation: (n, p) gradients of the validation losses.
        groups: (m, p) gradients of the groups, sums or means.
        solve: the inverse Hessian applied to columns.

    Returns:
        (n, m) influences: positive where more of the group raises the loss.
    """
    V, G = np.asarray(validation, dtype=np.float64), np.asarray(groups, dtype=np.float64)
    # One system for each of the smaller set; H is symmetric.
    if len(V) <= len(G):
        return -(solve(V.T).T @ G.T)
    return -(V @ solve(G.T))


def dense_solver(H: Any, damping: float = 0.0) -> Solve:
    """Solve with H + damping I, exactly.

    Raises:
        BadInput: the damped Hessian is singular.
    """
    held = np.asarray(H, dtype=np.float64)
    damped = held + damping * np.eye(len(held))

    def solve(b: np.ndarray) -> np.ndarray:
        try:
            return np.linalg.solve(damped, b)
        except np.linalg.LinAlgError as error:
            raise BadInput(f"the Hessian is singular at damping {damping:g}; use more damping, such as 1e-2") from error

    return solve


def product_solver(product: Solve, damping: float = 1e-2, *, tol: float = 1e-8, max_iter: int = 200) -> Solve:
    """Solve with H + damping I by conjugate gradients, from Hessian-vector products alone.

    Args:
        product: (p, 1) -> (p, 1), H times a vector.
        damping: added to the diagonal; in mid-training H need not be positive definite without it.
        tol: of the relative residual.
        max_iter: products for each right-hand side at most.
    """

    def solve(b: np.ndarray) -> np.ndarray:
        from scipy.sparse.linalg import LinearOperator, cg

        p = len(b)
        A = LinearOperator((p, p), matvec=lambda v: product(v.reshape(p, 1)).reshape(p) + damping * v.reshape(p))
        return np.column_stack([cg(A, column, rtol=tol, maxiter=max_iter)[0] for column in b.T])

    return solve


@dataclass(frozen=True)
class LogisticInfluence:
    """A logistic regression and the influence of its training groups.

    Args:
        theta: (d,) weights.
        influence: (n, m) of m groups on n validation losses.
    """

    theta: np.ndarray
    influence: np.ndarray


def logistic_influence(
    X: Any, y: Any, group: Any, validation: Iterable[tuple[Any, Any]], penalty: float
) -> LogisticInfluence:
    """Exact group influence for logistic regression without intercept, at its optimum.

    theta minimises mean log-loss + penalty/2 |theta|^2 and H is the Hessian of that; a group's gradient is the sum over
    its rows, so an absent group has influence 0.

    Args:
        X: (N, d) rows.
        y: (N,) labels 0 or 1.
        group: (N,) codes 0..m-1.
        validation: pairs (X, y), one a task.
        penalty: ridge penalty, above 0.

    Raises:
        BadInput: the penalty is not positive.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    rows, labels, codes = np.asarray(X, dtype=np.float64), np.asarray(y, dtype=np.float64), np.asarray(group)
    n, d = rows.shape
    if penalty <= 0:
        raise BadInput(f"penalty = {penalty}: without one the optimum may lie at infinity")

    def value(theta: np.ndarray) -> float:
        margin = rows @ theta
        return float(np.mean(np.logaddexp(0, margin) - labels * margin) + penalty / 2 * theta @ theta)

    def slope(theta: np.ndarray) -> np.ndarray:
        return rows.T @ (expit(rows @ theta) - labels) / n + penalty * theta

    def hessian(theta: np.ndarray) -> np.ndarray:
        p = expit(rows @ theta)
        return (rows * (p * (1 - p))[:, None]).T @ rows / n + penalty * np.eye(d)

    found = minimize(value, np.zeros(d), jac=slope, hess=hessian, method="trust-exact", options={"gtol": 1e-8})
    theta = found.x
    for _ in range(4):  # Newton from nearby doubles the digits each time
        theta = theta - np.linalg.solve(hessian(theta), slope(theta))
    errors = expit(rows @ theta) - labels
    sums = np.zeros((int(codes.max(initial=-1)) + 1, d))
    np.add.at(sums, codes, errors[:, None] * rows)
    tasks = []
    for X_val, y_val in validation:
        held = np.asarray(X_val, dtype=np.float64)
        tasks.append(held.T @ (expit(held @ theta) - np.asarray(y_val, dtype=np.float64)) / len(held))
    V = np.array(tasks).reshape(-1, d)
    return LogisticInfluence(theta, group_influence(V, sums, dense_solver(hessian(theta))))


@dataclass(frozen=True)
class ModelInfluence:
    """The influence of data on a model's validation losses, as the model was when it was measured.

    Args:
        benefits: of the groups it was measured on, S_ij = -I_i(j).
        directions: (n, dim) H^-1 grad f_i, one a task, in the projected space.
        projection: of the model's gradients.
        model: the model itself.
        loss: as given to :func:`model_influence`.
    """

    benefits: Benefits
    directions: np.ndarray
    projection: Projection
    model: torch.nn.Module
    loss: Loss | None

    def of(self, batches: Iterable[Any]) -> np.ndarray:
        """(n,) benefit of the mean gradient of some data for each task; the model has to be unchanged since."""
        return self.directions @ _mean_gradient("data", self.model, batches, self.projection, self.loss)[0]


def model_influence(
    model: torch.nn.Module,
    groups: Mapping[str, Iterable[Any]],
    validation: Mapping[str, Iterable[Any]],
    *,
    loss: Loss | None = None,
    damping: float = 1.0,
    dim: int = 1024,
    seed: int = 0,
    progress: Progress = silent,
) -> ModelInfluence:
    """The influence of groups on a torch model as it is now, with projected gradients.

    Every batch's gradient is projected to ``dim`` numbers as soon as it is there. The Hessian is the empirical Fisher
    matrix of the batches in that space, every group counting alike, and damped: nothing of the size of
    the model is held but one gradient and its projection, and the solve is dim x dim.

    Args:
        model: any module; its gradients, mode and weights are left as they were.
        groups: name -> batches of training data; use small batches, the Fisher matrix is made of their gradients.
        validation: task -> batches of its validation data.
        loss: (model, batch) -> mean loss; None is ``model(**batch).loss``.
        damping: share of the Fisher matrix's mean eigenvalue above 0 that is added to its diagonal. It is made of few
            gradients and knows nothing of most directions: with much less than 1, data that was not among them seems
            to help or harm without measure.
        dim: of the projection.
        seed: of the projection.
        progress: told of every group and task.

    Raises:
        BadInput: a group or task has no batches, or a gradient is NaN or infinite.
    """
    from polyculture.space.gradients import Projection

    if not groups or not validation:
        raise BadInput("benefits need at least one group and one validation task")
    projection = Projection(model, dim, seed=seed)
    total = len(groups) + len(validation)
    fisher = np.zeros((projection.dim, projection.dim))
    G, V, count = [], [], 0
    for i, (name, batches) in enumerate(groups.items()):
        progress(f"gradients of {name}", i, total)
        squares = np.zeros_like(fisher)
        gradient, n = _mean_gradient(name, model, batches, projection, loss, squares)
        G.append(gradient)
        count += n
        fisher += squares / len(groups)  # every group counts alike, however many batches it has
    for i, (name, batches) in enumerate(validation.items()):
        progress(f"gradients of {name}", len(groups) + i, total)
        V.append(_mean_gradient(name, model, batches, projection, loss)[0])
    size = float(np.trace(fisher)) / min(projection.dim, count)
    directions = dense_solver(fisher, damping * size if size > 0 else 1.0)(np.array(V).T).T
    benefits = Benefits.of(directions @ np.array(G).T, groups=tuple(groups), tasks=tuple(validation))
    return ModelInfluence(benefits, directions, projection, model, loss)


def _mean_gradient(
    name: str,
    model: torch.nn.Module,
    batches: Iterable[Any],
    projection: Projection,
    loss: Loss | None,
    squares: np.ndarray | None = None,
) -> tuple[np.ndarray, int]:
    """(dim,) mean over batches, and how many there are; ``squares`` is filled with the mean of g g'."""
    from polyculture.space.gradients import batch_gradients

    held, n = np.zeros(projection.dim), 0
    for gradient in batch_gradients(model, batches, projection, loss=loss):
        g = gradient.astype(np.float64)
        if not np.isfinite(g).all():
            raise BadInput(f"'{name}': a gradient is NaN or infinite; has training diverged?")
        held += g
        n += 1
        if squares is not None:
            squares += np.outer(g, g)
    if n == 0:
        raise BadInput(f"'{name}' has no batches; leave it out, or give it data")
    if squares is not None:
        squares /= n
    return held / n, n
