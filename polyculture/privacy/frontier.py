"""Utility against risk: what each minimizer, at each setting, leaves to the service and to an adversary.

From Principle to Practice: Vertical Data Minimization for Machine Learning (2023), Section 6.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polyculture.errors import BadInput
from polyculture.privacy.apt import Apt
from polyculture.privacy.attacks import Attack, Reconstruction, Risk, SinglingOut
from polyculture.privacy.base import Minimizer, class_codes
from polyculture.privacy.classifier import TwoLayerNetwork, accuracy
from polyculture.privacy.columns import read_columns
from polyculture.privacy.feature_selection import FeatureSelection
from polyculture.privacy.iterative import Iterative
from polyculture.privacy.pat import PAT
from polyculture.privacy.simple import FullMinimization, Uniform, Untouched
from polyculture.privacy.soft_buckets import AdversarialTraining, MutualInformation
from polyculture.progress import Progress, silent


@dataclass(frozen=True)
class FrontierRow:
    """One minimizer at one setting.

    Args:
        minimizer: its name in the table of methods.
        setting: the hyper-parameters that tell it from its siblings.
        utility: accuracy of a fresh classifier on generalised test records.
        risks: attack -> what it achieved on the test records; a high error is private.
        buckets: how many buckets each attribute has.
        gcp: mean certainty penalty of an attribute of a test record, in [0, 1]; 1 tells nothing.
        seconds: time to fit the generalisation.
    """

    minimizer: str
    setting: Mapping[str, Any]
    utility: float
    risks: Mapping[str, Risk]
    buckets: Mapping[str, int]
    gcp: float
    seconds: float

    @property
    def label(self) -> str:
        """The setting as a reader would write it, such as "alpha = 0.7, max_leaf_nodes = 20"."""
        return ", ".join(f"{name} = {value}" for name, value in self.setting.items())


Settings = list[tuple[str, Mapping[str, Any], Minimizer]]

ATTACKS: Mapping[str, Attack] = {"reconstruction": Reconstruction(), "singling out": SinglingOut()}


def default_settings(n_records: int, n_attributes: int) -> Settings:
    """The minimizers of the paper with a short sweep each, as (name, setting, minimizer); sensitive attributes unset.

    Args:
        n_records: records the generalisations are fitted on; leaves of a tree hold at most a tenth of them.
        n_attributes: attributes a record has.
    """
    leaf = max(1, min(100, n_records // 10))
    found: Settings = [("untouched", {}, Untouched())]
    found += [
        ("pat", {"alpha": alpha, "max_leaf_nodes": leaves}, PAT(alpha, leaves, leaf))
        for leaves in (8, 20)
        for alpha in (0.0, 0.5, 0.7, 0.9)
    ]
    found += [("uniform", {"k": k}, Uniform(k)) for k in (2, 3, 5)]
    kept = sorted({max(1, n_attributes // 4), max(1, n_attributes // 2)})
    found += [("feature-selection", {"k": k}, FeatureSelection(k)) for k in kept]
    found += [("iterative", {"tolerance": t}, Iterative(tolerance=t)) for t in (0.005, 0.02)]
    found += [("adversarial-training", {"weight": w}, AdversarialTraining(w)) for w in (0.1, 0.5, 0.9)]
    found += [("mutual-information", {"weight": w}, MutualInformation(w)) for w in (0.01, 0.1, 0.5)]
    found += [("apt", {"target_accuracy": t}, Apt(t)) for t in (0.95, 0.99)]
    return [*found, ("full-minimization", {}, FullMinimization())]


def between_ends(name: str, setting: Mapping[str, Any], minimizer: Minimizer) -> Settings:
    """One minimizer, between telling everything and telling nothing: what :func:`frontier` takes to judge it."""
    return [("untouched", {}, Untouched()), (name, setting, minimizer), ("full-minimization", {}, FullMinimization())]


def frontier(
    X: Any,
    y: Any,
    minimizers: Sequence[tuple[str, Mapping[str, Any], Minimizer]] | None = None,
    *,
    sensitive: Sequence[str] | Sequence[int] = (),
    categorical: Sequence[str] | Sequence[int] = (),
    attacks: Mapping[str, Attack] = ATTACKS,
    model: Any = None,
    test_share: float = 0.3,
    fit_share: float = 1.0,
    seed: int = 0,
    progress: Progress = silent,
) -> list[FrontierRow]:
    """Fit every minimizer on the same records, and measure all of them on the same others.

    A part of the training records, ``fit_share``, is known at full resolution before anything is collected: the
    generalisation is fitted on it. The classifier is trained on all training records in their coarser form; the
    adversary has them at full resolution as its auxiliary data. Choose settings on other data than you report.

    Args:
        X: DataFrame, pyarrow Table or array of records.
        y: (n,) classes.
        minimizers: (name, setting, minimizer) each; None takes :func:`default_settings`.
        sensitive: the attributes to protect, set on every minimizer; none means all.
        categorical: columns of numbers that mean categories, set on every minimizer.
        attacks: name -> attack.
        model: the service's classifier; None is a :class:`TwoLayerNetwork`.
        test_share: share of the records set aside for utility and risk.
        fit_share: share of the other records that generalisations are fitted on.
        seed: of the split and of every minimizer.
        progress: told how many minimizers are done.

    Returns:
        One row a minimizer, in their order.

    Raises:
        BadInput: fewer than 4 records, a share out of range, or what the minimizers raise.
    """
    from sklearn.base import clone

    n = len(read_columns(X)[1][0])
    if n < 4:
        raise BadInput(f"a frontier needs at least 4 records, not {n}")
    if not 0 < test_share < 1 or not 0 < fit_share <= 1:
        raise BadInput("test_share should be between 0 and 1, fit_share above 0 and at most 1")
    codes = class_codes(y, n)[0]
    order = np.random.default_rng(seed).permutation(n)
    n_test = min(max(1, round(test_share * n)), n - 1)
    test, train = np.sort(order[:n_test]), np.sort(order[n_test:])
    fitting = np.sort(order[n_test : n_test + max(1, round(fit_share * len(train)))])
    if minimizers is None:
        minimizers = default_settings(len(fitting), len(read_columns(X)[0]))
    rows: list[FrontierRow] = []
    said: dict[tuple[str, type[Warning]], None] = {}
    for done, (name, setting, minimizer) in enumerate(minimizers):
        progress(f"minimizing: {name}", done, len(minimizers))
        ready = clone(minimizer).set_params(
            sensitive=tuple(sensitive), categorical=tuple(categorical), random_state=seed
        )
        start = time.perf_counter()
        ready.fit(_rows(X, fitting), codes[fitting])
        seconds = time.perf_counter() - start
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            rows.append(_measure(name, setting, ready, X, codes, train, test, attacks, model, seconds))
        said |= dict.fromkeys((str(one.message), one.category) for one in caught)
    for message, category in said:  # once, not once for every minimizer and attack
        warnings.warn(message, category, stacklevel=2)
    progress("minimizing", len(minimizers), len(minimizers))
    return rows


def _measure(
    name: str,
    setting: Mapping[str, Any],
    minimizer: Minimizer,
    X: Any,
    y: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    attacks: Mapping[str, Attack],
    model: Any,
    seconds: float,
) -> FrontierRow:
    known, asked = _rows(X, train), _rows(X, test)
    found = minimizer.generalisation_of_fit
    gcp = minimizer.statistics(asked).gcp / (len(test) * len(found.parts))
    return FrontierRow(
        name,
        dict(setting),
        utility(minimizer, known, y[train], asked, y[test], model=model),
        {title: attack.risk(minimizer, known, asked) for title, attack in attacks.items()},
        {part.column.name: part.size for part in found.parts},
        gcp,
        seconds,
    )


def utility(minimizer: Minimizer, X: Any, y: Any, X_new: Any, y_new: Any, *, model: Any = None) -> float:
    """Accuracy on new records of a fresh classifier trained on records in their coarser form.

    Args:
        minimizer: a fitted one.
        X: records to train on.
        y: their classes.
        X_new: records to test on.
        y_new: their classes.
        model: a scikit-learn classifier; None is a :class:`TwoLayerNetwork`.
    """
    train, test = minimizer.transform(X), minimizer.transform(X_new)
    both = class_codes(np.concatenate([np.asarray(y), np.asarray(y_new)]), len(train) + len(test))[0]
    ready = TwoLayerNetwork() if model is None else model
    return accuracy(ready, train, both[: len(train)], test, both[len(train) :])


def _rows(X: Any, rows: np.ndarray) -> Any:
    if hasattr(X, "iloc"):
        return X.iloc[rows]
    if hasattr(X, "column_names"):
        return X.take(rows)
    return (X if isinstance(X, np.ndarray) else np.asarray(X, dtype=object))[rows]
