"""QuaDMix's sampling function: from quality scores and a domain to the expected number of copies of a document.

QuaDMix: Quality-Diversity Balanced Data Selection for Efficient LLM Pretraining (2025), Eqs 1 to 3. Here, as in the
paper, a smaller quality value is better.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from polyculture.errors import BadInput, unknown
from polyculture.files import write_json

TIE = 1e-12
FORMAT = "polyculture-quadmix-1"
PARTS = ("alpha", "lam", "omega", "eta", "epsilon")


@dataclass(frozen=True)
class Parameters:
    """theta = (alpha, beta): N + 4 numbers for each of M domains.

    Args:
        alpha: (M, N) weight of each criterion in each domain, rows on the simplex.
        lam: (M,) steepness lambda of the curve.
        omega: (M,) share of a domain's tokens, best first, above which only epsilon is drawn.
        eta: (M,) exponent: the best document is expected at most 2^eta times.
        epsilon: (M,) copies of a document beyond omega.
        criteria: names of the N criteria, where they are known.
        domains: names of the M domains, where they are known.
    """

    alpha: np.ndarray
    lam: np.ndarray
    omega: np.ndarray
    eta: np.ndarray
    epsilon: np.ndarray
    criteria: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in PARTS:
            value = np.asarray(getattr(self, name), dtype=np.float64)
            if not np.isfinite(value).all() or (value < 0).any():
                raise BadInput(f"{name} should be finite numbers of 0 or more")
            object.__setattr__(self, name, value)
        if self.alpha.ndim != 2 or any(getattr(self, name).shape != (len(self.alpha),) for name in PARTS[1:]):
            raise BadInput("alpha should be (domains, criteria), and lam, omega, eta and epsilon one number a domain")

    @property
    def vector(self) -> np.ndarray:
        """((N + 4) M,): alpha row after row, then lambda, omega, eta and epsilon of every domain."""
        return np.concatenate([self.alpha.ravel(), self.lam, self.omega, self.eta, self.epsilon])

    @classmethod
    def of_vector(cls, vector: Any, criteria: tuple[str, ...], domains: tuple[str, ...]) -> Parameters:
        """The parameters that :attr:`vector` lays out.

        Raises:
            BadInput: it has another length than (N + 4) M.
        """
        held = np.asarray(vector, dtype=np.float64)
        n, m = len(criteria), len(domains)
        if held.shape != ((n + 4) * m,):
            raise BadInput(f"{m} domains and {n} criteria have {(n + 4) * m} parameters, not {held.shape}")
        lam, omega, eta, epsilon = held[n * m :].reshape(4, m)
        return cls(held[: n * m].reshape(m, n), lam, omega, eta, epsilon, criteria, domains)

    def names(self) -> list[str]:
        """Column names of :attr:`vector` in a table of runs: ``alpha:CRITERION:DOMAIN``, ``lambda:DOMAIN``, ..."""
        return parameter_names(self.criteria, self.domains)

    def save(self, path: Path | str) -> None:
        """Write them as JSON, for the selector's option ``parameters``."""
        numbers = {name: getattr(self, name) for name in PARTS}
        write_json(Path(path), {"format": FORMAT, "criteria": self.criteria, "domains": self.domains, **numbers})

    @classmethod
    def load(cls, path: Path | str) -> Parameters:
        """Read what :meth:`save` wrote.

        Raises:
            BadInput: there is no such file, or it holds something else.
        """
        import json

        try:
            held = json.loads(Path(path).read_text(encoding="utf-8"))
            if held["format"] != FORMAT:
                raise KeyError
            alpha, lam, omega, eta, epsilon = (np.array(held[name], dtype=np.float64) for name in PARTS)
            return cls(alpha, lam, omega, eta, epsilon, tuple(held["criteria"]), tuple(held["domains"]))
        except OSError as error:
            raise BadInput(
                f"{path}: can't be read ({error.strerror}); parameters are a file that a search saved"
            ) from None
        except (ValueError, KeyError, TypeError):
            raise BadInput(f"{path}: holds no QuaDMix parameters; write them with Parameters.save") from None


