"""Kernels against scikit-learn and by hand; features and blocked products against whole matrices."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import pairwise

from polyculture.errors import BadInput, UnknownMethod
from polyculture.space import kernels


@pytest.fixture
def X() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((37, 5))


def test_named_kernels_agree_with_scikit_learn(X: np.ndarray) -> None:
    Y = X[:7] + 0.1
    np.testing.assert_allclose(kernels.cosine_kernel(X, Y), pairwise.cosine_similarity(X, Y), atol=1e-12)
    np.testing.assert_allclose(kernels.rbf_kernel(X, 0.3, Y), pairwise.rbf_kernel(X, Y, gamma=0.3), atol=1e-12)
    np.testing.assert_allclose(kernels.laplacian_kernel(X, 0.3, Y), pairwise.laplacian_kernel(X, Y, gamma=0.3))
    np.testing.assert_allclose(
        kernels.polynomial_kernel(X, 2, 0.5, 2.0, Y), pairwise.polynomial_kernel(X, Y, degree=2, coef0=0.5, gamma=2.0)
    )


def test_median_gamma_by_hand() -> None:
    X = [[0.0], [1.0], [3.0]]  # squared distances 1, 4, 9; L1 distances 1, 2, 3
    assert kernels.median_gamma(X) == pytest.approx(1 / 4)
    assert kernels.median_gamma(X, metric="l1") == pytest.approx(1 / 2)
    assert kernels.median_gamma([[1.0], [1.0]]) == 1.0
    assert kernels.median_gamma([[0.0]] * 5 + [[2.0]]) == pytest.approx(15 / 20)  # the mean, as the median is 0
    assert kernels.rbf_kernel(X)[0, 1] == pytest.approx(math.exp(-1 / 4))


def test_median_gamma_of_many_rows_is_repeatable_and_near() -> None:
    X = np.random.default_rng(1).standard_normal((2000, 8))
    assert kernels.median_gamma(X) == kernels.median_gamma(X)
    whole = np.median(kernels.squared_distances(X)[np.triu_indices(2000, 1)])
    assert kernels.median_gamma(X) == pytest.approx(1 / whole, rel=0.08)


def test_unit_rows_survive_extremes_and_zeros() -> None:
    U = kernels.unit_rows(np.array([[3e200, 4e200], [3e-200, 4e-200], [0.0, 0.0]]))
    np.testing.assert_allclose(U, [[0.6, 0.8], [0.6, 0.8], [0.0, 0.0]])
    assert kernels.unit_rows(np.ones((2, 3), dtype=np.float16)).dtype == np.float32
    assert kernels.unit_rows(np.ones((2, 3), dtype=int)).dtype == np.float64
    assert kernels.cosine_kernel([[0.0, 0.0]]) == [[0.0]]


@pytest.mark.parametrize(
    ("kernel", "options"),
    [
        ("cosine", {}),
        ("linear", {}),
        ("rbf", {}),
        ("rbf", {"gamma": 0.2}),
        ("laplacian", {}),
        ("polynomial", {"degree": 2}),
        (lambda A, B: np.minimum(A[:, :1], B[:, 0]), {}),
    ],
)
@pytest.mark.parametrize("block", [1, 8, 1000])
def test_matvec_is_the_whole_matrix_times_v(X: np.ndarray, kernel, options: dict, block: int) -> None:
    V = np.random.default_rng(2).standard_normal((37, 3))
    K = kernels.kernel_matrix(X, kernel, **options)
    got = kernels.kernel_matvec(X, V, kernel, block, **options)
    np.testing.assert_allclose(got, K @ V, atol=1e-9)
    np.testing.assert_allclose(kernels.kernel_matvec(X, V[:, 0], kernel, block, **options), K @ V[:, 0], atol=1e-9)


@pytest.mark.parametrize("degree", [1, 2, 3])
@pytest.mark.parametrize("coef0", [0.0, 0.7])
def test_polynomial_features_are_exact(X: np.ndarray, degree: int, coef0: float) -> None:
    Z = kernels.polynomial_features(X, degree, coef0, 0.5)
    np.testing.assert_allclose(Z @ Z.T, kernels.polynomial_kernel(X, degree, coef0, 0.5), rtol=1e-9, atol=1e-9)
    assert Z.shape[1] == math.comb(X.shape[1] + (coef0 > 0) + degree - 1, degree)


def test_feature_map_where_there_is_one(X: np.ndarray) -> None:
    for kernel, options in (("cosine", {}), ("linear", {}), ("polynomial", {"degree": 2})):
        Z = kernels.feature_map(X, kernel, **options)
        assert Z is not None
        np.testing.assert_allclose(Z @ Z.T, kernels.kernel_matrix(X, kernel, **options), atol=1e-9)
    assert kernels.feature_map(X, "rbf") is None
    assert kernels.feature_map(X, "polynomial", largest=10) is None


@pytest.mark.parametrize("orthogonal", [False, True])
def test_random_fourier_features_approach_the_rbf_kernel(X: np.ndarray, orthogonal: bool) -> None:
    K = kernels.rbf_kernel(X, 0.1)
    errors = []
    for size in (64, 8192):
        Z = kernels.random_fourier_features(X, size, 0.1, rng=0, orthogonal=orthogonal)
        assert Z.shape == (37, size)
        np.testing.assert_allclose((Z * Z).sum(1), 1.0)
        errors.append(np.sqrt(np.mean((Z @ Z.T - K) ** 2)))
    assert errors[1] < 0.02 and errors[1] < errors[0] / 5


def test_orthogonal_projections_lower_the_error(X: np.ndarray) -> None:
    K = kernels.rbf_kernel(X, 0.05)

    def error(orthogonal: bool) -> float:
        draws = [kernels.random_fourier_features(X, 100, 0.05, rng=s, orthogonal=orthogonal) for s in range(20)]
        return float(np.mean([np.mean((Z @ Z.T - K) ** 2) for Z in draws]))

    assert error(True) < 0.8 * error(False)


def test_squared_distances_far_from_the_origin() -> None:
    X = np.array([[1e6, 1e6], [1e6 + 3, 1e6 + 4]], dtype=np.float32)
    np.testing.assert_allclose(kernels.squared_distances(X), [[0, 25], [25, 0]], rtol=1e-3)


def test_empty_and_one_row() -> None:
    for kernel in kernels.KERNELS:
        assert kernels.kernel_matrix(np.zeros((0, 3)), kernel).shape == (0, 0)
        assert kernels.kernel_matrix(np.ones((1, 3)), kernel).shape == (1, 1)


def test_bad_input_is_named(X: np.ndarray) -> None:
    spoiled = X.copy()
    spoiled[4, 1] = np.nan
    with pytest.raises(BadInput, match=r"NaN or infinite in 1 of 37 rows \(first: row 5\)"):
        kernels.cosine_kernel(spoiled)
    with pytest.raises(BadInput, match=r"should be \(n, d\)"):
        kernels.rbf_kernel(X[0])
    with pytest.raises(BadInput, match="5 columns and Y has 4"):
        kernels.linear_kernel(X, X[:, :4])
    with pytest.raises(BadInput, match="gamma should be a positive number"):
        kernels.rbf_kernel(X, -1.0)
    with pytest.raises(BadInput, match="degree should be"):
        kernels.polynomial_kernel(X, 0)
    with pytest.raises(BadInput, match="coef0"):
        kernels.polynomial_kernel(X, 2, -1.0)
    with pytest.raises(UnknownMethod, match="did you mean 'cosine'"):
        kernels.kernel_matrix(X, "cosin")
    with pytest.raises(BadInput, match="has no option 'gamma'"):
        kernels.kernel_matvec(X, X[:, 0], "cosine", gamma=1.0)
    with pytest.raises(BadInput, match="V should have the 37 rows"):
        kernels.kernel_matvec(X, X[:5, 0])
    with pytest.raises(BadInput, match="even"):
        kernels.random_fourier_features(X, 3)
