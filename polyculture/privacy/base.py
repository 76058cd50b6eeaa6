"""What every minimizer shares: reading records, finding what is sensitive, transforming, and keeping the result."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from polyculture.errors import BadInput
from polyculture.privacy.columns import Column, encode, learn_columns, missing, named, positions
from polyculture.privacy.generalisation import Generalisation, Groups, Intervals, Part, Statistics


@dataclass(frozen=True)
class Records:
    """Full-resolution records that a generalisation is fitted on.

    Args:
        values: (n, d) numbers, a category by its code.
        y: (n,) class codes of the target, from 0.
        columns: what each attribute holds.
        sensitive: positions of the sensitive attributes.
    """

    values: np.ndarray
    y: np.ndarray
    columns: Sequence[Column]
    sensitive: Sequence[int]

    def scaled(self, j: int) -> np.ndarray:
        """A continuous attribute with its range mapped to [0, 1]; all 0 where it is constant."""
        column = self.columns[j]
        width = column.high - column.low
        return (self.values[:, j] - column.low) / width if width > 0 else np.zeros(len(self.values))

    def sensitive_codes(self, bins: int) -> np.ndarray:
        """(n, r) codes of the sensitive attributes; a continuous one is cut into equal-width bins."""
        found = []
        for j in self.sensitive:
            if self.columns[j].continuous:
                found.append(np.minimum((self.scaled(j) * bins).astype(np.int64), bins - 1))
            else:
                found.append(self.values[:, j].astype(np.int64))
        return np.stack(found, axis=1)

    def take(self, rows: np.ndarray) -> Records:
        """Some of the records."""
        return Records(self.values[rows], self.y[rows], self.columns, self.sensitive)

    def split(self, share: float, rng: np.random.Generator) -> tuple[Records, Records]:
        """The rest, and a random share of the records set aside; one record serves as both."""
        n = len(self.y)
        if n == 1:
            return self, self
        order = rng.permutation(n)
        aside = min(max(1, round(share * n)), n - 1)
        return self.take(np.sort(order[aside:])), self.take(np.sort(order[:aside]))


@dataclass(eq=False, kw_only=True)
class Minimizer(TransformerMixin, BaseEstimator):
    """Learn a generalisation from full-resolution records, then apply it: a scikit-learn transformer.

    ``transform`` gives the one-hot form that a model is trained on, :meth:`generalise` the same in readable words.
    Columns of numbers are continuous, all others categorical. A missing category is a category of its own; a missing
    number is an error that names its place.

    Args:
        sensitive: names (or positions) of the attributes to protect; none means all of them.
        categorical: names (or positions) of columns that hold numbers but mean categories.
        on_unseen: "warn" puts a category that fit never saw into its attribute's usual bucket, "error" raises.
        random_state: seed of what is drawn at random.
    """

    sensitive: tuple[str, ...] | tuple[int, ...] = ()
    categorical: tuple[str, ...] | tuple[int, ...] = ()
    on_unseen: Literal["warn", "error"] = "warn"
    random_state: int = 0

    def fit(self, X: Any, y: Any) -> Self:
        """Learn the generalisation.

        Args:
            X: pandas DataFrame, pyarrow Table or 2-d array of n records by d attributes.
            y: (n,) classes.

        Raises:
            BadInput: no records, lengths differ, y is not classes, a number is missing or infinite, or a
                hyper-parameter is out of range.
            UnknownMethod: a named column is not in X.
        """
        columns = learn_columns(X, self.categorical)
        values = encode(X, columns)
        codes, self.classes_ = class_codes(y, len(values))
        self.n_features_in_ = len(columns)
        if named(X):
            self.feature_names_in_ = np.array([column.name for column in columns], dtype=object)
        names = [column.name for column in columns]
        protected = positions(self.sensitive, names) if len(self.sensitive) else range(len(names))
        records = Records(values, codes, columns, tuple(protected))
        parts = self._minimize(records, np.random.default_rng(self.random_state))
        self.generalisation_ = Generalisation(tuple(_with_usual(part, values[:, j]) for j, part in enumerate(parts)))
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Records in their coarser form, one-hot: (n, number of buckets) float64.

        Raises:
            BadInput: X has other columns than the fitted ones, a number is missing or infinite, or a category is new
                and ``on_unseen`` is "error".
        """
        return self.generalisation_of_fit.one_hot(self.buckets(X))

    def buckets(self, X: Any) -> np.ndarray:
        """The bucket of every attribute of every record, (n, d) int64; raises what ``transform`` raises."""
        found = self.generalisation_of_fit
        return found.buckets(found.encode(X, on_unseen=self.on_unseen))

    def generalise(self, X: Any) -> dict[str, list[str]]:
        """Records as readable columns, name -> texts such as "[30, 45)"; raises what ``transform`` raises."""
        buckets, found = self.buckets(X), {}
        for j, part in enumerate(self.generalisation_of_fit.parts):
            labels = part.labels()
            found[part.column.name] = [labels[b] for b in buckets[:, j]]
        return found

    def statistics(self, X: Any) -> Statistics:
        """Certainty penalties and anonymity of records in their coarser form."""
        return self.generalisation_of_fit.statistics(self.buckets(X))

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """The names of the columns that ``transform`` gives, such as "age=[30, 45)"."""
        return np.array(self.generalisation_of_fit.names(), dtype=object)

    @property
    def generalisation_of_fit(self) -> Generalisation:
        """The fitted generalisation; before ``fit`` scikit-learn's NotFittedError."""
        check_is_fitted(self, "generalisation_")
        return self.generalisation_

    def to_dict(self) -> dict[str, Any]:
        """The hyper-parameters and the fitted generalisation in JSON's own types."""
        return {
            "hyper": {k: list(v) if isinstance(v, tuple) else v for k, v in self.get_params(deep=False).items()},
            "columns_by_name": hasattr(self, "feature_names_in_"),
            "classes": self.classes_.tolist() if hasattr(self, "classes_") else [],
            **self.generalisation_of_fit.to_dict(),
        }

    @classmethod
    def from_dict(cls, held: Mapping[str, Any]) -> Self:
        """The fitted minimizer that ``to_dict`` gave."""
        hyper: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in held["hyper"].items()}
        made = cls(**hyper)
        made.generalisation_ = Generalisation.from_dict(held)
        made.n_features_in_ = len(made.generalisation_.parts)
        made.classes_ = np.asarray(held["classes"])
        if held["columns_by_name"]:
            made.feature_names_in_ = np.array([c.name for c in made.generalisation_.columns], dtype=object)
        return made

    @abstractmethod
    def _minimize(self, records: Records, rng: np.random.Generator) -> Sequence[Part]:
        """One coarser form an attribute; the input has been checked."""


