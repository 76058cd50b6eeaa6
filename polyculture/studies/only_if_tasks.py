"""The tasks of the instruction-diversity study: which rules are trained on, and which rules or depths are tested.

"Only-IF: Revealing the Decisive Effect of Instruction Diversity on Generalization" (2024), Sections 2 to 4. Every task
turns a number of rules I and a budget of examples into a training set and tests that share nothing with it: strings
that were not trained on for rules that were ("seen"), and rules that were not ("unseen").
"""

from __future__ import annotations

import string
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Literal

import numpy as np

from polyculture.errors import BadInput, unknown
from polyculture.studies.algebra import algebra_examples, draw_identities
from polyculture.studies.budgets import budget_split, skewed_split
from polyculture.studies.examples import Example, rewriting_examples
from polyculture.studies.string_rewriting import Family, Rule, draw_restricted_rules, draw_rules

SYMBOLS = string.ascii_lowercase + string.ascii_uppercase + string.digits
NARROW_PART = 3 / 4
Draw = Callable[..., list[Example]]


@dataclass(frozen=True)
class Data:
    """One training set and its tests.

    Args:
        train: the training set.
        seen: new strings of rules that are trained on.
        unseen: strings of rules (or depths) that are not.
        no_op: No-Ops of unseen rules; empty where the task has none.
        rules: how many rules have at least one training example.
    """

    train: list[Example]
    seen: list[Example]
    unseen: list[Example]
    rules: int
    no_op: list[Example] = field(default_factory=list)

    @property
    def all(self) -> list[Example]:
        """Every example."""
        return [*self.train, *self.seen, *self.unseen, *self.no_op]


@dataclass(frozen=True)
class Task(ABC):
    """What the tasks share.

    Args:
        held_out: rules that are kept for the test.
        skew: shape of the power law by which examples are shared between rules; 1 shares evenly.
    """

    held_out: int = 60
    skew: float = 1.0
    tells: ClassVar[str] = "rules that were not trained on"
    fewest: ClassVar[int] = 1
    has_domains: ClassVar[bool] = False

    @abstractmethod
    def data(self, n_rules: int, budget: int, test_size: int, seed: int, *, narrow: bool = False) -> Data:
        """The data of one cell of a sweep; the rules of a smaller I are among those of a larger one.

        Args:
            n_rules: I, how many rules are trained on.
            budget: B, training examples in all.
            test_size: examples of each test.
            seed: of everything random.
            narrow: whether the rules come from one domain and the test from another.

        Raises:
            BadInput: there are not so many rules, or not so many examples.
        """

    def settings(self) -> dict[str, Any]:
        """What results depend on, in JSON's types."""
        return asdict(self)

    def _check(self, n_rules: int, budget: int, narrow: bool) -> None:
        if n_rules < self.fewest or budget < 1 or self.held_out < 1:
            raise BadInput(
                f"{n_rules} rules, {self.held_out} held out and {budget} examples: there should be at least "
                f"{self.fewest} rules, 1 held out and 1 example"
            )
        if narrow and not self.has_domains:
            raise BadInput("this task has no domains to keep apart")


def _gather(
    task: Task,
    draw: Draw,
    rules: Sequence[Any],
    unseen: Sequence[Any],
    budget: int,
    test_size: int,
    seed: int,
    no_op: float = 0,
) -> Data:
    """Training set and tests of rules that differ."""
    rng = np.random.default_rng([seed, 2, len(rules), budget])
    sizes = skewed_split(budget, len(rules), task.skew, rng)
    train = draw(rules, sizes, rng, no_op)
    used = [rule for rule, size in zip(rules, sizes, strict=True) if size]
    seen = draw(used, budget_split(test_size, len(used)), rng, 0.0, avoid=train)
    fixed = np.random.default_rng([seed, 3])
    even = budget_split(test_size, len(unseen))
    return Data(
        train,
        seen,
        draw(unseen, even, fixed, 0.0),
        len(used),
        draw(unseen, even, fixed, 1.0) if no_op else [],
    )


