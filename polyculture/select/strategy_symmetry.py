"""How alike the strategies inside a cell are: sequences of knowledge components that align, and get like attention.

Scalable and Equitable Math Problem Solving Strategy Prediction in Big Educational Data (MVec, 2023).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from polyculture.errors import BadInput

Similarity = Callable[[np.ndarray, np.ndarray], np.ndarray]


def positions(steps: int, width: int) -> np.ndarray:
    """Sinusoidal positions, (steps, width): sin(pos / 10000^(2i / width)) and the cosine of the same angle in turn."""
    place = np.arange(steps)[:, None] / 10000.0 ** (2 * (np.arange(width) // 2) / max(width, 1))
    return np.where(np.arange(width) % 2 == 0, np.sin(place), np.cos(place))


def with_positions(A: Any) -> np.ndarray:
    """A sequence of embeddings, (steps, d), plus its positions."""
    held = np.asarray(A, dtype=np.float64)
    if held.shape == (0,):
        return held.reshape(0, 0)  # an empty list has no steps
    if held.ndim != 2:
        raise BadInput(f"a sequence of embeddings should be (steps, d), not of shape {held.shape}")
    return held + positions(*held.shape)


def alignment_similarity(A: Any, B: Any) -> float:
    """Whether two sequences of components match step by step, in the same order.

    Each step of A attends to the steps of B. A step adds how sharply it attends (largest minus mean attention) if its
    match lies after that of the step before, and subtracts it otherwise; the sum is divided by the steps of A.

    Args:
        A: (steps, d) component embeddings.
        B: (other steps, d) component embeddings.

    Returns:
        In (-1, 1); 0 where either has no steps.

    Raises:
        BadInput: the widths differ, or a value is NaN or infinite.
    """
    a, b = with_positions(A), with_positions(B)
    if len(a) and len(b) and a.shape[1] != b.shape[1]:
        raise BadInput(f"both sequences should have embeddings of one width, not {a.shape[1]} and {b.shape[1]}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise BadInput("a sequence of embeddings holds NaN or infinity")
    if not len(a) or not len(b):
        return 0.0
    scores = a @ b.T
    attention = np.exp(scores - scores.max(axis=1, keepdims=True))
    attention /= attention.sum(axis=1, keepdims=True)
    match = attention.argmax(axis=1)
    weight = attention.max(axis=1) - attention.mean(axis=1)
    forward = np.diff(match, prepend=-1) > 0
    return float(np.where(forward, weight, -weight).sum() / len(a))


def attention_similarity(a: Any, b: Any) -> float:
    """Cosine of two attention vectors, the shorter one filled up with zeros on the right; 0 where one is all zero."""
    x, y = (np.asarray(v, dtype=np.float64).ravel() for v in (a, b))
    shared = min(len(x), len(y))
    lengths = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x[:shared] @ y[:shared]) / lengths if lengths > 0 else 0.0


def most_attended(attention: Any, keep: float) -> np.ndarray:
    """The positions of a sequence that a pruned strategy keeps: the int(L * keep) most attended, at least one.

    Args:
        attention: (steps, L) attention of each output step to each position; its mean over steps counts.
        keep: share of the positions, in [0, 1].

    Returns:
        int64 positions in ascending order; of equal attention the earlier stays.

    Raises:
        BadInput: the attention is not (steps, L), or keep is out of range.
    """
    held = np.asarray(attention, dtype=np.float64)
    if held.ndim != 2:
        raise BadInput(f"attention should be (steps, L), not of shape {held.shape}")
    if not 0 <= keep <= 1:
        raise BadInput(f"keep is a share of the positions and should be in [0, 1], not {keep}")
    length = held.shape[1]
    if not length:
        return np.zeros(0, dtype=np.int64)
    mean = held.mean(axis=0) if len(held) else np.zeros(length)
    return np.sort(np.argsort(-mean, kind="stable")[: max(1, int(length * keep))])


def cell_symmetry(cells: Sequence[np.ndarray], *similarities: Similarity) -> float:
    """How alike the members of cells are.

    Each similarity is averaged over the consecutive members of a cell, then over cells; the score is the average of
    the similarities.

    Args:
        cells: members of each cell, in order. A cell of one has no pairs and does not count.
        similarities: functions of members and of as many others, (p,) and (p,), that return (p,) similarities.

    Returns:
        The score; minus infinity where no cell has two members.
    """
    paired = [cell for cell in cells if len(cell) > 1]
    if not paired:
        return -np.inf
    one = np.concatenate([cell[:-1] for cell in paired])
    next_one = np.concatenate([cell[1:] for cell in paired])
    of = np.repeat(np.arange(len(paired)), [len(cell) - 1 for cell in paired])
    means = [np.bincount(of, alike(one, next_one)) / np.bincount(of) for alike in similarities]
    return float(np.mean(means))
