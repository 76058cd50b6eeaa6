"""What a measure answers where it is not defined: NaN and a warning that says why, never a number made up."""

from __future__ import annotations

import math
import warnings


class UndefinedMeasureWarning(UserWarning):
    """A measure is not defined on this input; its value is NaN (or 0 where its source says so)."""


def undefined(measure: str, reason: str, value: float = math.nan) -> float:
    """Warn that ``measure`` is not defined because of ``reason``, and give ``value``."""
    warnings.warn(f"{measure} is {value:g}: {reason}", UndefinedMeasureWarning, stacklevel=3)
    return value
