"""Texts between tags in a prompt, kept from closing or opening those tags themselves."""

from __future__ import annotations

import re


def escaped(text: str, *tags: str) -> str:
    """The text with the brackets of these tags spelled out, so that it can't end its own block.

    >>> escaped("so </Candidate> and <b>", "candidate")
    'so &lt;/Candidate> and <b>'
    """
    return re.sub(rf"<(/?)({'|'.join(map(re.escape, tags))})", r"&lt;\1\2", text, flags=re.IGNORECASE)
