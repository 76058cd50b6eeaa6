"""Vertical data minimization: the privacy-aware tree keeps what the target needs and gives away less than its rivals.

From Principle to Practice (2023), Figures 3 and 4. Generated records stand for the American Community Survey: six
uniform attributes, of which a target needs three through thresholds, and four sensitive ones, guessed in six bins. A
random forest is the service's classifier, a logistic regression the adversary. Half of the records serve to fit, half
to test.

The full scale adds the Adult census records (adult.csv in the folder that POLYCULTURE_DATA names): five settings of
each minimizer, a two-layer network on both sides, and as one number for a frontier the area that it encloses above the
majority's accuracy and above an adversary who knows everything.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from polyculture.errors import BadInput
from polyculture.privacy.apt import Apt
from polyculture.privacy.attacks import Reconstruction
from polyculture.privacy.base import Minimizer
from polyculture.privacy.feature_selection import FeatureSelection
from polyculture.privacy.frontier import FrontierRow, frontier
from polyculture.privacy.iterative import Iterative
from polyculture.privacy.pat import PAT
from polyculture.privacy.simple import FullMinimization, Uniform, Untouched
from polyculture.privacy.soft_buckets import AdversarialTraining, MutualInformation
from polyculture.reproductions.finding import Curve, Finding, Interval, Plot, Scale

SENSITIVE = (0, 1, 2, 3)
BINS = 6
ADULT_SENSITIVE = ("sex", "age", "race", "marital-status")
ADULT_ROWS = 5000
RIVALS = ("uniform 2", "uniform 4", "feature selection 2", "feature selection 3")
TREES = ("PAT 0.0", "PAT 0.3", "PAT 0.6")

Setting = tuple[str, Mapping[str, Any], Minimizer]


def generated(n: int, rng: np.random.Generator, *, private: bool) -> tuple[np.ndarray, np.ndarray]:
    """Six uniform attributes and a target: three thresholds, or, if ``private``, the sum of what is sensitive."""
    X = rng.random((n, 6))
    if private:
        signal = 3 * (X[:, :4].sum(axis=1) - 2)
    else:
        signal = 1.5 * (X[:, 0] > 0.5) + 1.2 * (X[:, 1] > 0.3) + 0.8 * (X[:, 4] > 0.6) - 1.7
    return X, (signal + rng.logistic(scale=0.3, size=n) > 0).astype(np.int64)


def settings(*, untouched: bool) -> list[Setting]:
    """What is compared on generated records; nearly untouched ones, the slowest to learn from, if asked for."""
    found: list[Setting] = [("none", {}, Untouched(24))] if untouched else []
    found += [(f"uniform {k}", {}, Uniform(k)) for k in (2, 4)]
    found += [(f"feature selection {k}", {}, FeatureSelection(k, "anova")) for k in (2, 3)]
    return found + [(f"PAT {alpha}", {}, PAT(alpha, 8, 50, BINS)) for alpha in (0.0, 0.3, 0.6)]


def measured(full: bool, seed: int, *, private: bool) -> list[FrontierRow]:
    """Utility and risk of every setting on generated records of one seed."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    X, y = generated(3000 if full else 2000, np.random.default_rng([seed, int(private)]), private=private)
    adversary = Reconstruction(intervals=BINS, near=0.5 / BINS, model=LogisticRegression(max_iter=100))
    forest = RandomForestClassifier(60 if full else 25, random_state=seed)
    attacks = {"reconstruction": adversary}
    compared = settings(untouched=full and not private)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="lbfgs failed to converge")  # on records at full resolution
        return frontier(X, y, compared, sensitive=SENSITIVE, attacks=attacks, model=forest, test_share=0.5, seed=seed)


def adult() -> tuple[Any, np.ndarray]:
    """The Adult census records, a random 5000 of them, and whether each earns more than 50 000 dollars.

    Raises:
        BadInput: POLYCULTURE_DATA is not set, or holds no adult.csv.
    """
    import pandas as pd

    folder = os.environ.get("POLYCULTURE_DATA")
    if not folder:
        raise BadInput("set POLYCULTURE_DATA to a folder with adult.csv, or use the smoke scale, which needs no data")
    path = Path(folder) / "adult.csv"
    if not path.exists():
        raise BadInput(f"{path} is missing: it should hold the Adult census records, separated by semicolons")
    held = pd.read_csv(path, sep=";").sample(ADULT_ROWS, random_state=0)
    return held.drop(columns="salary-class"), (held["salary-class"] == ">50K").to_numpy().astype(np.int64)


def adult_settings() -> list[Setting]:
    """Three settings of each minimizer, in about equal steps of what they trade."""
    found: list[Setting] = [("PAT", {"alpha": a}, PAT(a)) for a in (0.0, 0.5, 0.9)]
    found += [("uniform", {"k": k}, Uniform(k)) for k in (2, 3, 5)]
    found += [("feature selection", {"k": k}, FeatureSelection(k)) for k in (1, 2, 4)]
    found += [("iterative", {"tolerance": t}, Iterative(tolerance=t)) for t in (0.0, 0.01, 0.03)]
    found += [("apt", {"target_accuracy": t}, Apt(t)) for t in (0.95, 0.98, 0.99)]
    found += [("adversarial training", {"weight": w}, AdversarialTraining(w)) for w in (0.1, 0.5, 0.9)]
    found += [("mutual information", {"weight": w}, MutualInformation(w)) for w in (0.01, 0.1, 0.5)]
    return [*found, ("full minimization", {}, FullMinimization())]


