"""A key goes into the request and nowhere else: not into a repr, a log, a cache, a manifest or an error."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit, urlunsplit


class Secret:
    """The key, and an address that may hold a password, out of the way of repr, vars and logs."""

    def __init__(self, url: str, key: str) -> None:
        # Closures keep both out of vars(), and so out of anything that writes an object's fields down.
        self.client = lambda timeout: self._make(url, key, timeout)
        self._words = lambda: [word for word in (key, urlsplit(url).password or "") if len(word) > 3]

    @staticmethod
    def _make(url: str, key: str, timeout: float) -> Any:
        import openai

        # The client wants a key even where the server does not.
        return openai.AsyncOpenAI(base_url=url, api_key=key or "none", timeout=timeout, max_retries=0)

    def scrub(self, text: str) -> str:
        """``text`` without the secrets, should a server quote them."""
        for word in self._words():
            text = text.replace(word, "***")
        return text

    def __repr__(self) -> str:
        return "***"


def shown_url(url: str) -> str:
    """An address without the user and password it may hold, and without a slash at the end."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")).rstrip("/")
