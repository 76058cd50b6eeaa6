"""Any OpenAI-compatible endpoint: many requests in flight, each retried until it is answered or hopeless."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from polyculture.errors import BadInput, ModelFailure, need
from polyculture.llm.asks import NO_WATCH, Ask, GeneratesByAsk, Watch, admit, runs_of_prompt
from polyculture.llm.base import Completion, Sampling, as_messages, as_text, sample_seed
from polyculture.llm.loop import BackgroundLoop
from polyculture.llm.replies import completions
from polyculture.llm.retries import explained, failure, never_connected, retry_after, status_of, worth_retrying
from polyculture.llm.secret import Secret, shown_url


class EndpointLLM(GeneratesByAsk):
    """A model behind an OpenAI-compatible server: OpenAI, vLLM, llama.cpp, Ollama, ``transformers serve``...

    Samples of one prompt are one request with ``n``; a server that ignores or refuses ``n`` is asked once a sample
    instead. Every request carries max_tokens, temperature and top_p, so that a server's own defaults do not slip in;
    top_k and min_p, which OpenAI does not know, are sent only when they cut something off. A seed is sent as one
    derived from the seed, the prompt and the sample, and is as good as the server's.

    Dropped connections, time-outs, answers that are not whole and statuses 408, 409, 429 and 5xx are tried again with
    exponential back-off and jitter, or after what Retry-After says. When a request fails for good no other is begun;
    those in flight are waited for, so that nothing paid for is lost, and then the failure is raised.

    ``transformers serve`` samples only if the model's generation_config says ``do_sample: true``, and else answers
    greedily whatever the temperature.

    Args:
        model: name of the model, as the server knows it.
        base_url: e.g. "http://localhost:8000/v1"; by default the environment's OPENAI_BASE_URL, else OpenAI.
        api_key: by default the environment's OPENAI_API_KEY; servers of one's own mostly need none. It goes into the
            request and nowhere else.
        chat: use /chat/completions; False uses /completions, which continues a text.
        concurrency: most requests in flight at once.
        timeout: seconds a request may take.
        retries: tries after the first; at most 2 while nothing has ever listened at the address.
        max_wait: most seconds between two tries; a server that asks for more has failed.
        logprobs: ask for the log-probability of each token.
        extra_body: further fields of every request, e.g. {"top_k": -1} to undo a default of vLLM.
        max_tokens_field: what the server calls max_tokens; OpenAI's reasoning models want "max_completion_tokens".

    Raises:
        BadInput: no model is named, or base_url is not an http address.
        MissingExtra: openai is not installed.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        chat: bool = True,
        concurrency: int = 16,
        timeout: float = 120.0,
        retries: int = 5,
        max_wait: float = 60.0,
        logprobs: bool = False,
        extra_body: dict[str, Any] | None = None,
        max_tokens_field: str = "max_tokens",
    ) -> None:
        need("openai", "llm")
        need("tenacity", "llm")
        url = base_url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise BadInput(f"base_url '{shown_url(url)}' is not an address; write it like http://localhost:8000/v1")
        if not model:
            raise BadInput(f"no model is named; say which one {shown_url(url)} should use")
        if concurrency < 1 or retries < 0 or timeout <= 0:
            raise BadInput("an endpoint needs concurrency of at least 1, retries of at least 0 and a positive timeout")
        self.name = model
        self.base_url = shown_url(url)
        self.chat = chat
        self.concurrency = concurrency
        self.timeout = timeout
        self.retries = retries
        self.max_wait = max_wait
        self.with_logprobs = logprobs
        self.extra_body = dict(extra_body or {})
        self.max_tokens_field = max_tokens_field
        self._secret = Secret(url, api_key or os.environ.get("OPENAI_API_KEY") or "")
        self._takes_n = True
        self._reached = False
        self._loop = BackgroundLoop()
        self._client: Any = None
        self._slots: asyncio.Semaphore | None = None

    def __repr__(self) -> str:
        return f"EndpointLLM(model={self.name!r}, base_url={self.base_url!r})"

    @property
    def identity(self) -> str:
        """What tells this model's answers from another's; not the address, which changes when a server moves."""
        extra = sorted(self.extra_body.items())
        return f"{self.name}|chat={self.chat}|logprobs={self.with_logprobs}|{extra}"

    def answer_asks(
        self, asks: Sequence[Ask], *, sampling: Sampling, seed: int | None, watch: Watch = NO_WATCH
    ) -> list[Completion]:
        """One completion for each ask, in order; they are answered at once, up to ``concurrency``.

        Raises:
            BadInput: the server says the request is malformed.
            ModelFailure: it did not answer, or refused the key or the model.
        """
        return self._loop.run(self._answer_all(asks, sampling, seed, watch))

    async def _answer_all(
        self, asks: Sequence[Ask], sampling: Sampling, seed: int | None, watch: Watch
    ) -> list[Completion]:
        if self._client is None:
            self._client, self._slots = self._secret.client(self.timeout), asyncio.Semaphore(self.concurrency)
        waiting = deque(runs_of_prompt(asks))
        answers: dict[int, Completion] = {}
        failures: list[BaseException] = []
        # Samples that a server which ignores n left out are asked again, and are let in once.
        admitted: set[int] = set()

        async def work() -> None:
            while waiting and not failures:
                positions = waiting.popleft()
                if not self._takes_n and len(positions) > 1:
                    waiting.extendleft([p] for p in reversed(positions))
                    continue
                assert self._slots is not None
                try:
                    async with self._slots:
                        if failures:
                            return
                        new = [p for p in positions if p not in admitted]
                        allowed, refusal = admit(watch, new)
                        admitted.update(allowed)
                        positions = [p for p in positions if p in admitted]
                        if positions:
                            found = await self._request([asks[p] for p in positions], sampling, seed, failures)
                            for position, completion in zip(positions, found, strict=False):
                                answers[position] = completion
                                watch.arrived(position, completion)
                            waiting.extendleft([p] for p in reversed(positions[len(found) :]))
                        if refusal:
                            raise refusal
                except Exception as error:
                    failures.append(error)

        # A worker may put singles back after others have left, so rounds go on until nothing waits.
        while waiting and not failures:
            await asyncio.gather(*(work() for _ in range(min(self.concurrency, len(asks)))))
        if failures:
            raise failures[0]
        return [answers[position] for position in range(len(asks))]

    async def _request(
        self, asks: list[Ask], sampling: Sampling, seed: int | None, failures: list[BaseException]
    ) -> list[Completion]:
        """The completions of one request: as many as asks, or fewer if the server ignores ``n``, none if it refuses."""
        import tenacity

        def wait(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            said = retry_after(error)
            if said is not None and said > self.max_wait:
                why = f"asks to wait {said:.0f} s, more than max_wait ({self.max_wait:.0f} s)"
                raise failure(self.base_url, error, why, self._secret.scrub) from None
            backoff = tenacity.wait_exponential_jitter(initial=0.5, max=self.max_wait, jitter=0.5)(state)
            # The server's word is the least to wait; jitter keeps clients it turned away together from coming back so.
            return backoff if said is None else said + 0.1 * backoff

        def stop(state: tenacity.RetryCallState) -> bool:
            error = state.outcome.exception() if state.outcome else None
            # Nothing ever listened there: an address mistyped, more likely than a server that comes back.
            tries = min(self.retries, 2) if never_connected(error) and not self._reached else self.retries
            return bool(failures) or state.attempt_number > tries

        attempt = 0
        try:
            async for attempts in tenacity.AsyncRetrying(
                stop=stop,
                wait=wait,
                retry=tenacity.retry_if_exception(worth_retrying),
                reraise=True,
            ):
                with attempts:
                    attempt += 1
                    return await self._once(asks, sampling, seed)
        except Exception as error:
            self._reached |= status_of(error) is not None
            if len(asks) > 1 and status_of(error) in (400, 422, 501):
                self._takes_n = False
                return []
            if isinstance(error, (ModelFailure, BadInput)):
                raise
            # The error underneath may quote the key, so it is not chained.
            raise explained(
                error,
                place=self.base_url,
                model=self.name,
                tries=attempt,
                timeout=self.timeout,
                scrub=self._secret.scrub,
            ) from None
        raise AssertionError("tenacity returns or raises")

    async def _once(self, asks: list[Ask], sampling: Sampling, seed: int | None) -> list[Completion]:
        prompt = asks[0].prompt
        body: dict[str, Any] = {
            self.max_tokens_field: sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
        }
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if len(asks) > 1:
            body["n"] = len(asks)
        if seed is not None:
            body["seed"] = sample_seed(seed, prompt, asks[0].sample) % 2**31
        if self.with_logprobs:
            body["logprobs"] = True if self.chat else 0
        extra: dict[str, Any] = {"top_k": sampling.top_k} if sampling.top_k else {}
        extra |= {"min_p": sampling.min_p} if sampling.min_p else {}
        more = {"extra_body": self.extra_body | extra} if self.extra_body or extra else {}
        if self.chat:
            call = self._client.chat.completions.create(model=self.name, messages=as_messages(prompt), **body, **more)
        else:
            call = self._client.completions.create(model=self.name, prompt=as_text(prompt), **body, **more)
        # The client's own timeout is between bytes; a server that drips would never meet it.
        found = completions(await asyncio.wait_for(call, self.timeout), len(asks), self.name, self.chat)
        self._reached = True
        if len(found) < len(asks):
            self._takes_n = False
        return found

    def close(self) -> None:
        """Close the connections; the model can be used again and opens new ones."""
        if self._client is not None:
            self._loop.run(self._client.close())
            self._client = self._slots = None
        self._loop.close()
