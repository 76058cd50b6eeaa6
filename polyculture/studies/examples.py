"""Examples of a rule: strings with it in them, strings without (No-Ops), none of them twice.

"Only-IF: Revealing the Decisive Effect of Instruction Diversity on Generalization" (2024), Section 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from polyculture.errors import BadInput
from polyculture.studies.string_rewriting import Rule, rewrite_once

TRIES = 200
"""Draws an example may take before the strings of its kind count as used up."""


@dataclass(frozen=True)
class Example:
    """An input, an instruction, and the output that follows it.

    Args:
        s: the input.
        x: what the instruction replaces.
        y: what it puts there.
        output: s after the instruction.
        no_op: whether x is absent, and the output the input.
    """

    s: str
    x: str
    y: str
    output: str
    no_op: bool = False


def rewriting_examples(
    rules: Sequence[Rule],
    sizes: Sequence[int] | np.ndarray,
    letters: str,
    rng: np.random.Generator,
    *,
    lengths: tuple[int, int] = (8, 8),
    no_op: float = 0.0,
    avoid: Iterable[Example] = (),
) -> list[Example]:
    """Draw examples of rules: random strings, x put in at a random place, or (No-Ops) drawn again until it is absent.

    Args:
        rules: the instructions.
        sizes: (I,) examples of each.
        letters: the alphabet of the strings.
        rng: the source of randomness.
        lengths: shortest and longest string, each length as likely as any other.
        no_op: share of all examples that are No-Ops, rounded to whole examples and scattered over the rules.
        avoid: examples that may not be drawn, such as those of the training set.

    Returns:
        The examples, in random order; no (string, rule) is there twice.

    Raises:
        BadInput: a pattern is longer than the strings, or there are fewer such strings than are asked for.
    """
    if not 0 <= no_op <= 1:
        raise BadInput(f"no_op = {no_op}, but it is a share of the examples: 0 to 1")
    short, long = lengths
    if not 1 <= short <= long:
        raise BadInput(f"lengths of strings {lengths} should be two numbers, 1 <= shortest <= longest")
    of_rule = np.repeat(np.arange(len(rules)), np.asarray(sizes, dtype=np.int64))
    total = len(of_rule)
    without = np.zeros(total, dtype=bool)
    without[rng.permutation(total)[: round(no_op * total)]] = True
    used = {(e.s, e.x, e.y) for e in avoid}
    symbols = np.array(list(letters))
    found = []
    for i in rng.permutation(total):
        rule, absent = rules[of_rule[i]], bool(without[i])
        if len(rule.x) > short and not absent:
            raise BadInput(f"x '{rule.x}' does not fit strings of {short}; use longer strings or shorter patterns")
        for _ in range(TRIES):
            s = "".join(symbols[rng.integers(len(symbols), size=int(rng.integers(short, long + 1)))])
            if not absent:
                at = int(rng.integers(len(s) - len(rule.x) + 1))
                s = s[:at] + rule.x + s[at + len(rule.x) :]
            if (rule.x in s) != absent and (s, rule.x, rule.y) not in used:
                break
        else:
            kind = "without" if absent else "with"
            raise BadInput(
                f"no new string {kind} '{rule.x}' was found in {TRIES} draws; use longer strings or a smaller budget"
            )
        used.add((s, rule.x, rule.y))
        found.append(Example(s, rule.x, rule.y, rewrite_once(s, rule.x, rule.y), absent))
    return found
