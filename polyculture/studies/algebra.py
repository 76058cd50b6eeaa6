"""Algebraic identities on random expression trees: instructions that speak of structure, not of characters.

"Only-IF: Revealing the Decisive Effect of Instruction Diversity on Generalization" (2024), the abstraction variant: a
rule such as A^2 - B^2 = (A + B)(A - B) is applied to an expression in which its left-hand side lies hidden, with
expressions in the place of A and B. Expressions are written in prefix notation, a character a symbol: ``-²p²q`` is
p^2 - q^2. The identities are made here, by applying the laws of arithmetic to random patterns, so that there are as
many as a study needs and all of them are true.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain

import numpy as np

from polyculture.errors import BadInput
from polyculture.studies.examples import Example

ARITY = {"+": 2, "-": 2, "*": 2, "²": 1}
PLACEHOLDERS = "ABC"
LEAVES = "pqrst2345"
TRIES = 200
LAWS = (
    ("+AB", "+BA"),
    ("*AB", "*BA"),
    ("+A+BC", "++ABC"),
    ("*A*BC", "**ABC"),
    ("*A+BC", "+*AB*AC"),
    ("*A-BC", "-*AB*AC"),
    ("-A+BC", "--ABC"),
    ("-A-BC", "+-ABC"),
    ("+A-BC", "-+ABC"),
    ("²A", "*AA"),
    ("²*AB", "*²A²B"),
    ("-²A²B", "*+AB-AB"),
    ("²+AB", "+²A+*2*AB²B"),
    ("²-AB", "+²A-²B*2*AB"),
    ("+AA", "*2A"),
)
"""What every identity is made of, to be read in both directions."""


@dataclass(frozen=True)
class Expression:
    """A tree: an operator with its operands, or a leaf without any.

    Args:
        symbol: one of + - * ² or a leaf: a variable, a digit, or a placeholder A, B, C.
        operands: as many as the operator takes.
    """

    symbol: str
    operands: tuple[Expression, ...] = ()

    def __str__(self) -> str:
        """Prefix notation."""
        return self.symbol + "".join(map(str, self.operands))

    @property
    def infix(self) -> str:
        """As people write it, every operation in brackets.

        >>> parse("-²p²q").infix
        '(p² - q²)'
        """
        if not self.operands:
            return self.symbol
        if self.symbol == "²":
            return f"{self.operands[0].infix}²"
        return f"({self.operands[0].infix} {self.symbol} {self.operands[1].infix})"

    @property
    def depth(self) -> int:
        """Operators from the root to the deepest leaf; 0 for a leaf."""
        return 1 + max(e.depth for e in self.operands) if self.operands else 0

    def places(self) -> Iterator[tuple[int, ...]]:
        """The places of all sub-expressions, the root first, then from left to right."""
        yield ()
        for i, operand in enumerate(self.operands):
            yield from ((i, *place) for place in operand.places())

    def at(self, place: Sequence[int]) -> Expression:
        """The sub-expression at a place."""
        found = self
        for i in place:
            found = found.operands[i]
        return found

    def put(self, place: Sequence[int], other: Expression) -> Expression:
        """The expression with another one at a place.

        Args:
            place: which operand at each depth; empty is the whole.
            other: what comes there.
        """
        if not place:
            return other
        i = place[0]
        changed = self.operands[i].put(place[1:], other)
        return Expression(self.symbol, (*self.operands[:i], changed, *self.operands[i + 1 :]))

    def fill(self, values: Mapping[str, Expression]) -> Expression:
        """The expression with leaves replaced, such as placeholders by what they stand for."""
        if not self.operands:
            return values.get(self.symbol, self)
        return Expression(self.symbol, tuple(e.fill(values) for e in self.operands))

    def value(self, leaves: Mapping[str, int]) -> int:
        """What it comes to when variables and placeholders are numbers."""
        if not self.operands:
            return int(self.symbol) if self.symbol.isdigit() else leaves[self.symbol]
        held = [e.value(leaves) for e in self.operands]
        if self.symbol == "²":
            return held[0] ** 2
        return {"+": held[0] + held[1], "-": held[0] - held[1], "*": held[0] * held[1]}[self.symbol]


def parse(text: str) -> Expression:
    """Read prefix notation.

    Raises:
        BadInput: operands are missing, or there are too many.
    """
    found, rest = _parse(text, text)
    if rest:
        raise BadInput(f"'{text}' goes on after its expression ends: '{rest}'")
    return found


@dataclass(frozen=True)
class Identity:
    """Two patterns that are equal whatever their placeholders stand for; it rewrites the left to the right.

    Args:
        left: what is looked for.
        right: what takes its place; it has no placeholder that the left lacks.
    """

    left: Expression
    right: Expression

    @classmethod
    def of(cls, left: str, right: str) -> Identity:
        """An identity from two texts in prefix notation.

        Args:
            left: what is looked for.
            right: what takes its place.

        Raises:
            BadInput: a text is no expression, or the right has a placeholder that the left lacks.
        """
        lost = sorted(set(PLACEHOLDERS) & (set(right) - set(left)))
        if lost:
            raise BadInput(f"{left} = {right}: '{lost[0]}' is not on the left, so nothing says what it stands for")
        return cls(parse(left), parse(right))

    def match(self, expression: Expression) -> dict[str, Expression] | None:
        """What the placeholders stand for where the whole expression has the form of the left; None where not."""
        found: dict[str, Expression] = {}
        return found if _match(self.left, expression, found) else None

    def rewrite(self, expression: Expression) -> Expression | None:
        """The expression with the first match of the left, in prefix order, rewritten; None without a match."""
        for place in expression.places():
            values = self.match(expression.at(place))
            if values is not None:
                return expression.put(place, self.right.fill(values))
        return None


def draw_identities(
    n: int, rng: np.random.Generator, *, longest: int = 9, avoid: Iterable[Identity] = ()
) -> list[Identity]:
    """Draw n different true identities: a random pattern, and what one to three laws of arithmetic make of it.

    Two that differ by the names of their placeholders are one, and so are the two directions of an equation. A longer
    list begins with the shorter one of the same seed.

    Args:
        n: how many.
        rng: the source of randomness.
        longest: most symbols of a side.
        avoid: identities that may not be drawn.

    Raises:
        BadInput: so many were not found.
    """
    laws = _laws()
    seen = {key for identity in avoid for key in _keys(identity)}
    found: list[Identity] = []
    for _ in range(1000 + TRIES * n):
        if len(found) >= n:
            return found
        left = random_expression(int(rng.integers(1, 4)), rng, leaves=PLACEHOLDERS)
        right = left
        for _ in range(int(rng.integers(1, 4))):
            options = [
                right.put(place, law.right.fill(values))
                for place in right.places()
                for law in laws
                if (values := law.match(right.at(place))) is not None
            ]
            if not options:
                break
            right = options[int(rng.integers(len(options)))]
        if left == right or max(len(str(left)), len(str(right))) > longest:
            continue
        identity = _named_in_order(Identity(left, right))
        if str(identity.left) + "=" + str(identity.right) not in seen:
            seen |= set(_keys(identity))
            found.append(identity)
    raise BadInput(f"{n} identities of at most {longest} symbols were not found, only {len(found)}; allow longer ones")


def random_expression(depth: int, rng: np.random.Generator, *, leaves: str = LEAVES) -> Expression:
    """A random tree of exactly this depth: one operand of every operator is as deep as can be, the other at most.

    Args:
        depth: operators from the root to the deepest leaf, 0 or more.
        rng: the source of randomness.
        leaves: the symbols of leaves.
    """
    if depth == 0:
        return Expression(leaves[int(rng.integers(len(leaves)))])
    symbol = ("+", "-", "*", "+", "-", "*", "²")[int(rng.integers(7))]
    deep = random_expression(depth - 1, rng, leaves=leaves)
    if ARITY[symbol] == 1:
        return Expression(symbol, (deep,))
    other = random_expression(int(rng.integers(depth)), rng, leaves=leaves)
    return Expression(symbol, (deep, other) if rng.random() < 0.5 else (other, deep))


def algebra_examples(
    identities: Sequence[Identity],
    sizes: Sequence[int] | np.ndarray,
    rng: np.random.Generator,
    *,
    depth: int = 2,
    inner_depth: int = 1,
    avoid: Iterable[Example] = (),
) -> list[Example]:
    """Draw examples of identities: an expression with the left-hand side in the place of a random leaf.

    The output is the expression with the first match of the identity rewritten, as :meth:`Identity.rewrite` does.

    Args:
        identities: the instructions.
        sizes: (I,) examples of each.
        rng: the source of randomness.
        depth: of the expression around the left-hand side.
        inner_depth: largest depth of what placeholders stand for.
        avoid: examples that may not be drawn.

    Returns:
        The examples, in random order; no (expression, identity) is there twice.

    Raises:
        BadInput: a depth is negative, or there are fewer such expressions than are asked for.
    """
    if min(depth, inner_depth) < 0:
        raise BadInput(f"depths of {depth} and {inner_depth}: a depth counts operators, 0 or more")
    of_rule = np.repeat(np.arange(len(identities)), np.asarray(sizes, dtype=np.int64))
    used = {(e.s, e.x, e.y) for e in avoid}
    found = []
    for i in rng.permutation(of_rule):
        identity = identities[i]
        x, y = str(identity.left), str(identity.right)
        for _ in range(TRIES):
            values = {name: random_expression(int(rng.integers(inner_depth + 1)), rng) for name in PLACEHOLDERS}
            around = random_expression(depth, rng)
            ends = [place for place in around.places() if not around.at(place).operands]
            expression = around.put(ends[int(rng.integers(len(ends)))], identity.left.fill(values))
            s = str(expression)
            if (s, x, y) not in used:
                break
        else:
            raise BadInput(f"no new expression for {x} = {y} was found in {TRIES} draws; use deeper ones")
        rewritten = identity.rewrite(expression)
        assert rewritten is not None, "the left-hand side was put in"
        used.add((s, x, y))
        found.append(Example(s, x, y, str(rewritten)))
    return found


@cache
def _laws() -> tuple[Identity, ...]:
    """The laws, in both directions; none of them loses a placeholder."""
    return tuple(chain.from_iterable((Identity.of(a, b), Identity.of(b, a)) for a, b in LAWS))


def _parse(text: str, whole: str) -> tuple[Expression, str]:
    if not text:
        raise BadInput(f"'{whole}' ends before its expression does; + - * take two operands, ² one")
    symbol, rest = text[0], text[1:]
    operands = []
    for _ in range(ARITY.get(symbol, 0)):
        operand, rest = _parse(rest, whole)
        operands.append(operand)
    return Expression(symbol, tuple(operands)), rest


def _match(pattern: Expression, expression: Expression, found: dict[str, Expression]) -> bool:
    if pattern.symbol in PLACEHOLDERS:
        return found.setdefault(pattern.symbol, expression) == expression
    return (
        pattern.symbol == expression.symbol
        and len(pattern.operands) == len(expression.operands)
        and all(_match(p, e, found) for p, e in zip(pattern.operands, expression.operands, strict=True))
    )


def _named_in_order(identity: Identity) -> Identity:
    """The identity with its placeholders named A, B, C in the order in which the left has them."""
    order = list(dict.fromkeys(c for c in str(identity.left) if c in PLACEHOLDERS))
    names = {old: Expression(new) for old, new in zip(order, PLACEHOLDERS, strict=False)}
    return Identity(identity.left.fill(names), identity.right.fill(names))


def _keys(identity: Identity) -> tuple[str, str]:
    """An identity and its reversal as texts."""
    one = _named_in_order(identity)
    other = _named_in_order(Identity(identity.right, identity.left))
    return f"{one.left}={one.right}", f"{other.left}={other.right}"
