"""What an adversary makes of generalised records: the attacks that measure a minimizer's risk.

From Principle to Practice: Vertical Data Minimization for Machine Learning (2023), Sections 3 and 7, attacks A1 to A8.
Every attack learns on auxiliary full-resolution records, then guesses about victims from their coarser form. Its error
is 1 - accuracy: 0 means that it knows everything. The error is empirical and bounded by the attack's own strength; it
is no guarantee such as differential privacy gives.

A continuous attribute is guessed as the middle of one of several equal intervals, and hit if that is near enough: of 20
and within 0.05 of its range unless told otherwise.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from polyculture.errors import BadInput, unknown
from polyculture.privacy.base import Minimizer, Records, one_hot_full
from polyculture.privacy.classifier import TwoLayerNetwork, probabilities
from polyculture.privacy.columns import positions
from polyculture.privacy.generalisation import Groups, Intervals, Part


@dataclass(frozen=True)
class Risk:
    """What an attack achieved.

    Args:
        error: adversarial error, in [0, 1]; high is private.
        per_attribute: the error for each attribute that was attacked.
        details: what else the attack counted.
    """

    error: float
    per_attribute: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, float] = field(default_factory=dict)


class Attack:
    """A way to learn more than the coarser form was meant to tell."""

    @abstractmethod
    def risk(self, minimizer: Minimizer, auxiliary: Any, victims: Any) -> Risk:
        """Attack a fitted minimizer.

        Args:
            minimizer: what the victims' records were generalised with.
            auxiliary: full-resolution records that the adversary learns from, a DataFrame or array as ``fit`` took.
            victims: full-resolution records to be guessed; the attack sees them as the minimizer makes them.

        Raises:
            BadInput: the records do not fit the minimizer, or a parameter is out of range.
        """


@dataclass(frozen=True)
class Reconstruction(Attack):
    """A1 to A6: guess each sensitive attribute from the coarser record, and from what else is known in clear.

    Source: Vertical Data Minimization (2023), Sections 3 and 7.

    Args:
        knows: what the adversary sees at full resolution besides the coarser record: "nothing" (A1), "non-sensitive"
            attributes (A3), "all-but-target" (A4), or "some-sensitive" (A5): the non-sensitive and the
            ``n_sensitive`` sensitive ones that are easiest to guess.
        n_sensitive: how many sensitive attributes are known with "some-sensitive".
        share: only the most certain share of the guesses counts (A2), in (0, 1].
        compatible: whether it only guesses values that lie in the record's bucket.
        intervals: in how many equal parts a continuous attribute is guessed.
        near: a guess of a continuous attribute counts if it is off by less, as a share of the range.
        others: further minimizers whose coarser form of the same records it sees too (A6).
        model: scikit-learn classifier it learns with; None is a :class:`TwoLayerNetwork`.
    """

    knows: Literal["nothing", "non-sensitive", "all-but-target", "some-sensitive"] = "nothing"
    n_sensitive: int = 1
    share: float = 1.0
    compatible: bool = False
    intervals: int = 20
    near: float = 0.05
    others: tuple[Minimizer, ...] = ()
    model: Any = None

    def risk(self, minimizer: Minimizer, auxiliary: Any, victims: Any) -> Risk:
        """One minus the share of victims whose attribute is guessed, averaged over the sensitive attributes."""
        if not 0 < self.share <= 1:
            raise BadInput(f"share = {self.share}, but it should be above 0 and at most 1")
        if self.intervals < 1 or self.near <= 0:
            raise BadInput(f"intervals = {self.intervals} should be at least 1 and near = {self.near} above 0")
        if self.n_sensitive < 0:
            raise BadInput(f"n_sensitive = {self.n_sensitive}, but it should be at least 0")
        known, asked = _View.of(minimizer, auxiliary, self.others), _View.of(minimizer, victims, self.others)
        clear = self._clear(known)
        errors = {
            known.records.columns[j].name: 1 - float(np.mean(self._hits(known, asked, j, clear[j])))
            for j in known.records.sensitive
        }
        return Risk(float(np.mean(list(errors.values()))), errors)

    def _clear(self, known: _View) -> dict[int, list[int]]:
        """Which attributes are known in clear when each sensitive one is guessed."""
        sensitive, everything = list(known.records.sensitive), range(len(known.records.columns))
        public = [j for j in everything if j not in sensitive]
        if self.knows == "nothing":
            return {j: [] for j in sensitive}
        if self.knows == "non-sensitive":
            return dict.fromkeys(sensitive, public)
        if self.knows == "all-but-target":
            return {j: [i for i in everything if i != j] for j in sensitive}
        if self.knows != "some-sensitive":
            raise unknown(
                "value of knows", self.knows, ("nothing", "non-sensitive", "all-but-target", "some-sensitive")
            )
        ease = [float(np.mean(self._hits(known, known, j, [], everyone=True))) for j in sensitive]
        easiest = [sensitive[i] for i in np.argsort(-np.array(ease), kind="stable")]
        return {j: sorted(public + [i for i in easiest if i != j][: self.n_sensitive]) for j in sensitive}

    def _hits(self, known: _View, asked: _View, j: int, clear: Sequence[int], *, everyone: bool = False) -> np.ndarray:
        """Whether attribute j was guessed, for each victim that counts."""
        column = known.records.columns[j]
        n_codes = self.intervals if column.continuous else len(column.categories or ())
        codes = _codes(known.records, j, self.intervals)
        model = TwoLayerNetwork() if self.model is None else self.model
        learn = codes >= 0
        p = probabilities(model, known.seen(clear)[learn], codes[learn], asked.seen(clear), n_codes)
        if self.compatible:
            p = _only_compatible(p, asked, j)
        guess, certainty = p.argmax(axis=1), p.max(axis=1)
        if column.continuous:
            hits = np.abs((guess + 0.5) / self.intervals - asked.records.scaled(j)) < self.near
        else:
            hits = guess == asked.records.values[:, j]
        if everyone:
            return hits
        counted = max(1, round(self.share * len(hits)))
        return hits[np.argsort(-certainty, kind="stable")[:counted]]


@dataclass(frozen=True)
class _View:
    """Records, and what an adversary sees of them."""

    records: Records
    parts: Sequence[Sequence[Part]]
    buckets: Sequence[np.ndarray]
    z: np.ndarray

    @classmethod
    def of(cls, minimizer: Minimizer, X: Any, others: Sequence[Minimizer] = ()) -> _View:
        """Generalise records with every minimizer; they must have been fitted on the same attributes."""
        columns = minimizer.generalisation_of_fit.columns
        names = [column.name for column in columns]
        protected = positions(minimizer.sensitive, names) if len(minimizer.sensitive) else range(len(names))
        values = minimizer.generalisation_of_fit.encode(X, on_unseen=minimizer.on_unseen)
        records = Records(values, np.zeros(len(values), dtype=np.int64), columns, tuple(protected))
        found = [m.generalisation_of_fit for m in (minimizer, *others)]
        for other in found[1:]:
            if [column.name for column in other.columns] != names:
                raise BadInput("the other minimizers should be fitted on the same attributes")
        buckets = [minimizer.generalisation_of_fit.buckets(values), *(m.buckets(X) for m in others)]
        z = np.concatenate([g.one_hot(b) for g, b in zip(found, buckets, strict=True)], axis=1)
        return cls(records, [g.parts for g in found], buckets, z)

    def seen(self, clear: Sequence[int]) -> np.ndarray:
        """(n, m) the coarser form, and some attributes in clear."""
        return np.concatenate([self.z, one_hot_full(self.records, clear)[0]], axis=1)


def _codes(records: Records, j: int, intervals: int) -> np.ndarray:
    if not records.columns[j].continuous:
        return records.values[:, j].astype(np.int64)
    return np.clip((records.scaled(j) * intervals).astype(np.int64), 0, intervals - 1)


def _only_compatible(p: np.ndarray, asked: _View, j: int) -> np.ndarray:
    """Probabilities of values outside a record's bucket set to 0; where nothing is left, all inside are equal."""
    allowed = np.ones(p.shape, dtype=bool)
    for parts, buckets in zip(asked.parts, asked.buckets, strict=True):
        allowed &= _inside(parts[j], p.shape[1])[buckets[:, j]]
    p = np.where(allowed, p, 0.0)
    return np.where(p.sum(axis=1, keepdims=True) > 0, p, allowed)


