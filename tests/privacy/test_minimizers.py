"""What each minimizer does that the others do not."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from polyculture.errors import BadInput, UnknownMethod
from polyculture.privacy import (
    PAT,
    AdversarialTraining,
    Apt,
    FeatureSelection,
    FullMinimization,
    Iterative,
    MutualInformation,
    Uniform,
    Untouched,
)
from polyculture.privacy.classifier import TwoLayerNetwork, accuracy, probabilities
from polyculture.privacy.iterative import optimal_k_split


def thresholds(n: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Only whether the first attribute is above a half matters."""
    X = np.random.default_rng(seed).random((n, 3))
    return X, (X[:, 0] > 0.5).astype(int)


def test_ends() -> None:
    X, y = thresholds()
    assert FullMinimization().fit(X, y).generalisation_.sizes == (1, 1, 1)
    assert Untouched().fit(X, y).generalisation_.sizes == (100, 100, 100)


def test_uniform_is_even() -> None:
    X, y = thresholds()
    found = Uniform(4).fit(X, y).generalisation_.parts[0]
    np.testing.assert_allclose(found.ncp(), 0.25)
    frame = pd.DataFrame({"c": list("abcdefg") * 3})
    sizes = np.bincount(Uniform(3).fit(frame, np.zeros(21)).generalisation_.parts[0].mapping)
    assert sorted(sizes) == [2, 2, 3]
    with pytest.raises(BadInput, match="k = 0"):
        Uniform(0).fit(X, y)


@pytest.mark.parametrize("score", ["chi2", "anova", "mutual-information"])
def test_feature_selection_keeps_what_tells(score: str) -> None:
    X, y = thresholds()
    frame = pd.DataFrame(X, columns=list("abc")).assign(d=np.where(X[:, 0] > 0.4, "yes", "no"), e="same")
    assert FeatureSelection(1, score).fit(X, y).generalisation_.sizes == (100, 1, 1)
    found = FeatureSelection(2, score).fit(frame, y)
    assert found.generalisation_.sizes[3] == 2 and found.scores_[4] == 0
    with pytest.raises(UnknownMethod, match="did you mean 'chi2'"):
        FeatureSelection(1, "chi3").fit(X, y)


def test_iterative_collapses_what_is_not_needed() -> None:
    X, y = thresholds()
    found = Iterative(k=4).fit(X, y)
    assert found.generalisation_.sizes[1:] == (1, 1) and found.generalisation_.sizes[0] >= 2
    assert Iterative(k=4, target=0.0).fit(X, y).generalisation_.sizes == (1, 1, 1)
    assert Iterative(k=4, target=1.0).fit(X, y).generalisation_.sizes == (4, 4, 4)


def test_apt_generalises_what_the_model_ignores() -> None:
    X, y = thresholds()
    sizes = Apt(0.95).fit(X, y).generalisation_.sizes
    assert sizes[0] >= 2 and sizes[1:] == (1, 1)
    assert Apt(0.0).fit(X, y).generalisation_.sizes == (1, 1, 1)


@pytest.mark.parametrize("method", [AdversarialTraining, MutualInformation])
def test_soft_buckets_learn_the_border_that_matters(method: type) -> None:
    X, y = thresholds(1500)
    found = method(0.0, k=2, epochs=12, learning_rate=0.05).fit(X, y)
    (border,) = found.generalisation_.parts[0].borders
    assert border == pytest.approx(0.5, abs=0.06)


def test_information_costs_buckets() -> None:
    X, y = thresholds(800)
    frame = pd.DataFrame({"c": np.digitize(X[:, 1], [0.25, 0.5, 0.75])})
    kept, given_up = (
        MutualInformation(w, k=4, epochs=10, learning_rate=0.1, categorical=("c",)).fit(frame, y) for w in (0.0, 0.95)
    )
    assert given_up.generalisation_.sizes[0] < kept.generalisation_.sizes[0] == 4


def test_pat_reads_off_the_border() -> None:
    X, y = thresholds()
    found = PAT(0.3, min_samples_leaf=20).fit(X, y)
    assert found.generalisation_.sizes == (2, 1, 1)
    assert found.generalisation_.parts[0].borders[0] == pytest.approx(0.5, abs=0.01)
    with pytest.warns(UserWarning, match="leaves nothing to split of 600 records"):
        assert PAT(0.3, min_samples_leaf=301).fit(X, y).generalisation_.sizes == (1, 1, 1)


@pytest.mark.parametrize(
    ("minimizer", "message"),
    [
        (PAT(1.5), "alpha = 1.5"),
        (PAT(sensitive_bins=0), "sensitive_bins = 0"),
        (Untouched(0), "buckets_kept = 0"),
        (FeatureSelection(-1), "k = -1"),
        (FeatureSelection(1, resolution=0), "resolution = 0"),
        (Iterative(0), "k = 0"),
        (Iterative(validation_share=1.0), "validation_share"),
        (Apt(1.5), "target_accuracy"),
        (Apt(max_depth=0), "max_depth"),
        (Apt(validation_share=0.0), "validation_share"),
        (AdversarialTraining(2.0), "weight = 2"),
        (AdversarialTraining(inner_steps=0), "inner_steps"),
        (MutualInformation(epochs=0), "epochs"),
    ],
)
def test_hyper_parameters_out_of_range(minimizer: PAT, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        minimizer.fit(*thresholds(30))


def test_optimal_k_split_against_every_split() -> None:
    values = np.random.default_rng(0).normal(size=8)
    ordered = np.sort(values)
    for k in range(1, 9):
        mapping, variance = optimal_k_split(values, k)
        best = min(
            np.mean([part.var() for part in np.split(ordered, cuts)])
            for cuts in itertools.combinations(range(1, 8), k - 1)
        )
        assert variance == pytest.approx(best, abs=1e-12) and set(mapping) == set(range(k))
        means = [values[np.array(mapping) == group].mean() for group in range(k)]
        assert means == sorted(means)
    for k in (0, 9):
        with pytest.raises(BadInput, match="between 1 and the 8"):
            optimal_k_split(values, k)
    with pytest.raises(BadInput, match="finite"):
        optimal_k_split(np.array([1.0, np.nan]), 1)


def test_network_learns_and_handles_one_class() -> None:
    X, y = thresholds()
    assert TwoLayerNetwork().fit(X, y).score(X, y) > 0.95
    assert accuracy(TwoLayerNetwork(), X, y, X, y) > 0.95
    alone = probabilities(TwoLayerNetwork(), X, np.full(600, 2), X[:3], 4)
    assert alone.tolist() == [[0, 0, 1, 0]] * 3
    assert probabilities(TwoLayerNetwork(), X[:, :0], y, X[:3, :0], 2)[0] == pytest.approx(np.bincount(y) / 600)
