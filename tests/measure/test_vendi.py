from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyculture.errors import BadInput, UnknownMethod
from polyculture.measure.ngram_vendi import ngram_features, ngram_vendi
from polyculture.measure.spectrum import Gram, blocks_eigenvalues, feature_eigenvalues
from polyculture.measure.vendi import (
    intdiv,
    intdiv_embeddings,
    vendi_gradient,
    vendi_of_eigenvalues,
    vendi_score,
    vendi_score_kernel,
    vendi_scores,
)
from polyculture.space.discrete_kernels import class_kernel, probability_product_kernel, tanimoto_kernel
from polyculture.space.kernels import cosine_kernel, rbf_kernel

ORDERS = (0, 0.1, 0.5, 1, 1.5, 2, 5, "inf")


def rows(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d))


def test_readme_example() -> None:
    assert vendi_score_kernel([[1, 0.9, 0], [0.9, 1, 0], [0, 0, 1]]) == pytest.approx(2.1573004833739833, abs=1e-12)


@pytest.mark.parametrize("q", ORDERS)
def test_corner_kernels(q: float | str) -> None:
    assert vendi_score_kernel(np.eye(7), q) == pytest.approx(7)
    assert vendi_score_kernel(np.ones((7, 7)), q) == pytest.approx(1)
    assert vendi_score_kernel([[1.0]], q) == pytest.approx(1)
    assert vendi_score_kernel(class_kernel([0, 0, 1, 1, 2, 2]), q) == pytest.approx(3)


@pytest.mark.parametrize("q", ORDERS)
def test_a_label_kernel_gives_the_hill_number_of_the_classes(q: float | str) -> None:
    sizes = np.array([30, 20, 5, 1])
    got = vendi_score_kernel(class_kernel(np.repeat(np.arange(4), sizes)), q)
    assert got == pytest.approx(vendi_of_eigenvalues(sizes / sizes.sum(), q))
    if q == 2:
        assert got == pytest.approx(1 / np.sum((sizes / sizes.sum()) ** 2))


@pytest.mark.parametrize("kernel", ["cosine", "rbf", "laplacian"])
def test_scores_do_not_rise_with_the_order_and_stay_in_range(kernel: str) -> None:
    scores = list(vendi_scores(rows(40, 6), ORDERS, kernel=kernel).values())
    assert all(a >= b - 1e-9 for a, b in itertools.pairwise(scores))
    assert 1 <= scores[-1] <= scores[0] <= 40
    top, second = scores[-1], vendi_score(rows(40, 6), 2, kernel=kernel)
    assert top <= second + 1e-9 <= top**2 + 2e-9


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 30), d=st.integers(1, 30), seed=st.integers(0, 1000), q=st.sampled_from([0.5, 1, 2, "inf"]))
def test_dual_equals_primal(n: int, d: int, seed: int, q: float | str) -> None:
    X = rows(n, d, seed)
    assert vendi_score(X, q) == pytest.approx(vendi_score_kernel(cosine_kernel(X), q), rel=1e-6)


def test_float32_is_promoted() -> None:
    X = rows(500, 20).astype(np.float32)
    assert vendi_score(X, 0.5) == pytest.approx(vendi_score(X.astype(np.float64), 0.5), rel=1e-12)
    low_rank = (rows(500, 3) @ rows(3, 20, 1)).astype(np.float32)
    assert vendi_score(low_rank, 0, eig_tol=1e-10) == pytest.approx(vendi_score(low_rank.astype(float), 0))


def test_merging_identical_items_with_their_weights_changes_nothing() -> None:
    X = rows(6, 4)
    doubled = np.concatenate([X, X[:2]])
    p = np.array([2, 2, 1, 1, 1, 1]) / 8
    for q in ORDERS:
        assert vendi_score(doubled, q) == pytest.approx(vendi_score(X, q, p=p))
        assert vendi_score(doubled, q, kernel="rbf", gamma=0.3) == pytest.approx(
            vendi_score(X, q, kernel="rbf", gamma=0.3, p=p)
        )


@pytest.mark.parametrize("kernel", ["cosine", "rbf"])
def test_items_of_weight_zero_are_dropped(kernel: str) -> None:
    X, p = rows(9, 4), np.array([0.0, 0.5, 0.25, 0.25, 0, 0, 0, 0, 0])
    got = vendi_scores(X, ORDERS, kernel=kernel, gamma=0.3 if kernel == "rbf" else None, p=p)
    kept = vendi_scores(X[1:4], ORDERS, kernel=kernel, gamma=0.3 if kernel == "rbf" else None, p=p[1:4])
    assert got == pytest.approx(kept)
    K = cosine_kernel(X)
    assert vendi_score_kernel(K, 0, p=p) == pytest.approx(3)


