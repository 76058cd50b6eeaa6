from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest

from polyculture.errors import BadInput, UnknownMethod
from polyculture.measure.estimate import ngram_vendi_estimate, vendi_estimate, vendi_estimates
from polyculture.measure.lanczos import spectral_sums
from polyculture.measure.ngram_vendi import ngram_vendi
from polyculture.measure.vendi import vendi_scores


def clusters(n: int, d: int = 16, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((20, d))[rng.integers(20, size=n)] + 0.4 * rng.standard_normal((n, d))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kernel", ["rbf", "laplacian"])
def test_the_stated_error_holds_the_exact_score(seed: int, kernel: str) -> None:
    X = clusters(700, seed=seed)
    orders = (0.5, 1, 1.5, 2, math.inf)
    exact = vendi_scores(X, orders, kernel=kernel)
    found = vendi_estimates(X, orders, kernel=kernel, method="lanczos", rng=seed)
    for q in orders:
        # The interval is a 95 % one: two and a half times as wide, it fails once in many thousand.
        assert abs(found[q].value - exact[q]) <= 2.5 * found[q].error + 1e-9 * exact[q], q
        assert found[q].error < 0.1 * exact[q], q
    assert found[1].low <= found[1].value <= found[1].high


def test_weights_and_float32() -> None:
    X = clusters(700).astype(np.float32)
    p = np.random.default_rng(0).dirichlet(np.ones(700))
    p[:50] = 0
    p /= p.sum()
    exact = vendi_scores(X, (1,), kernel="rbf", gamma=0.05, p=p)[1]
    found = vendi_estimate(X, gamma=0.05, p=p, method="lanczos")
    assert abs(found.value - exact) <= 2.5 * found.error < 0.1 * exact


def test_flat_and_degenerate_spectra() -> None:
    flat = vendi_estimate(np.eye(700) * 100, gamma=1.0, method="lanczos")
    assert flat.value == pytest.approx(700, rel=1e-6)
    same = vendi_estimates(np.ones((700, 3)), (1, "inf"), gamma=1.0, method="lanczos")
    assert same[1].value == pytest.approx(1, abs=1e-6)
    assert same["inf"].value == pytest.approx(1, abs=1e-6)


def test_small_sets_and_features_are_exact() -> None:
    X = clusters(100)
    assert vendi_estimate(X).error == 0
    assert vendi_estimate(X).how == "exact: eigenvalues of the 100 x 100 kernel"
    assert vendi_estimate(clusters(3000), kernel="cosine").how == "exact: eigenvalues of the 16 x 16 kernel"


def test_random_features_state_an_error_that_holds() -> None:
    X = clusters(600)
    exact = vendi_scores(X, (1, 2), kernel="rbf")
    found = vendi_estimates(X, (1, 2), method="features", n_features=1024)
    for q in (1, 2):
        assert abs(found[q].value - exact[q]) <= found[q].error
        assert found[q].error < 0.4 * exact[q]


def test_ngram_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polyculture.measure.estimate.SMALL", 100)
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{i}" for i in rng.zipf(1.5, 12) % 500) for _ in range(700)]
    exact = ngram_vendi(texts)
    found = ngram_vendi_estimate(texts)
    assert abs(found.value - exact) <= 2.5 * found.error < 0.1 * exact
    assert ngram_vendi_estimate(texts[:50]).value == pytest.approx(ngram_vendi(texts[:50]))


def test_a_seed_gives_the_same_estimate() -> None:
    X = clusters(700)
    one, two = (vendi_estimate(X, method="lanczos", rng=7) for _ in range(2))
    assert one == two


def test_bad_requests_are_refused() -> None:
    X = clusters(700)
    estimate = partial(vendi_estimate, X)
    with pytest.raises(BadInput, match="order 0"):
        estimate(0, method="lanczos")
    with pytest.raises(BadInput, match="are for kernel='rbf'"):
        estimate(kernel="laplacian", method="features")
    with pytest.raises(BadInput, match="multiple of 4"):
        estimate(method="features", n_features=6)
    with pytest.raises(BadInput, match="diagonal"):
        estimate(kernel="polynomial", method="lanczos")
    with pytest.raises(UnknownMethod, match="lanczos"):
        estimate(method="lanczo")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="no items"):
        vendi_estimate(np.zeros((0, 3)))


def test_quadrature_brackets_hold_for_every_probe_count() -> None:
    rng = np.random.default_rng(1)
    B = rng.standard_normal((200, 200))
    A = B @ B.T / np.trace(B @ B.T)
    exact = np.linalg.eigvalsh(A)
    found = spectral_sums(
        lambda V: A @ V, 200, {"square": lambda x: x**2, "root": np.sqrt}, trace=1.0, rank=16, probes=16, rng=0
    )
    assert found.sums["square"].quadrature < 1e-9
    for name, value in (("square", np.sum(exact**2)), ("root", np.sqrt(exact).sum())):
        sum_ = found.sums[name]
        assert abs(sum_.value - value) <= 2.5 * (sum_.sampling + sum_.quadrature) < 0.1 * value
    assert abs(found.largest - exact.max()) <= found.largest_error + 1e-12
