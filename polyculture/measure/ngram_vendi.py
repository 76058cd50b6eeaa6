"""The Vendi score of texts under the n-gram kernel: no model, no embedding.

Friedman & Dieng, The Vendi Score (2022), section 5.3: the kernel of a text pair is the cosine of their n-gram counts,
averaged over n = 1..4.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from polyculture.errors import BadInput
from polyculture.measure.spectrum import EXACT_ROWS, kernel_eigenvalues
from polyculture.measure.tokens import Tokenizer, at_least_one, ngrams, words
from polyculture.measure.vendi import vendi_of_eigenvalues

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def ngram_features(texts: Sequence[str], ns: Sequence[int] = (1, 2, 3, 4), tokenize: Tokenizer = words) -> csr_array:
    """Sparse features Z whose inner products Z Z^T are the averaged n-gram kernel; a text may be empty at some n.

    Args:
        texts: n texts.
        ns: lengths of n-grams, averaged over.
        tokenize: a text as its tokens.

    Returns:
        (n, distinct n-grams) sparse float64 matrix.

    Raises:
        BadInput: no lengths, or one below 1, or an item that is no text.
    """
    from scipy.sparse import csr_array

    if not ns or any(int(n) != n or n < 1 for n in ns):
        raise BadInput(f"ns should hold whole numbers from 1, not {list(ns)}")
    columns: dict[tuple[str, ...], int] = {}
    data: list[float] = []
    indices: list[int] = []
    starts = [0]
    for text in at_least_one(texts, "the n-gram kernel"):
        tokens = tokenize(text)
        for n in ns:
            counts = Counter(columns.setdefault(gram, len(columns)) for gram in ngrams(tokens, n))
            length = np.sqrt(sum(c * c for c in counts.values()) * len(ns)) if counts else 1.0
            indices += counts.keys()
            data += [c / length for c in counts.values()]
        starts.append(len(indices))
    return csr_array((data, indices, starts), shape=(len(starts) - 1, max(1, len(columns))), dtype=np.float64)


def ngram_vendi(
    texts: Sequence[str],
    ns: Sequence[int] = (1, 2, 3, 4),
    q: float | str = 1.0,
    *,
    tokenize: Tokenizer = words,
    max_rows: int = EXACT_ROWS,
) -> float:
    """The effective number of distinct texts, by their n-grams: lower case, split at white space.

    A text shorter than some n has no n-gram of that length and counts for less (a warning says how many).

    Args:
        texts: n texts.
        ns: lengths of n-grams; the kernel is averaged over them.
        q: the order, from 0 to inf.
        tokenize: a text as its tokens; the default is lower case split at white space.
        max_rows: largest n whose n x n kernel is made; above it use :func:`ngram_vendi_estimate`.

    Returns:
        The score, 1 to n; 1 where no text has an n-gram.

    Raises:
        BadInput: no texts, or more than ``max_rows``, an item that is not a string, or n-gram lengths below 1.

    Paper: The Vendi Score (2022), section 5.3.

    >>> round(ngram_vendi(["look jane", "see spot", "see spot run", "run spot run", "jane sees spot run"], ns=(1,)), 4)
    3.0928
    """
    texts = at_least_one(texts, "the n-gram Vendi score")
    if len(texts) > max_rows:
        raise BadInput(
            f"{len(texts)} texts need a {len(texts)} x {len(texts)} kernel; use ngram_vendi_estimate, which states its "
            f"error, or max_rows={len(texts)}"
        )
    Z = ngram_features(texts, ns, tokenize)
    K = (Z @ Z.T).toarray()
    warn_of_short_texts(np.diagonal(K), max(ns))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # empty texts were named above, in the words of texts
        values = kernel_eigenvalues(K, unit_diagonal=False)
    return vendi_of_eigenvalues(values, q)


def warn_of_short_texts(diagonal: np.ndarray, longest: int) -> None:
    """Warn of texts that lack n-grams of some length, and so weigh less than one item."""
    short = int((diagonal < 1 - 1e-6).sum())
    if short:
        warnings.warn(
            f"{short} of {len(diagonal)} texts are shorter than {longest} tokens and weigh less than one item; "
            "the spectrum sums to less than 1",
            stacklevel=3,
        )