def test_spellings_of_an_order() -> None:
    X = rows(10, 3)
    assert vendi_score(X, "inf") == vendi_score(X, math.inf) == vendi_score(X, np.inf)
    assert vendi_score(X, "0.5") == vendi_score(X, 0.5)
    assert list(vendi_scores(X, ["0.1", 1, "inf"])) == ["0.1", 1, "inf"]
    near = [vendi_score(X, q) for q in (1 - 2e-6, 1 - 1e-8, 1, 1 + 1e-8, 1 + 2e-6)]
    assert np.ptp(near) < 1e-4


@pytest.mark.parametrize("q", [-0.5, math.nan, "many", None, "-inf"])
def test_a_bad_order_is_refused(q: object) -> None:
    with pytest.raises(BadInput, match="order"):
        vendi_score(rows(3, 2), q)  # type: ignore[arg-type]


def test_round_off_is_not_counted_as_species() -> None:
    X = rows(50, 2)
    assert vendi_score_kernel(cosine_kernel(X), 0) == 2
    assert vendi_score(X, 0) == 2


def test_normalisation() -> None:
    B = rows(6, 4)
    K = B @ B.T
    with pytest.raises(BadInput, match="normalize=True"):
        vendi_score_kernel(K)
    assert vendi_score_kernel(K, normalize=True) == pytest.approx(vendi_score(B))
    with pytest.raises(BadInput, match="normalize=True"):
        vendi_score(rows(9, 4), kernel="linear")
    assert vendi_score(rows(9, 4), kernel="linear", normalize=True) == pytest.approx(vendi_score(rows(9, 4)))
    assert vendi_score(rows(9, 2), kernel="polynomial", degree=2, normalize=True) == pytest.approx(
        vendi_score_kernel((rows(9, 2) @ rows(9, 2).T + 1) ** 2, normalize=True)
    )


def test_a_diagonal_that_is_not_one_is_scored_if_that_is_asked_for() -> None:
    K = np.diag([4.0, 1.0, 1.0, 2.0])  # eigenvalues of K/4: 1, 1/4, 1/4, 1/2
    assert vendi_score_kernel(K, unit_diagonal=False) == pytest.approx(2**1.5)
    assert vendi_score_kernel(K, 2, unit_diagonal=False) == pytest.approx(1 / 1.375)
    with pytest.raises(BadInput, match="normalize=True"):
        vendi_gradient(K)
    G = vendi_gradient(K, 2, unit_diagonal=False).gradient
    np.testing.assert_allclose(G, -2 * K / 16 / 1.375**2, atol=1e-15)


