"""Vendi score.

The sizes of vendi-score's kernel path end at 5,000 rows: at 20,000 it takes O(n^3), many minutes, and is left out.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Call, Disagreement, Row, close

WIDTH = 384
BLOCK = 16_384


def rows(quick: bool) -> list[Row]:
    kernel, dual = ((120, 150), (400, 500)) if quick else ((2000, 5000), (5000, 20_000))
    million, tiled, large = (20_000, 2100, 2500) if quick else (1_000_000, 5000, 20_000)
    found = [
        Row(
            f"vendi-{_short(n)}",
            "Vendi score of embeddings, cosine",
            f"{n:,} × {WIDTH}",
            partial(_ours, n),
            _same_score,
            "vendi-score, `score_K(U @ U.T)`",
            partial(_score_k, n),
            repeats=3,
        )
        for n in kernel
    ]
    found += [
        Row(
            f"vendi-dual-{_short(n)}",
            "Vendi score of embeddings, cosine",
            f"{n:,} × {WIDTH}",
            partial(_ours, n),
            _same_score,
            "vendi-score, `score_dual`",
            partial(_score_dual, n),
        )
        for n in dual
    ]
    found += [
        Row(
            f"vendi-kernel-{_short(kernel[0])}",
            "Vendi score of a kernel matrix",
            f"{kernel[0]:,} × {kernel[0]:,}",
            partial(_ours_kernel, kernel[0]),
            _same_score,
            "vendi-score, `score_K`",
            partial(_score_k_given, kernel[0]),
            note="one eigenvalue problem on both sides; ours checks the kernel first",
            repeats=3,
        ),
        Row(
            f"vendi-orders-{_short(dual[0])}",
            "Vendi scores of five orders",
            f"{dual[0]:,} × {WIDTH}",
            partial(_ours_orders, dual[0]),
            _same_scores,
            "vendi-score, `score_dual` an order",
            partial(_dual_orders, dual[0]),
        ),
        Row(
            "vendi-million",
            "Vendi score from a file, a block at a time",
            f"{million:,} × {WIDTH}, float32",
            partial(_ours_file, million),
            _known_score,
            note=f"the file holds {million * WIDTH * 4 / 2**20:,.0f} MB and is read {BLOCK:,} rows at a time",
            items=(million, "rows"),
            repeats=2,
        ),
        Row(
            f"vendi-rbf-{_short(tiled)}",
            "Vendi score under an RBF kernel, estimated",
            f"{tiled:,} × {WIDTH}",
            partial(_ours_rbf, tiled),
            _within_error,
            "vendi-score, `score_K` of scikit-learn's `rbf_kernel`",
            partial(_score_k_rbf, tiled),
            note="ours states its error, the peer is exact",
            repeats=2,
        ),
        Row(
            f"vendi-rbf-{_short(large)}",
            "Vendi score under an RBF kernel, estimated",
            f"{large:,} × {WIDTH}",
            partial(_ours_rbf, large),
            _states_error,
            note="no n × n matrix is held",
            repeats=1,
        ),
    ]
    return found


def clustered(n: int, dtype: Any = np.float64) -> np.ndarray:
    """Rows around 40 centres, as embeddings of 40 topics lie."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((40, WIDTH), dtype=np.float32)
    X = centres[rng.integers(40, size=n)] + 0.7 * rng.standard_normal((n, WIDTH), dtype=np.float32)
    return X.astype(dtype)


def _ours(n: int) -> Call:
    from polyculture.measure.vendi import vendi_score

    X = clustered(n)
    return lambda: vendi_score(X)


def _score_k(n: int) -> Call:
    from vendi_score import vendi

    X = clustered(n)

    def call() -> float:
        U = X / np.linalg.norm(X, axis=1, keepdims=True)
        return float(vendi.score_K(U @ U.T))

    return call


def _score_dual(n: int) -> Call:
    from vendi_score import vendi

    X = clustered(n)
    return lambda: float(vendi.score_dual(X))


def _kernel(n: int) -> np.ndarray:
    X = clustered(n)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    return X @ X.T


