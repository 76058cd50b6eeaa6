"""How a fixed budget of examples is shared between instructions: evenly, or with a long tail.

"Only-IF: Revealing the Decisive Effect of Instruction Diversity on Generalization" (2024), Sections 3.1 and 3.3.
"""

from __future__ import annotations

import numpy as np

from polyculture.errors import BadInput


def budget_split(budget: int, n_instructions: int) -> np.ndarray:
    """A budget shared evenly: floor(B / I) examples each, and one more for the first B mod I instructions.

    Args:
        budget: B, examples in all, 0 or more.
        n_instructions: I, 1 or more.

    Returns:
        (I,) int64, summing to B.

    Raises:
        BadInput: a number is out of range.

    >>> budget_split(10, 4).tolist()
    [3, 3, 2, 2]
    """
    _check(n_instructions)
    if budget < 0:
        raise BadInput(f"a budget of {budget} examples should be 0 or more")
    each, more = divmod(int(budget), int(n_instructions))
    return np.where(np.arange(n_instructions) < more, each + 1, each).astype(np.int64)


def power_law_bins(n_instructions: int, shape: float) -> np.ndarray:
    """Shares of instructions under a long tail: the density a x^(a - 1) on [0, 1] cut into I bins of equal width.

    P(i) = (i / I)^a - ((i - 1) / I)^a; a = 1 is uniform, a smaller one more peaked.

    Args:
        n_instructions: I, 1 or more.
        shape: a, above 0.

    Returns:
        (I,) shares, summing to 1.

    Raises:
        BadInput: a number is out of range.
    """
    _check(n_instructions)
    if not (np.isfinite(shape) and shape > 0):
        raise BadInput(f"the shape of a power law should be above 0 and finite, not {shape}")
    return np.diff((np.arange(n_instructions + 1) / n_instructions) ** shape)


def skewed_split(budget: int, n_instructions: int, shape: float, rng: np.random.Generator) -> np.ndarray:
    """A budget shared by drawing each example's instruction from a power law; shape 1 shares evenly, without luck.

    A peaked law leaves instructions without examples: count those with a share above 0 when reporting how many there
    were.

    Args:
        budget: B, examples in all.
        n_instructions: I.
        shape: of the power law, see :func:`power_law_bins`.
        rng: the source of randomness; unused at shape 1.

    Returns:
        (I,) int64, summing to the budget.

    Raises:
        BadInput: the budget is negative, there is no instruction, or shape is not above 0.
    """
    shares = power_law_bins(n_instructions, shape)
    if shape == 1:
        return budget_split(budget, n_instructions)
    if budget < 0:
        raise BadInput(f"a budget of {budget} examples should be 0 or more")
    return rng.multinomial(budget, shares / shares.sum()).astype(np.int64)


def _check(n_instructions: int) -> None:
    if n_instructions < 1:
        raise BadInput(f"{n_instructions} instructions can't share a budget; there should be at least one")
