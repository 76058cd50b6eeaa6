"""How like the real examples of its category a generated one is.

DiverGen: Improving Instance Segmentation by Learning Wider Data Distribution with More Diverse Generative Data (2024),
filtration by inter-similarity.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polyculture.errors import BadInput
from polyculture.pool import Pool
from polyculture.space.embedders import Embedder, make_embedder
from polyculture.space.kernels import unit_rows


def mean_similarity(generated: Any, real: Any) -> np.ndarray:
    """Mean cosine similarity of each generated example to all real ones, (n,) float64.

    A real example without features (all zeros) has no direction and is left out; a generated one without features gets
    NaN, and so does every one where no real example is left.

    Args:
        generated: (n, d) features.
        real: (m, d) features of the same kind.

    Raises:
        BadInput: widths differ, or a value is NaN or infinite.
    """
    G, R = (np.asarray(part, dtype=np.float64) for part in (generated, real))
    G, R = (part.reshape(0, 1) if part.shape == (0,) else part for part in (G, R))  # an empty list is no rows
    if G.ndim != 2 or R.ndim != 2 or (len(R) and len(G) and G.shape[1] != R.shape[1]):
        raise BadInput(f"features should be (n, d) and (m, d) of one width, not {G.shape} and {R.shape}")
    if not (np.isfinite(G).all() and np.isfinite(R).all()):
        raise BadInput("a feature is NaN or infinite")
    held = unit_rows(R[R.any(axis=1)]) if len(R) else R
    if not len(held) or not len(G):
        return np.full(len(G), np.nan)
    found = unit_rows(G) @ held.mean(axis=0)  # the mean of products with all is the product with their mean
    found[~G.any(axis=1)] = np.nan
    return found


@dataclass(eq=False)
class InterSimilarityQuality:
    """Mean cosine similarity to all real examples of the same category, in [-1, 1].

    Features come from the pool's embeddings and a column of vectors of the real examples, or both texts are embedded.
    A row without features, or of a category without real examples, scores -1, and a warning says how many there are.
    Source: DiverGen (2024), filtration by inter-similarity (CLIP features of object crops in the paper).

    Args:
        real: the real examples: a file or hub id, or a pool.
        vectors: column of their features; the pool's own are its embeddings (``--embedder column:NAME``). None embeds
            the texts of both.
        category: column of their category, to be matched by name with the pool's groups; none compares with all.
        embedder: what embeds texts where no vectors are named.
    """

    real: str | Pool
    vectors: str | None = None
    category: str | None = None
    embedder: str | Embedder | Callable[[Sequence[str]], Any] = "minilm"

    @property
    def name(self) -> str:
        """What reports call it."""
        return "inter-similarity"

    @classmethod
    def test_params(cls) -> dict[str, Any]:
        """Options to try it with: two real texts, told apart by their vowels."""
        real = Pool.from_arrays(texts=["Explain how rain forms.", "Write a function that adds two numbers."])

        def vowels(texts: Sequence[str]) -> list[list[int]]:
            return [[text.count(letter) for letter in "aeiou "] for text in texts]

        return {"real": real, "embedder": vowels}

    def score(self, pool: Pool) -> np.ndarray:
        """One similarity a row, (n,) float64.

        Raises:
            BadInput: the real examples can't be read, or features or groups are missing.
        """
        real = self._real()
        X, R = self._features(pool), self._features(real)
        found = np.full(len(pool), np.nan)
        if self.category is None and real.groups is None:
            found[:] = mean_similarity(X, R)
        else:
            pool.need("groups")
            assert pool.groups is not None and real.groups is not None
            for code in np.unique(pool.groups):
                name = pool.group_names[code]
                if name in real.group_names:
                    rows = np.flatnonzero(pool.groups == code)
                    found[rows] = mean_similarity(X[rows], R[real.groups == real.group_names.index(name)])
        lost = np.isnan(found)
        if lost.any():
            warnings.warn(
                f"{int(lost.sum())} of {len(pool)} rows have no features, or no real example of their category; they "
                "score -1",
                stacklevel=2,
            )
        return np.where(lost, -1.0, found)

    def _real(self) -> Pool:
        if isinstance(self.real, Pool):
            return self.real
        from polyculture.reading import read_pool

        return read_pool(self.real, groups=self.category, vectors=self.vectors)

    def _features(self, pool: Pool) -> np.ndarray:
        if pool.embeddings is not None and (self.vectors is not None or isinstance(self.real, Pool)):
            return pool.embeddings
        if self.vectors is not None:
            pool.need("embeddings")
        pool.need("texts")
        if not len(pool):
            return np.zeros((0, 1))
        return np.asarray(make_embedder(self.embedder).embed(list(pool.texts or ())))