def _ours_kernel(n: int) -> Call:
    from polyculture.measure.vendi import vendi_score_kernel

    K = _kernel(n)
    return lambda: vendi_score_kernel(K)


def _score_k_given(n: int) -> Call:
    from vendi_score import vendi

    K = _kernel(n)
    return lambda: float(vendi.score_K(K))


ORDERS = (0.5, 1, 2, 5, "inf")


def _ours_orders(n: int) -> Call:
    from polyculture.measure.vendi import vendi_scores

    X = clustered(n)
    return lambda: list(vendi_scores(X, [float(q) for q in ORDERS]).values())


def _dual_orders(n: int) -> Call:
    from vendi_score import vendi

    X = clustered(n)
    return lambda: [float(vendi.score_dual(X, q=q)) for q in ORDERS]


def _ours_file(n: int) -> Call:
    """Rows along orthogonal directions, of any length.

    So the score is known: it is the exponential entropy of how often each direction comes.
    """
    from polyculture.measure.spectrum import blocks_eigenvalues
    from polyculture.measure.vendi import vendi_of_eigenvalues

    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0]
    counts = np.zeros(WIDTH)
    folder = tempfile.TemporaryDirectory(prefix="polyculture-bench-")
    path = Path(folder.name) / "rows.f32"
    with path.open("wb") as file:
        for start in range(0, n, BLOCK):
            drawn = np.minimum(rng.geometric(0.02, size=min(BLOCK, n - start)) - 1, WIDTH - 1)
            counts += np.bincount(drawn, minlength=WIDTH)
            lengths = rng.uniform(0.5, 2, size=(len(drawn), 1))
            (lengths * directions[drawn]).astype(np.float32).tofile(file)
    p = counts[counts > 0] / n
    expected = float(np.exp(-np.sum(p * np.log(p))))

    def blocks() -> Iterator[np.ndarray]:
        assert folder  # the file lives as long as the call
        with path.open("rb") as file:
            while (block := np.fromfile(file, dtype=np.float32, count=BLOCK * WIDTH)).size:
                yield block.reshape(-1, WIDTH)

    return lambda: (vendi_of_eigenvalues(blocks_eigenvalues(blocks())), expected)


def _ours_rbf(n: int) -> Call:
    from polyculture.measure.estimate import vendi_estimate

    X = clustered(n)
    gamma = 1 / WIDTH

    def call() -> tuple[float, float, str]:
        found = vendi_estimate(X, kernel="rbf", gamma=gamma, rng=0)
        return found.value, found.error, found.how

    return call


def _score_k_rbf(n: int) -> Call:
    from sklearn.metrics.pairwise import rbf_kernel
    from vendi_score import vendi

    X = clustered(n)
    return lambda: float(vendi.score_K(rbf_kernel(X, gamma=1 / WIDTH)))


def _same_score(ours: float, peer: float) -> str:
    return close(ours, peer, relative=1e-6, what="scores")


def _same_scores(ours: list[float], peer: list[float]) -> str:
    for q, a, b in zip(ORDERS, ours, peer, strict=True):
        said = close(a, b, relative=1e-6, what=f"the scores of order {q}")
    return f"the five scores agree to 1e-6; {said}"


def _known_score(ours: tuple[float, float]) -> str:
    return close(*ours, relative=1e-5, what=f"the score {ours[0]:.6g} and the one that the rows were made to have")


def _within_error(ours: tuple[float, float, str], peer: float) -> str:
    value, error, how = ours
    if abs(value - peer) > 1.5 * error:
        raise Disagreement(f"ours {value:.6g} ± {error:.2g} (95 %), exact {peer:.6g}")
    return f"{how}: {value:.6g} ± {error:.2g} (95 %), exact {peer:.6g}"


def _states_error(ours: tuple[float, float, str]) -> str:
    value, error, how = ours
    if not error < 0.05 * value:
        raise Disagreement(f"{value:.6g} ± {error:.2g}: the stated error is more than 5 %")
    return f"{how}: {value:.6g} ± {error:.2g} (95 %)"


def _short(n: int) -> str:
    return f"{n // 1000}k" if n % 1000 == 0 else str(n)