def _inside(part: Part, intervals: int) -> np.ndarray:
    """(buckets, values) whether each value, or interval of values, can be in each bucket."""
    if isinstance(part, Groups):
        return np.arange(part.size)[:, None] == np.asarray(part.mapping)
    assert isinstance(part, Intervals)
    low, width = part.column.low, part.column.high - part.column.low
    borders = (np.asarray(part.borders) - low) / width if width > 0 else np.zeros(part.size - 1)
    start, stop = np.append(-np.inf, borders), np.append(borders, np.inf)
    edges = np.arange(intervals + 1) / intervals
    inside: np.ndarray = (edges[None, :-1] < stop[:, None]) & (edges[None, 1:] > start[:, None])
    return inside


@dataclass(frozen=True)
class Linkage(Attack):
    """A7: given one coarser attribute of each victim, and another of all in no order, say which belong together.

    For each victim the adversary takes the value of ``b`` that goes most often with its value of ``a`` among the
    auxiliary records and is still on offer, and one of the victims that has it. It is right if that one's
    full-resolution ``b`` is the victim's.

    Source: Vertical Data Minimization (2023), Section 7.

    Args:
        a: name or position of the attribute known of each victim.
        b: name or position of the attribute to be linked.
        n_victims: at most so many victims, drawn at random, are linked.
        random_state: seed of what is drawn.
    """

    a: str | int
    b: str | int
    n_victims: int = 1000
    random_state: int = 0

    def risk(self, minimizer: Minimizer, auxiliary: Any, victims: Any) -> Risk:
        """One minus the share of victims that are linked to their own value."""
        known, asked = _View.of(minimizer, auxiliary), _View.of(minimizer, victims)
        i, j = positions((self.a, self.b), [column.name for column in known.records.columns])
        if self.n_victims < 1:
            raise BadInput(f"n_victims = {self.n_victims}, but it should be at least 1")
        rng = np.random.default_rng(self.random_state)
        rows = rng.permutation(len(asked.z))[: self.n_victims]
        za, zb, truth = asked.buckets[0][rows, i], asked.buckets[0][rows, j], asked.records.values[rows, j]
        counts = np.zeros((known.parts[0][i].size, known.parts[0][j].size))
        np.add.at(counts, (known.buckets[0][:, i], known.buckets[0][:, j]), 1)
        offered = np.bincount(zb, minlength=counts.shape[1]) > 0
        likeliest = np.where(offered, counts, -1).argmax(axis=1)[za]
        holders = [np.flatnonzero(zb == bucket) for bucket in range(counts.shape[1])]
        linked = np.array([rng.choice(holders[bucket]) for bucket in likeliest])
        error = 1 - float(np.mean(truth[linked] == truth))
        return Risk(error, {known.records.columns[j].name: error})


@dataclass(frozen=True)
class SinglingOut(Attack):
    """A8: find victims whose coarser record nobody else has.

    Source: Vertical Data Minimization (2023), Section 7.
    """

    def risk(self, minimizer: Minimizer, auxiliary: Any, victims: Any) -> Risk:
        """One minus the share of victims singled out; ``details`` has the smallest class, the k of k-anonymity."""
        sizes = np.array(minimizer.statistics(victims).class_sizes)
        alone = float((sizes == 1).sum() / sizes.sum())
        return Risk(1 - alone, {}, {"smallest class": float(sizes[0]), "distinct records": float(len(sizes))})
