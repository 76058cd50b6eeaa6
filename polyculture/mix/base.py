"""What every mixer shares: groups, weights on the simplex, proposals, and a file of plain JSON to rest in."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator

from polyculture.errors import BadInput
from polyculture.files import write_json

FORMAT = "polyculture-mixer-1"


@dataclass(frozen=True)
class Proposal:
    """Mixtures to train on, best first.

    Args:
        groups: the m group names.
        weights: (n, m), each row on the simplex.
        overall: (n,) what the mixer expects of each, higher is better; None from a mixer that predicts nothing.
        scores: names of the k predicted scores.
        predicted: (n, k) predicted scores in their own units; None as above.
        progress: (n,) after which share of the schedule to stop; None is the whole.
    """

    groups: tuple[str, ...]
    weights: np.ndarray
    overall: np.ndarray | None = None
    scores: tuple[str, ...] = ()
    predicted: np.ndarray | None = None
    progress: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.weights)

    def rows(self) -> list[dict[str, float]]:
        """One dict a mixture: ``w:GROUP`` columns, then ``overall`` and ``predicted:SCORE`` where there are any."""
        found = []
        for i, weights in enumerate(self.weights):
            row = {f"w:{group}": float(w) for group, w in zip(self.groups, weights, strict=True)}
            if self.overall is not None:
                row["overall"] = float(self.overall[i])
            if self.progress is not None:
                row["progress"] = float(self.progress[i])
            if self.predicted is not None:
                row |= {f"predicted:{s}": float(v) for s, v in zip(self.scores, self.predicted[i], strict=True)}
            found.append(row)
        return found


class Mixer(BaseEstimator):
    """Find how much of each group to train on. Subclasses are dataclasses of hyper-parameters.

    After ``fit`` a mixer has ``groups_``, the m group names, and ``weights_``, (m,) on the simplex. Everything it has
    learnt lies in attributes that end in "_" and hold numbers, texts, arrays, or lists and dicts of them, so that
    :meth:`save` can write them as JSON. ``fits`` says what ``fit`` takes: runs (mixtures and the scores they led to),
    benefits (how much each group helps each task), or groups (names and sizes alone); :meth:`read` reads that from a
    file.
    """

    fits: ClassVar[Literal["runs", "benefits", "groups", "feedback"]] = "runs"
    groups_: tuple[str, ...]
    weights_: np.ndarray

    @classmethod
    def read(cls, path: Path | str, **columns: Any) -> Any:
        """What this mixer's ``fit`` takes, from a CSV file; options as in ``Runs.read`` or ``Benefits.read``.

        Raises:
            BadInput: the file can't be used, with the line and the remedy.
        """
        from polyculture.mix.benefits import Benefits
        from polyculture.mix.runs import Runs

        if cls.fits == "benefits":
            return Benefits.read(path, **columns)
        return Runs.read(path, **columns)

    def propose(self, n: int = 1, *, rng: np.random.Generator | int | None = None) -> Proposal:
        """At most n different mixtures, best first; a mixer with one answer gives one.

        Args:
            n: how many are wanted, at least 1.
            rng: a Generator, or a seed for one; mixers whose answers are not random ignore it.

        Raises:
            BadInput: n is below 1, or the mixer has not been fitted.
        """
        self._check_fitted()
        if n < 1:
            raise BadInput(f"n = {n}, but at least one mixture should be asked for")
        return self._propose(int(n), np.random.default_rng(rng))

    def _propose(self, n: int, rng: np.random.Generator) -> Proposal:
        return Proposal(self.groups_, self.weights_[None, :])

    def save(self, path: Path | str) -> None:
        """Write the fitted mixer as JSON, whole or not at all; :func:`load` reads it.

        Raises:
            BadInput: it has not been fitted, or the file can't be written.
        """
        from polyculture.methods import table

        self._check_fitted()
        methods = table("mix")
        name = next((n for n in methods if methods.target(n).partition(":")[2] == type(self).__name__), None)
        if name is None:
            raise BadInput(f"{type(self).__name__} is not in the table of mix methods; add it there to save it")
        held = {key: encode(value) for key, value in vars(self).items() if key.endswith("_")}
        write_json(
            Path(path),
            {"format": FORMAT, "method": name, "hyper": encode(self.get_params(deep=False)), "fitted": held},
        )

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """The mixer that :meth:`save` wrote.

        Raises:
            BadInput: the file is not one, or holds another kind of mixer than this class.
        """
        mixer = load(path)
        if not isinstance(mixer, cls):
            raise BadInput(
                f"{path} holds a {type(mixer).__name__}, not a {cls.__name__}; use polyculture.mix.base.load"
            )
        return mixer

    def _check_fitted(self) -> None:
        if not hasattr(self, "weights_"):
            raise BadInput(f"this {type(self).__name__} has not been fitted yet; call fit first")


def load(path: Path | str) -> Mixer:
    """The mixer in a file that ``Mixer.save`` wrote. Only names of the mix table are looked up; no code is read.

    Raises:
        BadInput: the file can't be read or is not a mixer.
    """
    from polyculture.methods import build

    try:
        held = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"can't read {path}: {error.strerror}") from error
    except ValueError as error:
        raise BadInput(f"{path} is not JSON: {error}; give a file written by polyculture mix fit") from error
    if not isinstance(held, dict) or held.get("format") != FORMAT:
        raise BadInput(f"{path} is not a fitted mixer ({FORMAT}); give a file written by polyculture mix fit")
    mixer: Mixer = build("mix", held["method"], **decode(held["hyper"]))
    for key, value in held["fitted"].items():
        if not key.endswith("_") or key.startswith("__"):
            raise BadInput(f"{path}: '{key}' is not something a mixer has learnt")
        setattr(mixer, key, decode(value))
    return mixer


def encode(value: Any) -> Any:
    """A value as JSON that :func:`decode` gives back with its type: arrays, tuples, NaN and infinities included."""
    if isinstance(value, np.ndarray):
        return {"array": encode(value.tolist()), "dtype": str(value.dtype), "shape": list(value.shape)}
    if isinstance(value, tuple):
        return {"tuple": [encode(item) for item in value]}
    if isinstance(value, dict):
        return {"dict": {str(key): encode(item) for key, item in value.items()}}
    if isinstance(value, list):
        return [encode(item) for item in value]
    if isinstance(value, np.generic):
        return encode(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return {"float": repr(value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a {type(value).__name__} can't be saved with a mixer")


def decode(value: Any) -> Any:
    """The value that :func:`encode` was given."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return np.array(decode(value["array"]), dtype=value["dtype"]).reshape(value["shape"])
    if "tuple" in value:
        return tuple(decode(item) for item in value["tuple"])
    if "float" in value:
        return float(value["float"])
    return {key: decode(item) for key, item in value["dict"].items()}
