"""String rewriting, a clean model of instruction following: a rule is the instruction, the string is the input.

"Only-IF: Revealing the Decisive Effect of Instruction Diversity on Generalization" (2024), Section 2. A rule x -> y
replaces the leftmost x of a string, once; an ordered list of rules applied again and again is a Markov algorithm, which
can compute whatever is computable.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from polyculture.errors import BadInput, unknown

Family = Literal["repeat", "periodic", "mirror", "mixture"]
ENUMERABLE = 100_000
"""Up to how many rules are listed and shuffled instead of drawn one by one."""


@dataclass(frozen=True, order=True)
class Rule:
    """Replace x by y.

    Args:
        x: what is looked for, plain text of at least one character.
        y: what takes its place; empty deletes x.
        terminal: whether a Markov algorithm stops after it.

    Raises:
        BadInput: x is empty.
    """

    x: str
    y: str
    terminal: bool = False

    def __post_init__(self) -> None:
        _check(self.x)

    def applies(self, s: str) -> bool:
        """Whether x occurs in s."""
        return self.x in s

    def apply(self, s: str) -> str:
        """The string with its leftmost x replaced once, or unchanged where there is none (a No-Op)."""
        return s.replace(self.x, self.y, 1)


def rewrite_once(s: str, x: str, y: str) -> str:
    """Replace the leftmost x of s by y, once; s unchanged where x does not occur.

    Args:
        s: the string.
        x: what to look for, not empty.
        y: what takes its place; may be empty.

    Raises:
        BadInput: x is empty.

    >>> rewrite_once("mississippi", "iss", "art"), rewrite_once("aaaa", "aa", "a"), rewrite_once("canada", "iss", "art")
    ('martissippi', 'aaa', 'canada')
    """
    _check(x)
    return s.replace(x, y, 1)


@dataclass(frozen=True)
class MarkovRun:
    """What a Markov algorithm did.

    Args:
        trace: every string from the start to the result.
        stopped: "no rule" applied any more, a "terminal" rule was used, or "max_steps" rewrites were made.
    """

    trace: tuple[str, ...]
    stopped: Literal["no rule", "terminal", "max_steps"]

    @property
    def result(self) -> str:
        """The last string."""
        return self.trace[-1]


def run_markov(start: str, rules: Sequence[Rule], *, max_steps: int = 1000) -> MarkovRun:
    """Rewrite with the first rule that applies, at its leftmost place, until none does.

    Args:
        start: the string to begin with.
        rules: in order of precedence.
        max_steps: most rewrites; some algorithms never end.

    Raises:
        BadInput: max_steps is negative.

    >>> run_markov("aabab", [Rule("ab", "ba")]).result
    'bbaaa'
    """
    if max_steps < 0:
        raise BadInput(f"max_steps = {max_steps}, but it counts rewrites: 0 or more")
    trace = [start]
    stopped: Literal["no rule", "terminal", "max_steps"] = "max_steps"
    while True:
        rule = next((rule for rule in rules if rule.applies(trace[-1])), None)
        if rule is None:
            stopped = "no rule"
        if rule is None or len(trace) > max_steps:
            return MarkovRun(tuple(trace), stopped)
        trace.append(rule.apply(trace[-1]))
        if rule.terminal:
            return MarkovRun(tuple(trace), "terminal")


def repeat(block: str, k: int) -> str:
    """Each character k times: abc, 3 -> aaabbbccc."""
    return "".join(character * k for character in block)


def periodic(block: str, k: int) -> str:
    """The block k times: abc, 2 -> abcabc."""
    return block * k


def mirror(block: str, k: int) -> str:
    """The block and its reversal in turn, k blocks: abc, 3 -> abccbaabc."""
    return "".join(block if i % 2 == 0 else block[::-1] for i in range(k))


FAMILIES: Mapping[str, Callable[[str, int], str]] = {"repeat": repeat, "periodic": periodic, "mirror": mirror}
"""The restricted families of Section 3: at strength 1 each is the block itself."""


def families(block: str, k: int) -> dict[str, str]:
    """A block in every restricted family, at strength k.

    Args:
        block: characters.
        k: 0 or more; at 1 each is the block itself, at 0 empty.

    Raises:
        BadInput: k is negative.

    >>> families("xy", 2)
    {'repeat': 'xxyy', 'periodic': 'xyxy', 'mirror': 'xyyx'}
    """
    if k < 0:
        raise BadInput(f"strength k = {k}, but it counts repetitions: 0 or more")
    return {name: make(block, k) for name, make in FAMILIES.items()}


def draw_rules(
    n: int,
    letters: str,
    rng: np.random.Generator,
    *,
    x_letters: str | None = None,
    lengths: tuple[int, int] = (1, 1),
    avoid: Iterable[Rule] = (),
) -> list[Rule]:
    """Draw n different rules x -> y with y other than x, evenly.

    A longer list begins with the shorter one of the same seed, so that sweeps over n are nested.

    Args:
        n: how many.
        letters: the alphabet of y, and of x unless ``x_letters`` is given.
        rng: the source of randomness.
        x_letters: the letters x is made of.
        lengths: shortest and longest x and y; each length is as likely as any other where rules are drawn one by one.
        avoid: rules that may not be drawn.

    Raises:
        BadInput: there are fewer such rules than n.
    """
    short, long = lengths
    if short < 1 or long < short:
        raise BadInput(f"lengths of patterns {lengths} should be two numbers, 1 <= shortest <= longest")
    sources, banned = x_letters or letters, set(avoid)
    if n <= 0:
        return []
    space = sum(len(set(sources)) ** i for i in range(short, long + 1)) * sum(
        len(set(letters)) ** i for i in range(short, long + 1)
    )
    if space <= ENUMERABLE:
        xs, ys = _words(sources, short, long), _words(letters, short, long)
        known = [rule for x in xs for y in ys if x != y and (rule := Rule(x, y)) not in banned]
        if n > len(known):
            raise BadInput(
                f"{n} rules are asked for, but there are {len(known)}; use fewer, more letters or longer patterns"
            )
        return [known[i] for i in rng.permutation(len(known))[:n]]
    if n > space // 4:
        raise BadInput(f"{n} rules are too many for {space:,} possible ones; use more letters or longer patterns")
    found: dict[Rule, None] = {}
    while len(found) < n:
        x = _word(sources, int(rng.integers(short, long + 1)), rng)
        y = _word(letters, int(rng.integers(short, long + 1)), rng)
        if x != y and (rule := Rule(x, y)) not in banned:
            found[rule] = None
    return list(found)


def draw_restricted_rules(
    n: int,
    letters: str,
    rng: np.random.Generator,
    *,
    family: Family = "mixture",
    strengths: Sequence[int] = (3, 4),
    block_length: int = 2,
    avoid: Iterable[Rule] = (),
) -> list[Rule]:
    """Draw n different rules whose x and y belong to one family at one strength.

    Blocks have no letter twice, so that a rule of one strength is never one of another.

    Args:
        n: how many.
        letters: the alphabet.
        rng: the source of randomness.
        family: "repeat", "periodic" or "mirror", or "mixture", which draws one of the three for each rule.
        strengths: the strengths to draw from, evenly.
        block_length: letters of a block.
        avoid: rules that may not be drawn.

    Raises:
        BadInput: there are too few such rules, or the alphabet is too small for the blocks.
    """
    if family != "mixture" and family not in FAMILIES:
        raise unknown("family", family, [*FAMILIES, "mixture"])
    if not 1 <= block_length <= len(letters) or not strengths or min(strengths) < 1:
        raise BadInput("a block needs 1 letter or more, at most the alphabet's; strengths should be 1 or more")
    names, banned, found = list(FAMILIES) if family == "mixture" else [family], set(avoid), dict[Rule, None]()
    tries = 0
    while len(found) < n:
        tries += 1
        if tries > 1000 + 50 * n:
            raise BadInput(f"{n} rules are too many for blocks of {block_length} out of {len(letters)} letters")
        make = FAMILIES[names[int(rng.integers(len(names)))]]
        k = int(strengths[int(rng.integers(len(strengths)))])
        x, y = (make("".join(letters[i] for i in rng.permutation(len(letters))[:block_length]), k) for _ in range(2))
        if x != y and (rule := Rule(x, y)) not in banned:
            found[rule] = None
    return list(found)


def split_rules(
    rules: Sequence[Rule], held_out: int, rng: np.random.Generator, *, by: Literal["rule", "x"] = "rule"
) -> tuple[list[Rule], list[Rule]]:
    """Training rules and held-out rules that share nothing: no rule, or (by "x") no left-hand side.

    Args:
        rules: those to split; one that is there twice counts once.
        held_out: how many rules, or left-hand sides, to hold out.
        rng: the source of randomness.
        by: what may not be on both sides.

    Raises:
        BadInput: nothing would be left on one side.
    """
    if by not in ("rule", "x"):
        raise unknown("way to split rules", by, ("rule", "x"))
    different = list(dict.fromkeys(rules))
    keys = [rule if by == "rule" else rule.x for rule in different]
    units = list(dict.fromkeys(keys))
    if not 0 < held_out < len(units):
        raise BadInput(f"{held_out} of {len(units)} can't be held out; both sides need at least one")
    out = {units[i] for i in rng.permutation(len(units))[:held_out]}
    return (
        [rule for rule, key in zip(different, keys, strict=True) if key not in out],
        [rule for rule, key in zip(different, keys, strict=True) if key in out],
    )


def _check(x: str) -> None:
    if x == "":
        raise BadInput("a rule needs an x to look for, but it is empty; y may be empty, which deletes x")


def _words(letters: str, short: int, long: int) -> list[str]:
    different = "".join(dict.fromkeys(letters))
    return ["".join(word) for i in range(short, long + 1) for word in itertools.product(different, repeat=i)]


def _word(letters: str, length: int, rng: np.random.Generator) -> str:
    return "".join(letters[i] for i in rng.integers(len(letters), size=length))
