"""Symbolic mixture-of-experts (2025, arXiv:2503.05641): recruiting by skill beats one team for the whole task.

Simulated: twelve experts, eight skills; accuracy 0.35 on most skills and 0.9 on two random ones each, every skill
with at least one good expert. 350 validation and 1000 test questions with one skill each; wrong answers are uniform
over nine others. Three experts answer a question, and a majority vote decides.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from polyculture.decode.majority import majority_vote
from polyculture.decode.skills import global_strength, local_scores, recruit_probabilities, skill_profile
from polyculture.reproductions.finding import Curve, Finding, Interval, Plot, Scale

EXPERTS, SKILLS, K = 12, 8, 3
VALIDATION, TEST = 350, 1000


def expertise(rng: np.random.Generator, *, specialised: bool) -> np.ndarray:
    """Accuracy of each expert on each skill, (m, s)."""
    if not specialised:
        return np.repeat(rng.uniform(0.35, 0.65, (EXPERTS, 1)), SKILLS, axis=1)
    while True:
        skill = np.full((EXPERTS, SKILLS), 0.35)
        for expert in range(EXPERTS):
            skill[expert, rng.choice(SKILLS, 2, replace=False)] = 0.9
        if (skill == 0.9).any(axis=0).all():
            return skill


def one_seed(rng: np.random.Generator, *, specialised: bool) -> dict[str, float]:
    """Test accuracy of each way to choose three answers, and the loads of models that recruiting takes."""
    skill = expertise(rng, specialised=specialised)
    asked = rng.integers(SKILLS, size=VALIDATION)
    keywords = [[f"skill {s}"] for s in asked]
    profiles = {
        f"expert {m:02d}": skill_profile(keywords, (rng.random(VALIDATION) < skill[m, asked]).tolist()).scores
        for m in range(EXPERTS)
    }
    names = sorted(profiles)
    totals, strength = global_strength(profiles)
    ranked = sorted(range(EXPERTS), key=lambda m: -totals[names[m]])
    test = rng.integers(SKILLS, size=TEST)
    shuffle = np.roll(np.arange(SKILLS), 1)  # every skill is taken for another
    teams: list[tuple[int, list[int]]] = []

    def recruited(label: Callable[[int], int]) -> Callable[[int], list[int]]:
        chances = {}
        for s in range(SKILLS):
            p = recruit_probabilities(local_scores(profiles, [f"skill {label(s)}"]), strength)
            chances[s] = np.array([p.get(name, 0.0) for name in names])
        return lambda s: rng.choice(EXPERTS, K, p=chances[s]).tolist()

    def accuracy(team: Callable[[int], list[int]]) -> float:
        right, teams[:] = [], []
        for question, s in enumerate(test):
            own = team(int(s))
            teams.append((question, own))
            answers = [0 if rng.random() < skill[m, s] else int(rng.integers(1, 10)) for m in own]
            right.append(majority_vote([str(a) for a in answers]) == "0")
        return float(np.mean(right))

    found = {
        "best single": accuracy(lambda s: [ranked[0]]),
        "best expert, three samples": accuracy(lambda s: [ranked[0]] * K),
        "task-level top 3": accuracy(lambda s: ranked[:K]),
        "random 3": accuracy(lambda s: rng.choice(EXPERTS, K, replace=False).tolist()),
        "shuffled skills": accuracy(recruited(lambda s: int(shuffle[s]))),
        "symbolic": accuracy(recruited(lambda s: s)),
    }
    found["loads, grouped by expert"] = float(len({m for _, own in teams for m in own}))
    found["loads, question by question"] = float(sum(len(set(own)) for _, own in teams))
    return found


def reproduce(*, scale: Scale, seed: int) -> Finding:
    """Accuracy of recruiting by skill against teams that do not depend on the question."""
    began = time.perf_counter()
    seeds = 3 if scale == "smoke" else 20
    runs = [one_seed(np.random.default_rng([seed, s]), specialised=True) for s in range(seeds)]
    flat = [one_seed(np.random.default_rng([seed, s]), specialised=False) for s in range(seeds)]
    mean = {name: float(np.mean([run[name] for run in runs])) for name in runs[0]}
    control = {name: float(np.mean([run[name] for run in flat])) for name in flat[0]}
    shown = ("best single", "best expert, three samples", "task-level top 3", "random 3", "symbolic")
    checks = {
        "recruiting by skill beats the task-level top 3 by more than .2": mean["symbolic"]
        > mean["task-level top 3"] + 0.2,
        "each model is loaded at most once": mean["loads, grouped by expert"] <= EXPERTS,
        "control, no specialisation: the gap is below .04": abs(control["symbolic"] - control["task-level top 3"])
        < 0.04,
        "control, shuffled skills: the gain over the top 3 is gone": mean["shuffled skills"]
        < mean["task-level top 3"] + 0.05,
    }
    loads = ("loads, grouped by expert", "loads, question by question")
    return Finding(
        slug="symbolic-moe",
        claim="Experts recruited by the skills a question names beat the best experts of the task as a whole.",
        metric="test accuracy of the vote",
        values={name: Interval.of([run[name] for run in runs]) for name in (*shown, *loads)},
        control="Experts without specialisation, or skills that are mixed up: then routing has nothing to go by.",
        control_values={
            "shuffled skills": Interval.of([run["shuffled skills"] for run in runs]),
            **{f"{n}, no specialisation": Interval.of([r[n] for r in flat]) for n in ("task-level top 3", "symbolic")},
        },
        checks=checks,
        scale=scale,
        seed=seed,
        seconds=time.perf_counter() - began,
        plot=Plot(
            "Recruiting by skill",
            "",
            "test accuracy",
            [
                Curve("specialised experts", shown, [mean[s] for s in shown], kind="bars"),
                Curve("no specialisation", shown, [control[s] for s in shown], kind="bars"),
            ],
        ),
        notes=("Simulated experts with given skills; a majority vote aggregates.",),
    )
