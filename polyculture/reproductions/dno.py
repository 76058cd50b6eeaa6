"""Direct Nash Optimization (2024, arXiv:2404.03715): where preferences run in circles, no reward can be the best reply.

Games of 6 responses with preferences P = sigmoid(A - A^T), A ~ 1.5 N(0, 1), drawn until no response beats every other.
A policy's exploitability is max_y P(y > policy) - 1/2. The average of DNO's policies (exact, eta .3, 200 iterations) is
set against its last policy, against the best response and the softmax (beta 1) of a Bradley-Terry reward fitted to all
comparisons, and against the uniform policy. The control is transitive: P = sigmoid(r_i - r_j).

Two steps towards what trains language models: the regression on tuples, minimised by L-BFGS over the logits,
must give the exact next policy; and DNO-Prct learns from sampled 0/1 comparisons alone, five samples a prompt,
pairs filtered by the rule of section 5.1 on the six-point scale, one epoch of Adam an iteration with the previous
policy as reference (eta 1).

History: that the average is the least exploitable was asserted of means over games; it is now asserted of 95 %
intervals of the differences, paired by game.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from polyculture.align.objectives.dno import dno_loss, dno_prct_loss
from polyculture.align.staged.judged_pairs import PairwiseJudge, pair_filter
from polyculture.align.staged.nash import exploitability, soft_policy_iteration
from polyculture.reproductions.finding import Curve, Finding, Interval, Plot, Scale

RESPONSES, ETA, STEPS = 6, 0.3, 200
ARMS = ("DNO, average", "DNO, last policy", "Bradley-Terry, best", "Bradley-Terry, softmax", "uniform")
PRCT = "DNO-Prct, average"


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def cyclic_game(rng: np.random.Generator) -> np.ndarray:
    """Preferences in which every response is beaten by another."""
    while True:
        A = 1.5 * rng.standard_normal((RESPONSES, RESPONSES))
        P = _sigmoid(A - A.T)
        if ((P < 0.5).sum(axis=1) > 0).all():
            return P


def transitive_game(rng: np.random.Generator) -> np.ndarray:
    """Preferences that a reward explains."""
    reward = 1.5 * rng.standard_normal(RESPONSES)
    return _sigmoid(reward[:, None] - reward[None, :])


def bradley_terry(P: np.ndarray) -> np.ndarray:
    """The rewards whose Bradley-Terry model is likeliest under every comparison, equally often made; mean 0."""

    def loss(reward: np.ndarray) -> tuple[float, np.ndarray]:
        gap = reward[:, None] - reward[None, :]
        error = _sigmoid(gap) - P
        value = (P * np.logaddexp(0, -gap) + (1 - P) * np.logaddexp(0, gap)).sum() / 2
        return value + 1e-9 * (reward @ reward), error.sum(axis=1) + 2e-9 * reward

    fitted = minimize(loss, np.zeros(len(P)), jac=True, method="L-BFGS-B", options={"gtol": 1e-10}).x
    return fitted - fitted.mean()


def arms(P: np.ndarray) -> dict[str, float]:
    """Exploitability of each policy."""
    found = soft_policy_iteration(P, ETA, STEPS)
    reward = bradley_terry(P)
    weights = np.exp(reward)
    policies = (
        found.average,
        found.policies[-1],
        np.eye(RESPONSES)[reward.argmax()],
        weights / weights.sum(),
        np.full(RESPONSES, 1 / RESPONSES),
    )
    return {name: exploitability(P, policy) for name, policy in zip(ARMS, policies, strict=True)}


def regressed(P: np.ndarray, eta: float, iterations: int) -> float:
    """Largest difference between soft policy iteration and what L-BFGS on the tuple loss gives, step by step."""
    exact = soft_policy_iteration(P, eta, iterations)
    worst = 0.0
    for t in range(iterations):
        policy = next_policy(torch.from_numpy(exact.policies[t]).log(), torch.from_numpy(exact.rewards[t]), eta)
        worst = max(worst, float(np.abs(policy - exact.policies[t + 1]).max()))
    return worst


def next_policy(before: Tensor, wins: Tensor, eta: float) -> np.ndarray:
    """The policy that minimises the loss of all tuples, from log-probabilities before and their win rates."""
    first, second = torch.triu_indices(RESPONSES, RESPONSES, offset=1)
    logits = before.clone().requires_grad_()
    optimiser = torch.optim.LBFGS(
        [logits], max_iter=500, tolerance_grad=1e-12, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        policy = logits.log_softmax(0)
        losses = dno_loss(
            policy[first], policy[second], before[first], before[second], wins[first], wins[second], eta=eta
        )
        losses.mean().backward()
        return losses.mean()

    optimiser.step(closure)
    return logits.detach().softmax(0).numpy()


def practical(P: np.ndarray, rng: np.random.Generator, *, iterations: int, prompts: int) -> np.ndarray:
    """The average of the policies of DNO-Prct, learned from single comparisons of samples."""

    def compare(asked: list[tuple[str, str, str]]) -> np.ndarray:
        rows = np.asarray([(int(one), int(other)) for _, one, other in asked])
        return (rng.random(len(rows)) < P[rows[:, 0], rows[:, 1]]).astype(float)

    judge = PairwiseJudge(compare)
    logits = torch.zeros(RESPONSES, dtype=torch.float64)
    policies = []
    for _ in range(iterations):
        reference = logits.log_softmax(0)
        policies.append(reference.exp().numpy())
        drawn = rng.choice(RESPONSES, (prompts, 5), p=policies[-1] / policies[-1].sum())
        scores = judge([""] * prompts, [[str(y) for y in row] for row in drawn.tolist()])
        pairs = [
            (row[i], row[j])
            for row, given in zip(drawn.tolist(), scores, strict=True)
            if given is not None
            for i, j in pair_filter(given)
            if row[i] != row[j]
        ]
        logits = logits.clone().requires_grad_()
        optimiser = torch.optim.Adam([logits], lr=0.05)
        order = rng.permutation(len(pairs))
        for start in range(0, len(pairs), 64):
            better, worse = torch.tensor([pairs[i] for i in order[start : start + 64]]).T
            policy = logits.log_softmax(0)
            loss = dno_prct_loss(policy[better], policy[worse], reference[better], reference[worse], eta=1.0)
            optimiser.zero_grad()
            loss.mean().backward()
            optimiser.step()
        logits = logits.detach()
    return np.mean(policies, axis=0)


def reproduce(*, scale: Scale, seed: int) -> Finding:
    """Exploitability of each policy, over games that are cyclic and games that are transitive."""
    began = time.perf_counter()
    games, played, iterations, prompts = (6, 2, 40, 60) if scale == "smoke" else (30, 10, 80, 120)
    rng = np.random.default_rng(seed)
    cyclic = [cyclic_game(rng) for _ in range(games)]
    transitive = [transitive_game(rng) for _ in range(games)]
    found, control = [arms(P) for P in cyclic], [arms(P) for P in transitive]
    off = [regressed(P, ETA, 3) for P in cyclic[:played]]
    averages = [practical(P, rng, iterations=iterations, prompts=prompts) for P in cyclic[:played]]
    prct = [exploitability(P, policy) for P, policy in zip(cyclic, averages, strict=False)]
    average = "DNO, average"
    mean = float(np.mean([f[average] for f in found]))
    ahead = {name: Interval.of([f[name] - f[average] for f in found]) for name in ARMS if name != average}
    better = [f[average] < f["Bradley-Terry, best"] for f in found]
    checks = {
        "DNO's average is less exploitable than each other policy, on average over games": all(
            lead.low > 0 for lead in ahead.values()
        ),
        "DNO's average is less exploitable than the best of Bradley-Terry in 4 of 5 games or more": (
            sum(better) >= 0.8 * games
        ),
        "DNO's average is within .05 of an equilibrium on average": mean < 0.05,
        "the regression on tuples gives the exact next policy up to 1e-5": max(off) < 1e-5,
        "DNO-Prct's average is less exploitable than the best of Bradley-Terry, on average over the games it played": (
            float(np.mean(prct)) < float(np.mean([f["Bradley-Terry, best"] for f in found[:played]]))
        ),
        "control, transitive: DNO's last policy and the best of Bradley-Terry can hardly be exploited (.01)": all(
            max(c["DNO, last policy"], c["Bradley-Terry, best"]) < 0.01 for c in control
        ),
    }
    one = soft_policy_iteration(cyclic[0], ETA, STEPS)
    ends = np.arange(1, STEPS + 1)
    running = np.cumsum(one.policies[:-1], axis=0) / ends[:, None]
    return Finding(
        slug="dno",
        claim="Where preferences are cyclic, the average of DNO's policies comes close to the Nash equilibrium, which "
        "the best response of a fitted reward does not.",
        metric="exploitability: the best reply's win rate less 1/2",
        values={name: Interval.of([f[name] for f in found]) for name in ARMS}
        | {
            PRCT: Interval.of(prct),
            **{f"{name}, less {average}": lead for name, lead in ahead.items()},
            "regression, largest error of the next policy": Interval.of(off),
            "share of games in which DNO's average is ahead of Bradley-Terry's best": Interval.of(
                np.asarray(better, dtype=float)
            ),
        },
        control="Preferences that a reward explains: then the best of it can't be beaten either.",
        control_values={f"{name}, transitive": Interval.of([c[name] for c in control]) for name in ARMS},
        checks=checks,
        scale=scale,
        seed=seed,
        seconds=time.perf_counter() - began,
        plot=Plot(
            "One game: the policies circle, their average settles",
            "iteration",
            "exploitability",
            [
                Curve(name, ends.tolist(), [exploitability(cyclic[0], p) for p in policies])
                for name, policies in (("policy", one.policies[:-1]), ("average so far", running))
            ],
        ),
        notes=(
            "Finite games; no language model.",
            "Games in which one response beats every other were drawn again: there the average of policies is behind "
            "the last one, since it still holds the first.",
        ),
    )