def parameter_names(criteria: tuple[str, ...], domains: tuple[str, ...]) -> list[str]:
    """Column names of a parameter vector, in its order."""
    weights = [f"alpha:{criterion}:{domain}" for domain in domains for criterion in criteria]
    return weights + [f"{part}:{domain}" for part in ("lambda", "omega", "eta", "epsilon") for domain in domains]


def parameters_of_uniforms(
    a: Any, b: Any, u: Any, *, omega: float = 0.1, lambda_prior: Literal["log", "linear"] = "log"
) -> tuple[np.ndarray, ...]:
    """Algorithm 1: parameters from draws that are uniform on (0, 1); leading dimensions are kept.

    Args:
        a: (..., N) one draw a criterion.
        b: (..., M, N) one a domain and criterion.
        u: (..., M, 4) four a domain.
        omega: largest threshold: 0.1 in the paper; a small pool needs more to fill its quota.
        lambda_prior: "log" is 10^(3u), log-uniform in 1..1000, "linear" is 1000 u.

    Returns:
        alpha (..., M, N), lambda, omega, eta and epsilon (..., M).
    """
    a, b, u = (np.asarray(part, dtype=np.float64) for part in (a, b, u))
    if lambda_prior not in ("log", "linear"):
        raise unknown("prior of lambda", lambda_prior, ("log", "linear"))
    if not 0 < omega <= 1:
        raise BadInput(f"omega is a share of a domain's tokens and should be above 0 and at most 1, not {omega}")
    shared = a / a.sum(axis=-1, keepdims=True)
    weights = shared[..., None, :] * b
    lam = 10 ** (3 * u[..., 0]) if lambda_prior == "log" else 1000 * u[..., 0]
    return weights / weights.sum(axis=-1, keepdims=True), lam, omega * u[..., 1], u[..., 2], u[..., 3] / 1000


def percentile_ranks(
    scores: Any, *, sample: int | None = None, rng: np.random.Generator | int | None = None
) -> np.ndarray:
    """sigma: the share of documents that score as high or higher, (n, N) in (0, 1]; smaller is better.

    Args:
        scores: (n, N) quality scores, higher is better.
        sample: estimate the shares from this many documents drawn at random, between which is interpolated (10 000 in
            the paper for large corpora); None, or as many as there are, is exact.
        rng: where the sample comes from.
    """
    held = -np.asarray(scores, dtype=np.float64)
    n = len(held)
    rows = (
        np.arange(n) if sample is None or sample >= n else np.random.default_rng(rng).choice(n, sample, replace=False)
    )
    found = np.empty(held.shape)
    for j in range(held.shape[1]):
        ordered = np.sort(held[rows, j])
        if len(rows) == n:
            found[:, j] = np.searchsorted(ordered, held[:, j], side="right") / n
        else:
            values, counts = np.unique(ordered, return_counts=True)
            found[:, j] = np.interp(held[:, j], values, np.cumsum(counts) / len(rows))
    return found


def merged_quality(sigma: Any, domain: Any, alpha: Any) -> np.ndarray:
    """Eq 1: qbar_x = sum_n sigma(q_nx) alpha_nm for the domain m of x, (n,); smaller is better."""
    weights = np.asarray(alpha, dtype=np.float64)[np.asarray(domain, dtype=np.int64)]
    return np.einsum("xn,xn->x", np.asarray(sigma, dtype=np.float64).reshape(weights.shape), weights)


