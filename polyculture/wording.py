"""How things are said in messages and reports."""

from __future__ import annotations


def counted(number: int, what: str) -> str:
    """A number of things, in words.

    >>> counted(1, "prompt"), counted(2500, "prompt")
    ('1 prompt', '2,500 prompts')

    Args:
        number: how many there are.
        what: one of them; its plural ends in "s".
    """
    return f"{number:,} {what}" + ("" if number == 1 else "s")