def enclosed(rows: Sequence[FrontierRow], majority: float) -> float:
    """The area that points of (utility, error) dominate above (majority, 0)."""
    points = sorted(((row.utility, row.risks["reconstruction"].error) for row in rows), reverse=True)
    area, best = 0.0, 0.0
    for place, (utility, error) in enumerate(points):
        best = max(best, error)
        following = points[place + 1][0] if place + 1 < len(points) else majority
        area += max(0.0, utility - max(following, majority)) * best
    return area


def reproduce(*, scale: Scale = "smoke", seed: int = 0) -> Finding:
    """Utility and adversarial error of every minimizer, over seeds; at full scale on the Adult records too."""
    start = time.perf_counter()
    full = scale == "full"
    records = adult() if full else None
    values: dict[str, list[float]] = {}
    control: dict[str, list[float]] = {}
    for s in range(seed, seed + (3 if full else 1)):
        for private, held in ((False, values), (True, control)):
            for row in measured(full, s, private=private):
                held.setdefault(f"{row.minimizer}: utility", []).append(row.utility)
                held.setdefault(f"{row.minimizer}: error", []).append(row.risks["reconstruction"].error)
    claims = {name: float(np.mean(v)) for name, v in values.items()}
    controls = {name: float(np.mean(v)) for name, v in control.items()}
    checks = {
        "PAT is more useful than every rival": _least(claims, TREES, "utility") > _most(claims, RIVALS, "utility"),
        "PAT is more private than every rival": _least(claims, TREES, "error") > _most(claims, RIVALS, "error"),
        "control: no tree beats every rival in both": not any(_beats(controls, tree) for tree in TREES),
    }
    plot = _plot({name: Interval.of(v) for name, v in values.items()})
    if records is not None:
        rows = frontier(
            records[0],
            records[1],
            adult_settings(),
            sensitive=ADULT_SENSITIVE,
            attacks={"reconstruction": Reconstruction()},
            seed=seed,
        )
        majority = rows[-1].utility
        for name in dict.fromkeys(row.minimizer for row in rows[:-1]):
            area = enclosed([row for row in rows if row.minimizer == name], majority)
            values[f"Adult: {name}: area"] = [area]
        rivals = [v[0] for name, v in values.items() if name.endswith(": area") and name != "Adult: PAT: area"]
        checks["Adult: PAT encloses more than every rival"] = values["Adult: PAT: area"][0] > max(rivals)
        plot = _adult_plot(rows)
    return Finding(
        slug="vertical-minimization",
        claim="A tree that is told what is sensitive keeps more accuracy and gives away less than equal buckets "
        "or fewer attributes.",
        metric="accuracy of a classifier on generalised test records; 1 - accuracy of an adversary on four attributes",
        values={name: Interval.of(v) for name, v in values.items()},
        control="the target depends on the sum of the sensitive attributes themselves",
        control_values={name: Interval.of(v) for name, v in control.items()},
        checks=checks,
        scale=scale,
        seed=seed,
        seconds=time.perf_counter() - start,
        plot=plot,
        notes=(
            "The adversarial error is empirical: it says what this adversary achieved, and guarantees nothing.",
            *(("The areas on the Adult records are of one split.",) if full else ()),
        ),
    )


def _beats(held: Mapping[str, float], tree: str) -> bool:
    return all(held[f"{tree}: {axis}"] > _most(held, RIVALS, axis) for axis in ("utility", "error"))


def _least(held: Mapping[str, float], names: Sequence[str], axis: str) -> float:
    return min(held[f"{name}: {axis}"] for name in names)


def _most(held: Mapping[str, float], names: Sequence[str], axis: str) -> float:
    return max(held[f"{name}: {axis}"] for name in names)


def _plot(values: Mapping[str, Interval]) -> Plot:
    curves = []
    for name in dict.fromkeys(name.rsplit(": ", 1)[0] for name in values):
        across, up = values[f"{name}: utility"], values[f"{name}: error"]
        curves.append(Curve(name, [across.mean], [up.mean], [up.low], [up.high], kind="points"))
    return Plot("What is kept and what is given away", "utility", "adversarial error", curves)


def _adult_plot(rows: Sequence[FrontierRow]) -> Plot:
    curves = []
    for name in dict.fromkeys(row.minimizer for row in rows):
        points = sorted((r.utility, r.risks["reconstruction"].error) for r in rows if r.minimizer == name)
        curves.append(Curve(name, [p[0] for p in points], [p[1] for p in points], kind="points"))
    return Plot("Adult: what is kept and what is given away", "utility", "adversarial error", curves)