def token_ranks(quality: Any, tokens: Any, domain: Any) -> np.ndarray:
    """Eq 2: share of a domain's tokens that lie in documents of equal or smaller quality value, (n,) in (0, 1].

    Values within 1e-12 of the next count as tied, and ties share the larger rank.

    Raises:
        BadInput: a document has no tokens.
    """
    q, sizes, codes = np.asarray(quality, dtype=np.float64), np.asarray(tokens, dtype=np.float64), np.asarray(domain)
    if (bad := ~(sizes > 0)).any():
        raise BadInput(f"row {int(np.argmax(bad)) + 1} has {sizes[np.argmax(bad)]:g} tokens; leave empty documents out")
    order = np.lexsort((q, codes))
    value, group, places = q[order], codes[order], np.arange(len(q))
    opens = np.r_[True, group[1:] != group[:-1]][: len(q)]  # the first of its domain
    closes = np.r_[opens[1:], True][: len(q)]
    untied = np.r_[value[1:] - value[:-1] > TIE, True][: len(q)] | closes
    total = np.cumsum(sizes[order])
    before = (total - sizes[order])[np.maximum.accumulate(np.where(opens, places, 0))]
    last_tied, last = (np.flatnonzero(ends)[np.searchsorted(np.flatnonzero(ends), places)] for ends in (untied, closes))
    ranks = np.empty(len(q))
    ranks[order] = (total[last_tied] - before) / (total[last] - before)
    return ranks


def sampling_values(ranks: Any, domain: Any, parameters: Parameters) -> np.ndarray:
    """Eq 3: S = (2 / (1 + exp(-lambda (omega - rbar))))^eta + epsilon where rbar <= omega, else epsilon, (n,)."""
    from scipy.special import expit

    r, m = np.asarray(ranks, dtype=np.float64), np.asarray(domain)
    lam, omega, eta = parameters.lam[m], parameters.omega[m], parameters.eta[m]
    return np.where(r <= omega, (2 * expit(lam * (omega - r))) ** eta, 0.0) + parameters.epsilon[m]


def expected_tokens(values: Any, tokens: Any, domain: Any, n_domains: int) -> np.ndarray:
    """Tokens that a draw is expected to hold of each domain, (M,): sum of S times tokens."""
    weights = np.asarray(values, dtype=np.float64) * np.asarray(tokens, dtype=np.float64)
    return np.bincount(np.asarray(domain), weights=weights, minlength=n_domains)


def scaled_to_quota(values: Any, quota: float, *, tokens: Any = None, most: float = 1.0) -> np.ndarray:
    """min(most, c S), with the c for which it holds ``quota`` tokens in all.

    Args:
        values: (n,) expected copies S, 0 or more.
        quota: tokens wanted.
        tokens: (n,) tokens of each document; None counts documents.
        most: copies of one document at most.

    Raises:
        BadInput: even ``most`` copies of every document that can be drawn hold fewer tokens.
    """
    S = np.asarray(values, dtype=np.float64)
    t = np.ones(len(S)) if tokens is None else np.asarray(tokens, dtype=np.float64)
    order = np.argsort(-S, kind="stable")
    full = np.r_[0.0, np.cumsum(most * t[order])[:-1]]  # tokens of those before, all at the most
    rest = np.cumsum((S * t)[order][::-1])[::-1]
    room = float(most * t[S > 0].sum())
    if quota > room * (1 + 1e-12):
        raise BadInput(
            f"a quota of {quota:g} tokens does not fit the {room:g} that can be drawn; widen omega, allow more copies, "
            "or ask for less"
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = (quota - full) / rest
        fits = (rest > 0) & (scale * S[order] <= most * (1 + 1e-12))
    c = scale[np.argmax(fits)] if fits.any() else np.inf
    return np.where(S > 0, np.minimum(most, c * np.where(S > 0, S, 1.0)), 0.0)


def draw_copies(values: Any, rng: np.random.Generator | int | None = None) -> np.ndarray:
    """Rows with repeats: floor(S) copies of each, and one more with the probability that is left, in row order."""
    S = np.asarray(values, dtype=np.float64)
    whole = np.floor(S)
    copies = whole + (np.random.default_rng(rng).random(len(S)) < S - whole)
    return np.repeat(np.arange(len(S)), copies.astype(np.int64))
