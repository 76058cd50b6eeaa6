"""What a judge replied, as a number."""

from __future__ import annotations

import re

NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?")


def first_number(reply: str, low: float, high: float) -> float | None:
    """The first number of a reply, brought into [low, high]; None if there is none.

    >>> first_number("Score: 7/10", 0, 10), first_number("12", 0, 10), first_number("good", 0, 10)
    (7.0, 10.0, None)
    """
    found = NUMBER.search(reply)
    return None if found is None else float(min(high, max(low, float(found.group()))))
