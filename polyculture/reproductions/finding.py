"""A finding: one paper's central claim, what was measured, and the control under which the effect must vanish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Scale = Literal["smoke", "full"]


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with its 95 % interval (Student t); ``low`` and ``high`` equal the mean for one value."""

    mean: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float] | np.ndarray) -> Interval:
        """The interval of the mean of ``values``; one value has no spread, none at all is an error.

        >>> Interval.of([1.0, 2.0, 3.0]).mean
        2.0
        """
        held = np.asarray(values, dtype=np.float64)
        if held.size == 0:
            raise ValueError("an interval needs at least one value")
        mean = float(held.mean())
        if held.size == 1:
            return cls(mean, mean, mean, 1)
        from scipy.stats import t

        half = float(t.ppf(0.975, held.size - 1) * held.std(ddof=1) / np.sqrt(held.size))
        return cls(mean, mean - half, mean + half, held.size)

    def __str__(self) -> str:
        if self.n == 1:
            return f"{self.mean:.4g}"
        return f"{self.mean:.4g} [{self.low:.4g}, {self.high:.4g}]"


@dataclass(frozen=True)
class Curve:
    """One line of a plot; ``low`` and ``high`` shade its interval when they are given."""

    name: str
    x: Sequence[float] | Sequence[str]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    kind: Literal["line", "points", "bars"] = "line"


@dataclass(frozen=True)
class Plot:
    """What a reader of the atlas looks at."""

    title: str
    x: str
    y: str
    curves: Sequence[Curve]


@dataclass(frozen=True)
class Finding:
    """What a reproduction found.

    Args:
        slug: the paper.
        claim: the claim in one sentence.
        metric: what was measured, with its unit.
        values: name -> measured value with an interval over seeds.
        control: what was changed so that the effect must vanish, in one sentence.
        control_values: name -> value measured under the control.
        checks: the assertions that make up the claim and its control, each computed from the values.
        scale: "smoke" or "full".
        seed: the first seed.
        seconds: wall time.
        plot: what to look at.
        notes: what a reader must know: deviations, what was not asserted and why.
    """

    slug: str
    claim: str
    metric: str
    values: Mapping[str, Interval]
    control: str
    control_values: Mapping[str, Interval]
    checks: Mapping[str, bool]
    scale: Scale
    seed: int
    seconds: float
    plot: Plot | None = None
    notes: Sequence[str] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        if not self.checks:
            raise ValueError(f"{self.slug}: a finding without checks can't hold or fail")

    @property
    def holds(self) -> bool:
        """Whether every check came out true."""
        return all(bool(value) for value in self.checks.values())

    def to_dict(self) -> dict[str, Any]:
        """The finding as JSON-able values, with ``holds``."""
        import dataclasses

        from polyculture.files import plain

        return plain({**dataclasses.asdict(self), "holds": self.holds})

    @classmethod
    def from_dict(cls, held: Mapping[str, Any]) -> Finding:
        """The finding that ``to_dict`` gave."""
        fields = dict(held)
        fields.pop("holds", None)
        for name in ("values", "control_values"):
            fields[name] = {key: Interval(**_floats(value)) for key, value in fields[name].items()}
        if fields.get("plot") is not None:
            curves = [Curve(**curve) for curve in fields["plot"]["curves"]]
            fields["plot"] = Plot(**{**fields["plot"], "curves": curves})
        return cls(**fields)


def _floats(held: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no NaN or infinity: null and "inf" come back as the floats they were."""
    return {
        key: value if key == "n" else float("nan") if value is None else float(value) for key, value in held.items()
    }