@pytest.mark.parametrize(
    ("K", "message"),
    [
        (np.zeros((0, 0)), "no items"),
        (np.ones((2, 3)), "\\(n, n\\)"),
        ([[1.0, np.nan], [np.nan, 1.0]], "NaN"),
        ([[1.0, 0.2], [0.5, 1.0]], "symmetric"),
        ([[1.0, 0.9, 0.0], [0.9, 1.0, 0.9], [0.0, 0.9, 1.0]], "positive semi-definite"),
        ([[-1.0, 0.0], [0.0, 1.0]], "negative diagonal"),
    ],
)
def test_bad_kernels_are_refused(K: object, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        vendi_score_kernel(K)


@pytest.mark.parametrize(
    ("p", "message"), [([0.5, 0.4], "sum to"), ([1.5, -0.5], "negative"), ([1.0], "each of"), ([np.nan, 1], "NaN")]
)
def test_bad_weights_are_refused(p: list[float], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        vendi_score(np.eye(2), p=p)


def test_bad_embeddings_are_refused() -> None:
    with pytest.raises(BadInput, match="no items"):
        vendi_score(np.zeros((0, 3)))
    for kernel in ("cosine", "rbf"):
        with pytest.raises(BadInput, match="NaN"):
            vendi_score([[1.0, np.nan], [0.0, 1.0]], kernel=kernel)
    with pytest.raises(BadInput, match="\\(n, d\\)"):
        vendi_score([1.0, 2.0])
    with pytest.raises(UnknownMethod, match="did you mean 'cosine'"):
        vendi_score(np.eye(2), kernel="cosin")
    with pytest.raises(BadInput, match="vendi_estimate"):
        vendi_score(np.eye(12), kernel="rbf", max_rows=10)
    with pytest.raises(BadInput, match="no option 'gamma'"):
        vendi_score(np.eye(2), gamma=2.0)


def test_zero_rows_warn() -> None:
    X = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    with pytest.warns(UserWarning, match="1 of 3 items"):
        score = vendi_score(X)
    assert score == pytest.approx(math.exp(2 / 3 * math.log(3)))
    with pytest.warns(UserWarning, match="2 of 2 items"):
        assert vendi_score(np.zeros((2, 2))) == 1.0


def test_extreme_scales_do_not_overflow() -> None:
    X = rows(30, 5)
    assert vendi_score(X * 1e200) == pytest.approx(vendi_score(X))
    assert vendi_score(X * 1e-200) == pytest.approx(vendi_score(X))
    assert vendi_score((X * 1e-25).astype(np.float32)) == pytest.approx(vendi_score(X), rel=1e-5)


def test_streaming_blocks_give_the_same_spectrum() -> None:
    X = rows(1000, 8)
    whole = feature_eigenvalues(X, block_rows=10_000)
    assert blocks_eigenvalues(X[i : i + 77] for i in range(0, 1000, 77)) == pytest.approx(whole)
    seen = []
    assert feature_eigenvalues(X, block_rows=300, progress=lambda *a: seen.append(a)) == pytest.approx(whole)
    assert seen[-1] == ("similarity", 1000, 1000)
    rest = Gram().add(X).without(Gram().add(X[:100]))
    assert rest.eigenvalues() == pytest.approx(feature_eigenvalues(X[100:]))


@pytest.mark.parametrize("q", [0.5, 1, 2, 3.5, "inf"])
@pytest.mark.parametrize("weighted", [False, True])
def test_gradient_matches_finite_differences(q: float | str, weighted: bool) -> None:
    rng = np.random.default_rng(3)
    K = rbf_kernel(rows(6, 3), gamma=0.2)
    p = rng.dirichlet(np.ones(6)) if weighted else None
    found = vendi_gradient(K, q, p=p)
    assert not found.subgradient
    w = np.full(6, 1 / 6) if p is None else p

    def score(M: np.ndarray) -> float:
        lam = np.linalg.eigvalsh(M * np.sqrt(np.outer(w, w)))
        return vendi_of_eigenvalues(lam, q)

    D = rng.standard_normal((6, 6))
    D += D.T
    step = 1e-6
    numeric = (score(K + step * D) - score(K - step * D)) / (2 * step)
    assert np.sum(found.gradient * D) == pytest.approx(numeric, rel=1e-5)
    assert found.value == pytest.approx(vendi_score_kernel(K, q, p=p))


def test_a_repeated_top_eigenvalue_has_a_flagged_subgradient() -> None:
    found = vendi_gradient(np.eye(4), "inf")
    assert found.subgradient
    # d(1/lambda_max) along -E_11 can't exceed what the sub-gradient of a concave-composed maximum says on the trace.
    assert np.trace(found.gradient) == pytest.approx(-(4.0**2) / 4)
    assert vendi_gradient(np.ones((3, 3)), 0.1).gradient == pytest.approx(
        vendi_gradient(np.ones((3, 3)), 0.1).gradient.T
    )
    assert np.all(vendi_gradient(np.eye(3), 0).gradient == 0)


def test_intdiv() -> None:
    K = rbf_kernel(rows(8, 3))
    assert intdiv(K) == pytest.approx(1 - K.mean())
    assert intdiv(K, 2) == pytest.approx(1 - (K**2).mean())
    p = np.array([0.5, 0.5, 0, 0, 0, 0, 0, 0])
    assert intdiv(K, p=p) == pytest.approx(1 - K[:2, :2].mean())
    assert intdiv_embeddings(rows(8, 3)) == pytest.approx(intdiv(cosine_kernel(rows(8, 3))))
    with pytest.raises(BadInput, match="power"):
        intdiv([[1.0, -0.5], [-0.5, 1.0]], 0.5)
    with pytest.raises(BadInput, match="at least one"):
        intdiv(np.zeros((0, 0)))
    with pytest.raises(BadInput, match="no items"):
        intdiv_embeddings(np.zeros((0, 2)))


def test_ngram_vendi() -> None:
    texts = ["look jane", "see spot", "see spot run", "run spot run", "jane sees spot run"]
    with pytest.warns(UserWarning, match="4 of 5 texts are shorter than 4 tokens"):
        assert ngram_vendi(texts) > 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ngram_vendi(["a b c d e", "a b c d e"]) == pytest.approx(1)
        assert ngram_vendi(["a b c d", "e f g h"]) == pytest.approx(2)
        assert ngram_vendi(["A b C d", "a B c D"]) == pytest.approx(1)
    with pytest.warns(UserWarning):
        assert ngram_vendi(["", ""]) == 1.0
    Z = ngram_features(["a a b", "b"], ns=(1,)).toarray()
    assert Z[0] == pytest.approx(np.array([2, 1]) / math.sqrt(5))
    with pytest.raises(BadInput, match="at least one"):
        ngram_vendi([])
    with pytest.raises(BadInput, match="whole numbers"):
        ngram_vendi(["a"], ns=(0,))
    with pytest.raises(BadInput, match="ngram_vendi_estimate"):
        ngram_vendi(["a"] * 5, max_rows=4)


def test_discrete_kernels() -> None:
    assert probability_product_kernel([[1.0, 0.0], [0.5, 0.5]])[0, 1] == pytest.approx(math.sqrt(0.5))
    assert tanimoto_kernel([[0, 0], [1, 1]]).tolist() == [[0.0, 0.0], [0.0, 1.0]]
    with pytest.raises(BadInput, match="distribution"):
        probability_product_kernel([[0.5, 0.4]])
    with pytest.raises(BadInput, match="zeros and ones"):
        tanimoto_kernel([[0.5, 1.0]])
    with pytest.raises(BadInput, match="between 0 and 1"):
        class_kernel([0, 1], within=2)
