"""An interior-point method for mixtures: a linear benefit, its spread over tasks, and entropy, under lower bounds.

Boyd and Vandenberghe, Convex Optimization (2004), Chapter 11: log barriers, the spread inside a second-order cone.
"""

from __future__ import annotations

import numpy as np

NO_SLACK = 1e-9  # a bound that leaves no more than this anywhere is an equation
LAST = 1e11  # weight of the objective against the barriers at which it ends


def interior_optimum(
    benefits: np.ndarray,
    rows: np.ndarray,
    floor: np.ndarray,
    inside: np.ndarray,
    free: np.ndarray,
    *,
    alpha: float,
    beta: float,
    gamma: float,
) -> tuple[np.ndarray, float]:
    """Minimise alpha * std(A w) - beta * sum(A w) - gamma * H(w) over mixtures w with rows w >= floor.

    Args:
        benefits: A, (n, m).
        rows: (c, m) left sides of the bounds, of about the size 1.
        floor: (c,) right sides.
        inside: (m,) mixture that no bound is tight at unless it is everywhere; free weights are above 0.
        free: (m,) bool, weights that may move.
        alpha: weight of the spread, 0 or more.
        beta: weight of the sum.
        gamma: weight of the entropy, 0 or more.

    Returns:
        The mixture, (m,), and the duality gap: none is better by more.
    """
    slack = rows @ inside - floor
    tight = slack <= NO_SLACK
    equations = np.vstack([np.ones((1, int(free.sum()))), rows[tight][:, free]])
    _, sizes, basis = np.linalg.svd(equations)
    Z = basis[int((sizes > 1e-9).sum()) :].T  # directions in which every equation stays
    if not Z.shape[1]:
        return inside, 0.0
    bounds, slack = rows[~tight][:, free] @ Z, slack[~tight]
    start = inside[free]
    centred = benefits - benefits.mean(axis=0)
    wide = max(float(np.abs(centred).max(initial=0.0)), 1e-300) * np.sqrt(len(benefits))
    cone, offset = centred[:, free] @ Z / wide, centred @ inside / wide  # std(A w) is wide |u| / sqrt(n)
    total = beta * benefits[:, free].sum(axis=0)
    spread = alpha * wide / np.sqrt(len(benefits))
    if spread * np.abs(cone).max() <= 1e-12 * max(float(np.abs(total @ Z).max()), gamma):  # no spread to speak of
        cone, offset, spread = 0 * cone, 0 * offset, 0.0
    size = max(spread, float(np.abs(total @ Z).max()), gamma, 1e-300)
    spread, total, gamma = spread / size, total @ Z / size, gamma / size
    d = Z.shape[1]

    def parts(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """Weights, slacks, u and the slack of the cone |u| <= t."""
        u = offset + cone @ x[:d]
        return start + Z @ x[:d], slack + bounds @ x[:d], u, float(x[d] ** 2 - u @ u)

    def value(x: np.ndarray, tau: float) -> float:
        w, s, _, q = parts(x)
        if min(w.min(), s.min(initial=np.inf), q, x[d]) <= 0:
            return np.inf
        goal = spread * x[d] - total @ x[:d] + gamma * w @ np.log(w)
        return float(tau * goal - np.log(w).sum() - np.log(s).sum() - np.log(q))

    def newton(x: np.ndarray, tau: float) -> tuple[np.ndarray, float]:
        """The Newton step and how steeply the value falls along it."""
        w, s, u, q = parts(x)
        slope, curve = np.zeros(d + 1), np.zeros((d + 1, d + 1))
        slope[:d] = Z.T @ (tau * gamma * (np.log(w) + 1) - 1 / w) - tau * total - bounds.T @ (1 / s)
        slope[:d] += 2 / q * (cone.T @ u)
        slope[d] = tau * spread - 2 * x[d] / q
        curve[:d, :d] = (Z.T * (tau * gamma / w + 1 / w**2)) @ Z + (bounds.T / s**2) @ bounds
        along = cone.T @ u
        curve[:d, :d] += 2 / q * (cone.T @ cone) + 4 / q**2 * np.outer(along, along)
        curve[:d, d] = curve[d, :d] = -4 * x[d] / q**2 * along
        curve[d, d] = 4 * x[d] ** 2 / q**2 - 2 / q
        # Scaled to a unit diagonal: slacks of very different sizes make it look singular.
        by = 1 / np.sqrt(np.diag(curve))
        step = -by * np.linalg.lstsq(curve * np.outer(by, by), by * slope, rcond=1e-15)[0]
        return step, float(slope @ step)

    x = np.append(np.zeros(d), np.linalg.norm(offset) + 1.0)
    spread = spread or 1.0  # a bound on nothing goes to 0 by itself
    tau, gap = 1.0, np.inf
    while tau <= LAST:
        for _ in range(50):
            step, fall = newton(x, tau)
            if fall > -1e-6:  # on the central path, where the gap is the number of barriers over tau
                gap = (len(start) + len(slack) + 2) / tau * size
            if not np.isfinite(fall) or fall > -1e-9:
                break
            now, length = value(x, tau), 1.0
            while length > 1e-12 and not value(x + length * step, tau) <= now + 0.1 * length * fall:
                length /= 2
            if length <= 1e-12:
                break
            x = x + length * step
        tau *= 8
    found = inside.copy()
    found[free] = np.maximum(parts(x)[0], 0.0)
    return found / found.sum(), float(gap)