@dataclass(frozen=True)
class OnStrings(Task):
    """What the tasks of string rewriting share.

    Args:
        held_out: rules that are kept for the test.
        skew: shape of the power law by which examples are shared between rules; 1 shares evenly.
        alphabet: how many letters there are.
        length: shortest and longest string.
    """

    alphabet: int = 16
    length: tuple[int, int] = (8, 8)

    @property
    def letters(self) -> str:
        """The alphabet.

        Raises:
            BadInput: there are not so many letters.
        """
        if not 2 <= self.alphabet <= len(SYMBOLS):
            raise BadInput(f"an alphabet of {self.alphabet} letters; there can be 2 to {len(SYMBOLS)}")
        return SYMBOLS[: self.alphabet]

    def _draw(
        self, rules: Sequence[Rule], sizes: np.ndarray, rng: np.random.Generator, no_op: float, avoid: Any = ()
    ) -> list[Example]:
        return rewriting_examples(rules, sizes, self.letters, rng, lengths=self.length, no_op=no_op, avoid=avoid)


@dataclass(frozen=True)
class Rewriting(OnStrings):
    """Replace the first x of a string by y; with No-Ops, leave the string alone where there is no x.

    Args:
        held_out: rules that are kept for the test.
        skew: shape of the power law by which examples are shared between rules; 1 shares evenly.
        alphabet: how many letters there are.
        pattern: shortest and longest x and y.
        length: shortest and longest string.
        no_op: share of training examples that are No-Ops.
    """

    pattern: tuple[int, int] = (1, 1)
    no_op: float = 0.0
    has_domains: ClassVar[bool] = True

    def data(self, n_rules: int, budget: int, test_size: int, seed: int, *, narrow: bool = False) -> Data:
        """See :meth:`Task.data`; narrow rules take x from three quarters of the letters, the test from the rest."""
        self._check(n_rules, budget, narrow)
        letters = self.letters
        rng = np.random.default_rng([seed, 0])
        if narrow:
            mixed = "".join(letters[i] for i in rng.permutation(len(letters)))
            cut = round(NARROW_PART * len(letters))
            rules = draw_rules(n_rules, letters, rng, x_letters=mixed[:cut], lengths=self.pattern)
            most = (len(letters) - cut) * (len(letters) - 1) if self.pattern == (1, 1) else self.held_out
            unseen = draw_rules(min(self.held_out, most), letters, rng, x_letters=mixed[cut:], lengths=self.pattern)
        else:
            drawn = draw_rules(self.held_out + n_rules, letters, rng, lengths=self.pattern)
            unseen, rules = drawn[: self.held_out], drawn[self.held_out :]
        return _gather(self, self._draw, rules, unseen, budget, test_size, seed, self.no_op)


@dataclass(frozen=True)
class Conditional(Rewriting):
    """Rewriting in which a share of the training examples are No-Ops: the model must first see whether x is there."""

    no_op: float = 0.3


@dataclass(frozen=True)
class Restricted(OnStrings):
    """Rewriting with x and y of one narrow family at high strength, tested on the same family at low strength.

    Args:
        held_out: rules of low strength to test on.
        skew: shape of the power law by which examples are shared between rules; 1 shares evenly.
        alphabet: how many letters there are.
        family: repeat (aaabbb), periodic (ababab), mirror (abbaab), or mixture, all three.
        block_length: letters of a block.
        strengths: of the rules that are trained on.
        test_strengths: of those that are tested.
        length: shortest and longest string.
    """

    family: Family = "mixture"
    block_length: int = 2
    strengths: tuple[int, ...] = (3, 4)
    test_strengths: tuple[int, ...] = (1, 2)
    length: tuple[int, int] = (10, 12)
    tells: ClassVar[str] = "the same families at strengths that were not trained on"

    def data(self, n_rules: int, budget: int, test_size: int, seed: int, *, narrow: bool = False) -> Data:
        """See :meth:`Task.data`."""
        self._check(n_rules, budget, narrow)
        letters = self.letters
        rng = np.random.default_rng([seed, 0])
        common: dict[str, Any] = {"family": self.family, "block_length": self.block_length}
        unseen = draw_restricted_rules(self.held_out, letters, rng, strengths=self.test_strengths, **common)
        rules = draw_restricted_rules(n_rules, letters, rng, strengths=self.strengths, avoid=unseen, **common)
        return _gather(self, self._draw, rules, unseen, budget, test_size, seed)


