"""Selection."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from benchmarks.harness import Call, Disagreement, Row, close
from benchmarks.vendi import clustered


def rows(quick: bool) -> list[Row]:
    n, k, large = (300, 10, 1500) if quick else (5000, 100, 100_000)
    n_dpp, k_dpp, large_dpp = (200, 10, 2500) if quick else (2000, 50, 20_000)
    size = f"{n:,} × {n:,}, k = {k}"
    return [
        Row(
            "facility-location-apricot",
            "Facility location, similarities given",
            size,
            partial(_ours_facility, n, k),
            partial(_same_coverage, n),
            "apricot, `optimizer='lazy'`",
            partial(_apricot, n, k),
            note="apricot compiles anew at each fit, about 1.4 s of its time whatever the size",
            repeats=3,
        ),
        Row(
            "facility-location-submodlib",
            "Facility location, similarities given",
            size,
            partial(_ours_facility, n, k),
            partial(_same_coverage, n),
            "submodlib, LazyGreedy",
            partial(_submodlib, n, k),
            repeats=3,
        ),
        Row(
            "facility-location-large",
            "Facility location from embeddings",
            f"{large:,} × 384, k = {k}",
            partial(_ours_large, large, k),
            partial(_better_than_chance, large, k),
            note=f"each row counts its 64 nearest, found exactly; every pair would take {large**2 * 4 / 1e9:,.0f} GB",
            repeats=1,
        ),
        Row(
            "determinantal-submodlib",
            "Greedy determinantal choice",
            f"{n_dpp:,} × 384, k = {k_dpp}",
            partial(_ours_determinantal, n_dpp, k_dpp),
            partial(_same_volume, n_dpp),
            "submodlib, LogDeterminant, LazyGreedy",
            partial(_log_determinant, n_dpp, k_dpp),
            note="ours works on the rows, the peer on their kernel, which the call forms; all rows tie for the first "
            "place, which ours gives to the row most like the mean and the peer to row 0",
        ),
        Row(
            "determinantal-dppy",
            "Determinantal choice",
            f"{n_dpp:,} × 384, k = {k_dpp}",
            partial(_ours_determinantal, n_dpp, k_dpp),
            partial(_no_smaller_volume, n_dpp),
            "dppy, `sample_exact_k_dpp`",
            partial(_dppy, n_dpp, k_dpp),
            note="not the same task: dppy draws a sample, ours takes the greedy mode",
        ),
        Row(
            "determinantal-large",
            "Greedy determinantal choice",
            f"{large_dpp:,} × 384, k = {k_dpp}",
            partial(_ours_determinantal, large_dpp, k_dpp),
            partial(_volume_beyond_chance, large_dpp, k_dpp),
            note="O(n d k), no kernel is formed",
        ),
    ]


def _units(n: int) -> np.ndarray:
    X = clustered(n, np.float32)
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def _similarities(n: int) -> np.ndarray:
    U = _units(n)
    return np.maximum(U @ U.T, 0)


def _coverage(S: np.ndarray, chosen: Any) -> float:
    return float(S[:, list(chosen)].max(axis=1).sum(dtype=np.float64))


def _log_volume(n: int, chosen: Any) -> float:
    B = _units(n)[list(chosen)].astype(np.float64)
    return float(np.linalg.slogdet(B @ B.T)[1])


def _ours_facility(n: int, k: int) -> Call:
    from polyculture.select.facility_location import facility_location

    S = _similarities(n)
    return lambda: facility_location(S, k)[0].tolist()


def _apricot(n: int, k: int) -> Call:
    from apricot import FacilityLocationSelection

    S = _similarities(n)
    return lambda: FacilityLocationSelection(k, metric="precomputed", optimizer="lazy").fit(S).ranking.tolist()


def _submodlib(n: int, k: int) -> Call:
    from submodlib import FacilityLocationFunction

    S = _similarities(n)

    def call() -> list[int]:
        function = FacilityLocationFunction(n=n, mode="dense", separate_rep=False, sijs=S)
        found = function.maximize(
            budget=k, optimizer="LazyGreedy", stopIfZeroGain=False, stopIfNegativeGain=False, show_progress=False
        )
        return [int(i) for i, _ in found]

    return call


def _ours_large(n: int, k: int) -> Call:
    from polyculture.pool import Pool
    from polyculture.select.facility_location import FacilityLocation

    pool = Pool.from_arrays(_units(n))
    return lambda: FacilityLocation().select(pool, k, rng=0).tolist()


def _ours_determinantal(n: int, k: int) -> Call:
    from polyculture.pool import Pool
    from polyculture.select.determinantal import Determinantal

    pool = Pool.from_arrays(_units(n))
    return lambda: Determinantal().select(pool, k, rng=0).tolist()


def _log_determinant(n: int, k: int) -> Call:
    from submodlib import LogDeterminantFunction

    U = _units(n)

    def call() -> list[int]:
        function = LogDeterminantFunction(n=n, mode="dense", lambdaVal=0, sijs=U @ U.T)
        found = function.maximize(
            budget=k, optimizer="LazyGreedy", stopIfZeroGain=False, stopIfNegativeGain=False, show_progress=False
        )
        return [int(i) for i, _ in found]

    return call


def _dppy(n: int, k: int) -> Call:
    from dppy.finite_dpps import FiniteDPP

    U = _units(n).astype(np.float64)
    L = U @ U.T
    return lambda: [int(i) for i in FiniteDPP("likelihood", L=L).sample_exact_k_dpp(size=k, random_state=0)]


def _same_coverage(n: int, ours: list[int], peer: list[int]) -> str:
    S = _similarities(n)
    said = close(_coverage(S, ours), _coverage(S, peer), relative=1e-4, what="the coverages reached")
    return f"{said}; {len(set(ours) & set(peer))} of {len(ours)} rows in common"


def _same_volume(n: int, ours: list[int], peer: list[int]) -> str:
    a, b = _log_volume(n, ours), _log_volume(n, peer)
    common = f"{len(set(ours) & set(peer))} of {len(ours)} rows in common"
    if abs(a - b) > 0.01 * len(ours):
        raise Disagreement(f"log volume of our choice {a:.6g}, of the peer's {b:.6g}; {common}")
    return f"log volume of our choice {a:.6g}, of the peer's {b:.6g}; {common}"


def _no_smaller_volume(n: int, ours: list[int], peer: list[int]) -> str:
    a, b = _log_volume(n, ours), _log_volume(n, peer)
    if a < b:
        raise Disagreement(f"the greedy mode has log volume {a:.4g}, less than a sample's {b:.4g}")
    return f"log volume of our choice {a:.4g}, of the peer's sample {b:.4g}"


def _better_than_chance(n: int, k: int, ours: list[int]) -> str:
    U = _units(n)
    seen = U[:: max(1, n // 5000)]
    chance = np.random.default_rng(1).choice(n, k, replace=False)
    a, b = (float((seen @ U[list(rows)].T).max(axis=1).mean()) for rows in (ours, chance))
    if a <= b:
        raise Disagreement(f"mean similarity to the nearest chosen row is {a:.4g}, of a random choice {b:.4g}")
    return f"mean similarity to the nearest chosen row {a:.3g}, of a random choice {b:.3g}"


def _volume_beyond_chance(n: int, k: int, ours: list[int]) -> str:
    a = _log_volume(n, ours)
    b = _log_volume(n, np.random.default_rng(1).choice(n, k, replace=False))
    if a <= b:
        raise Disagreement(f"log volume {a:.4g}, of a random choice {b:.4g}")
    return f"log volume {a:.4g}, of a random choice {b:.4g}"
