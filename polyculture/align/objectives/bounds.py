"""What an objective's numbers may be, and how precise: checked, or made so, where they come in."""

from __future__ import annotations

import torch
from torch import Tensor

from polyculture.errors import BadInput


def positive(name: str, value: float, objective: str) -> float:
    """``value``, which must be a finite number above 0.

    Args:
        name: of the hyper-parameter.
        value: of it.
        objective: whose it is.

    Raises:
        BadInput: it is not; the message names the objective.
    """
    if not 0 < value < float("inf"):
        raise BadInput(f"{name} of {objective} should be above 0, not {value}")
    return value


def within(name: str, value: float, low: float, high: float, objective: str) -> float:
    """``value``, which must lie in [low, high].

    Args:
        name: of the hyper-parameter.
        value: of it.
        low: the least it may be.
        high: the most.
        objective: whose it is.

    Raises:
        BadInput: it does not; the message names the objective.
    """
    if not low <= value <= high:
        raise BadInput(f"{name} of {objective} should lie in [{low:g}, {high:g}], not {value}")
    return value


def finite_reference(**references: Tensor) -> None:
    """Check the reference's log-probabilities: a token that it bans would make the loss NaN.

    Args:
        references: by the name to show.

    Raises:
        BadInput: one is NaN or infinite; the message says which.
    """
    for name, values in references.items():
        if not bool(torch.isfinite(values).all()):
            raise BadInput(
                f"{name} is NaN or infinite: the reference gives an answer no probability (a banned token?), and the "
                "loss would be NaN; drop those examples or allow the token"
            )


def at_least_float32(values: Tensor) -> Tensor:
    """``values``, half precision made float32: sums and exponentials would otherwise lose their digits."""
    return values if values.dtype in (torch.float32, torch.float64) else values.float()
