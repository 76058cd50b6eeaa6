"""Which failures of an endpoint are worth another try, when, and what to say of those that are not."""

from __future__ import annotations

from collections.abc import Callable

from polyculture.errors import BadInput, ModelFailure
from polyculture.llm.replies import Malformed

RETRIED = (408, 409, 429)
"""Statuses worth another try, with those from 500 up."""


def worth_retrying(error: BaseException) -> bool:
    """Whether the same request may fare better: drops, time-outs, answers not whole, 408, 409, 429 and 5xx."""
    import openai

    status = status_of(error)
    if status is not None:
        return status in RETRIED or status >= 500
    # The client hands on json's ValueError for a body cut short.
    kinds = (openai.APIConnectionError, openai.APIResponseValidationError, Malformed, TimeoutError, ValueError)
    return isinstance(error, kinds) and not isinstance(error, BadInput)


def never_connected(error: BaseException | None) -> bool:
    """Whether nothing listens at the address, or it has no such host."""
    return type(getattr(error, "__cause__", None)).__name__ == "ConnectError"


def status_of(error: BaseException | None) -> int | None:
    """The HTTP status of the client's error, or None if the failure came before one."""
    return getattr(error, "status_code", None)


def retry_after(error: BaseException | None) -> float | None:
    """Seconds to wait that the server asked for, as a number or a date, or None."""
    from email.utils import parsedate_to_datetime
    from time import time

    said = getattr(getattr(error, "response", None), "headers", {}).get("retry-after")
    if said is None:
        return None
    try:
        return max(0.0, float(said))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - time())
    except (ValueError, TypeError):
        return None


def failure(place: str, error: BaseException | None, why: str, scrub: Callable[[str], str]) -> ModelFailure:
    """One line: where, why, and the first words of what the server said, without the key it may quote."""
    said = " ".join(scrub(_words(error)).split()) if error else ""
    return ModelFailure(f"{place}: {why}{': ' + said[:300] if said else ''}")


def _words(error: BaseException) -> str:
    """What the server said: OpenAI's ``error.message``, FastAPI's ``detail``, or the body as it is."""
    body = getattr(error, "body", None)
    if isinstance(body, dict):
        body = body.get("message") or body.get("detail") or body
    return str(body or error)


def explained(
    error: Exception, *, place: str, model: str, tries: int, timeout: float, scrub: Callable[[str], str]
) -> Exception:
    """The error a caller should see in place of the client's, with a remedy; one that is not known is given back."""
    import openai

    def failed(why: str, quoted: bool = True) -> ModelFailure:
        return failure(place, error if quoted else None, why, scrub)

    status = status_of(error)
    if status in (401, 403):
        return failed(f"refused the API key ({status}); set OPENAI_API_KEY, or give api_key")
    if status == 404:
        return failed(f"has no model '{model}', or base_url lacks its /v1 (404); GET /models lists what it has")
    if status is not None and status < 500 and status not in RETRIED:
        return BadInput(str(failed(f"refused the request for '{model}' ({status}); mend it")))
    if status is not None:
        return failed(f"still answers {status} after {tries} tries; try later, or with lower concurrency")
    if isinstance(error, (openai.APITimeoutError, TimeoutError)):
        return failed(f"no answer within {timeout:g} s in {tries} tries; raise the timeout", quoted=False)
    if isinstance(error, openai.APIConnectionError):
        cause = f" ({scrub(str(error.__cause__))})" if error.__cause__ else ""
        return failed(f"can't be reached after {tries} tries{cause}; is the server running there?", quoted=False)
    if worth_retrying(error):
        return failed(f"sent no usable answer in {tries} tries; is it OpenAI-compatible?")
    return error