def class_codes(y: Any, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The target as codes from 0, and the classes in order.

    Raises:
        BadInput: there is no target, its length is not n, a value is missing, or it holds measurements, not classes.
    """
    if y is None:
        raise BadInput("y is missing: a generalisation is fitted for a target; give one class a record")
    held = np.asarray(y)
    if held.ndim == 2 and held.shape[1] == 1:
        held = held[:, 0]
    if held.ndim != 1 or len(held) != n:
        raise BadInput(f"y should have one class for each of the {n} records, not shape {held.shape}")
    absent = np.flatnonzero([missing(value) for value in held.tolist()])
    if len(absent):
        raise BadInput(f"y row {absent[0]}: the class is missing; drop the row")
    if held.dtype.kind == "O":
        held = held.astype(str) if all(isinstance(v, str) for v in held.tolist()) else held
    if held.dtype.kind == "f" and (held != np.floor(held)).any():
        raise BadInput("y holds measurements, not classes; cut it into classes first")
    classes, codes = np.unique(held, return_inverse=True)
    return codes.astype(np.int64), classes


def _with_usual(part: Part, codes: np.ndarray) -> Part:
    """The part, its usual bucket the one that most records of the fit fall into."""
    if isinstance(part, Intervals):
        return part
    counts = np.bincount(part.buckets(codes), minlength=part.size)
    return Groups(part.column, part.mapping, int(counts.argmax()))


def one_bucket(column: Column) -> Part:
    """The attribute not collected at all."""
    return Intervals(column) if column.continuous else Groups(column, (0,) * len(column.categories or ()))


def full_resolution(records: Records, j: int, buckets: int = 100) -> Part:
    """The attribute as it is: every category, or that many quantile buckets of a continuous one."""
    column = records.columns[j]
    if not column.continuous:
        return Groups(column, tuple(range(len(column.categories or ()))))
    return quantile_buckets(records, j, buckets)


def quantile_buckets(records: Records, j: int, buckets: int) -> Intervals:
    """A continuous attribute in buckets of about as many records each; equal borders are merged."""
    inner = np.linspace(0, 1, buckets + 1)[1:-1]
    borders = np.unique(np.quantile(records.values[:, j], inner)) if len(inner) else np.empty(0)
    column = records.columns[j]
    return Intervals(column, tuple(float(b) for b in borders if b > column.low))


def one_hot_full(records: Records, columns: Sequence[int] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Records at full resolution for a model: numbers scaled to [0, 1], categories one-hot.

    Returns:
        (n, m) values and (m,) the attribute each of them belongs to.
    """
    blocks, owner = [], []
    for j in range(len(records.columns)) if columns is None else columns:
        column = records.columns[j]
        if column.continuous:
            block = records.scaled(j)[:, None]
        else:
            codes = records.values[:, j].astype(np.int64)
            block = (codes[:, None] == np.arange(len(column.categories or ()))).astype(np.float64)
        blocks.append(block)
        owner += [j] * block.shape[1]
    if not blocks:
        return np.zeros((len(records.values), 0)), np.zeros(0, dtype=np.int64)
    return np.concatenate(blocks, axis=1), np.array(owner, dtype=np.int64)