@dataclass(frozen=True)
class Algebra(Task):
    """Apply an algebraic identity where its left-hand side lies hidden in an expression.

    Args:
        held_out: identities that are kept for the test.
        skew: shape of the power law by which examples are shared between rules; 1 shares evenly.
        depth: of the expression around the pattern.
        inner_depth: largest depth of what the pattern's placeholders stand for.
        longest: most symbols of a side of an identity.
    """

    held_out: int = 20
    depth: int = 2
    inner_depth: int = 1
    longest: int = 9

    def data(self, n_rules: int, budget: int, test_size: int, seed: int, *, narrow: bool = False) -> Data:
        """See :meth:`Task.data`."""
        self._check(n_rules, budget, narrow)
        rng = np.random.default_rng([seed, 0])
        drawn = draw_identities(self.held_out + n_rules, rng, longest=self.longest)
        return _gather(self, self._draw, drawn[self.held_out :], drawn[: self.held_out], budget, test_size, seed)

    def _draw(
        self, rules: Sequence[Any], sizes: np.ndarray, rng: np.random.Generator, no_op: float, avoid: Any = ()
    ) -> list[Example]:
        return algebra_examples(rules, sizes, rng, depth=self.depth, inner_depth=self.inner_depth, avoid=avoid)


@dataclass(frozen=True)
class Specialist(Algebra):
    """A specialist of a few identities must apply them in deeper expressions than it was trained on.

    Of the budget a share goes to I other, diverse identities; the rest, or all where I is 0, to the specialist's own.
    Unseen means deeper here: the same identities in expressions of ``test_depth``.

    Args:
        held_out: identities the specialist is for (R_spec).
        skew: shape of the power law by which the diverse examples are shared between rules; 1 shares evenly.
        depth: of the expressions that are trained on.
        inner_depth: largest depth of what the pattern's placeholders stand for.
        longest: most symbols of a side of an identity.
        test_depth: of the expressions that are tested, above ``depth``.
        diverse: share of the budget that goes to the other identities (R_diver).
    """

    held_out: int = 4
    depth: int = 1
    test_depth: int = 3
    diverse: float = 0.5
    tells: ClassVar[str] = "its own rules in deeper expressions than it was trained on"
    fewest: ClassVar[int] = 0

    def data(self, n_rules: int, budget: int, test_size: int, seed: int, *, narrow: bool = False) -> Data:
        """See :meth:`Task.data`.

        Raises:
            BadInput: as there, or diverse is not a share below 1, or test_depth not above depth.
        """
        self._check(n_rules, budget, narrow)
        if not 0 <= self.diverse < 1 or self.test_depth <= self.depth:
            raise BadInput("diverse should be a share below 1, and test_depth above depth")
        drawn = draw_identities(self.held_out + n_rules, np.random.default_rng([seed, 0]), longest=self.longest)
        own, others = drawn[: self.held_out], drawn[self.held_out :]
        rng = np.random.default_rng([seed, 2, n_rules, budget])
        n_diverse = round(self.diverse * budget) if others else 0
        train = self._draw(own, budget_split(budget - n_diverse, len(own)), rng, 0.0)
        used = len(own)
        if others:
            sizes = skewed_split(n_diverse, len(others), self.skew, rng)
            train += self._draw(others, sizes, rng, 0.0)
            used += int((sizes > 0).sum())
        even = budget_split(test_size, len(own))
        seen = self._draw(own, even, rng, 0.0, avoid=train)
        deeper = algebra_examples(
            own,
            even,
            np.random.default_rng([seed, 3]),
            depth=self.test_depth,
            inner_depth=self.inner_depth,
            avoid=train,
        )
        return Data(train, seen, deeper, used)


TASKS: Mapping[str, type[Task]] = {
    "rewriting": Rewriting,
    "conditional": Conditional,
    "restricted": Restricted,
    "algebra": Algebra,
    "specialist": Specialist,
}


@dataclass(frozen=True)
class Usual:
    """What a task is studied with where nothing else is said.

    Args:
        model: which of the sequence models.
        rules: numbers of rules I.
    """

    model: Literal["encoder", "gpt2"]
    rules: tuple[int, ...]


USUAL: Mapping[str, Usual] = {
    "rewriting": Usual("encoder", (4, 30, 180)),
    "conditional": Usual("encoder", (4, 30, 180)),
    "restricted": Usual("encoder", (10, 100, 500)),
    "algebra": Usual("gpt2", (10, 20, 40)),
    "specialist": Usual("gpt2", (0, 10, 40)),
}


def make_task(name: str, **given: Any) -> Task:
    """A task by name, with the options that are given and not None.

    Raises:
        UnknownMethod: there is no such task.
        BadInput: an option is not the task's.
    """
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    kind = TASKS[name]
    known = {f.name for f in fields(kind)}
    wanted = {key: value for key, value in given.items() if value is not None}
    for key in wanted:
        if key not in known:
            raise BadInput(
                f"--{key.replace('_', '-')} is no option of task {name}; it has "
                f"{', '.join('--' + k.replace('_', '-') for k in sorted(known))}"
            )
    return kind(**wanted)
