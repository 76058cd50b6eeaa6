from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator

import pytest

from polyculture.errors import BadInput, BudgetExceeded, ModelFailure
from polyculture.llm.base import Sampling
from polyculture.llm.budget import Budget, MeteredLLM
from polyculture.llm.endpoint import EndpointLLM
from tests.llm.server import Server, serving

KEY = "sk-very-secret-0123456789"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back off a tenth as long."""
    import tenacity

    real = tenacity.wait_exponential_jitter
    monkeypatch.setattr(tenacity, "wait_exponential_jitter", lambda **_: real(initial=0.02, max=0.2, jitter=0.02))


def endpoint(server: Server, **options: object) -> EndpointLLM:
    return EndpointLLM("m", base_url=server.url, **{"api_key": KEY, "timeout": 5.0, **options})  # type: ignore[arg-type]


def test_answers_come_back_in_the_order_of_the_prompts():
    with serving(lambda i, body: ("slow", 0.1 if i % 2 else 0.0)) as server:
        llm = endpoint(server)
        answers = llm.generate([f"p{i}" for i in range(6)])
        assert [a[0].text.split()[1] for a in answers] == [f"p{i}" for i in range(6)]
        assert answers[0][0].n_prompt_tokens == 10 and answers[0][0].n_tokens == 5 and answers[0][0].model == "m"
        assert set(server.authorizations) == {f"Bearer {KEY}"}
        llm.close()
        assert llm.generate(["again"])[0][0].text.startswith("re again")


def test_sends_every_sampling_value_and_the_rare_ones_only_when_set():
    with serving() as server:
        llm = endpoint(server, extra_body={"mode": "x"})
        llm.generate(["a"], sampling=Sampling(max_tokens=7, temperature=0.5, top_p=0.9))
        llm.generate(["a"], sampling=Sampling(top_k=5, min_p=0.1, stop=("END",)), seed=3)
        plain, rich = server.bodies
        assert plain["max_tokens"] == 7 and plain["temperature"] == 0.5 and plain["top_p"] == 0.9
        assert not {"top_k", "min_p", "stop", "seed", "n", "stream"} & set(plain)
        assert rich["top_k"] == 5 and rich["min_p"] == 0.1 and rich["stop"] == ["END"] and rich["mode"] == "x"
        assert isinstance(rich["seed"], int)


def test_samples_of_a_prompt_are_one_request_and_tokens_add_up_to_what_was_billed():
    with serving() as server:
        (samples,) = endpoint(server).generate(["a"], n=4)
        assert server.hits == 1 and server.bodies[0]["n"] == 4
        assert [s.text[-1] for s in samples] == ["0", "1", "2", "3"]
        assert sum(s.n_tokens for s in samples) == 20 and sum(s.n_prompt_tokens for s in samples) == 10


@pytest.mark.parametrize("ignoring", ["one", "refuse"])
def test_a_server_without_n_is_asked_once_a_sample_with_seeds_that_differ(ignoring: str):
    def behaviour(i: int, body: dict) -> object:
        if ignoring == "refuse" and "n" in body:
            return ("status", 400, {}, "n is not supported")
        return "one"

    with serving(behaviour) as server:
        llm = endpoint(server)
        (samples,) = llm.generate(["a"], n=4, seed=1)
        assert len({s.text for s in samples}) == 4
        assert server.hits == (5 if ignoring == "refuse" else 4)
        llm.generate(["b"], n=2)
        assert "n" not in server.bodies[-1], "it remembers"


@pytest.mark.parametrize(
    "trouble",
    ["drop", "half", "odd", *[("status", code, {}, "later") for code in (408, 409, 429, 500, 503)]],
    ids=str,
)
def test_trouble_that_passes_is_tried_again(trouble: object):
    with serving(lambda i, body: trouble if i < 2 else "ok") as server:
        assert endpoint(server).generate(["a"])[0][0].text.startswith("re a")
        assert server.hits == 3


def test_retry_after_is_honoured_and_too_long_a_wait_is_a_failure():
    with serving(lambda i, body: ("status", 429, {"Retry-After": "1"}, "wait") if i == 0 else "ok") as server:
        endpoint(server).generate(["a"])
        assert 1.0 <= server.times[1] - server.times[0] < 5.0
    with serving(lambda i, body: ("status", 429, {"Retry-After": "3600"}, "wait")) as server:
        with pytest.raises(ModelFailure, match="asks to wait 3600 s, more than max_wait"):
            endpoint(server).generate(["a"])
        assert server.hits == 1


def test_back_off_grows_when_the_server_does_not_say(monkeypatch: pytest.MonkeyPatch):
    with serving(lambda i, body: "drop" if i < 4 else "ok") as server:
        endpoint(server).generate(["a"])
        gaps = [b - a for a, b in zip(server.times, server.times[1:], strict=False)]
        assert all(gap >= 0.02 * 2**i for i, gap in enumerate(gaps[:3])) and gaps[3] >= 0.1


def test_a_slow_answer_times_out_and_is_tried_again():
    with serving(lambda i, body: ("slow", 8.0) if i == 0 else "ok") as server:
        start = time.monotonic()
        endpoint(server, timeout=0.3).generate(["a"])
        assert time.monotonic() - start < 6
    late = pytest.raises(ModelFailure, match=r"no answer within 0.2 s in 2 tries; raise the timeout")
    with serving(lambda i, body: ("slow", 1.0)) as server, late:
        endpoint(server, timeout=0.2, retries=1).generate(["a"])


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (400, BadInput, "refused the request"),
        (401, ModelFailure, "OPENAI_API_KEY"),
        (403, ModelFailure, "refused the API key"),
        (404, ModelFailure, "has no model 'm'"),
        (422, BadInput, "refused the request"),
    ],
)
def test_a_refusal_is_not_tried_again_and_names_the_place_but_not_the_key(status: int, kind: type, words: str):
    with serving(lambda i, body: ("status", status, {}, f"no: you sent {KEY}")) as server:
        with pytest.raises(kind, match=words) as caught:
            endpoint(server).generate(["a"])
        assert server.hits == 1
        assert server.url in str(caught.value) and "you sent ***" in str(caught.value)
        assert KEY not in str(caught.value) and "\n" not in str(caught.value)


def test_persistent_trouble_fails_after_bounded_tries():
    with serving(lambda i, body: ("status", 500, {}, "broken")) as server:
        with pytest.raises(ModelFailure, match="still answers 500 after 3 tries"):
            endpoint(server, retries=2).generate(["a"])
        assert server.hits == 3
    with serving(lambda i, body: "half") as server, pytest.raises(ModelFailure, match="no usable answer in 2 tries"):
        endpoint(server, retries=1).generate(["a"])


def test_an_endpoint_that_is_not_there_fails_in_one_line():
    with serving() as server:
        url = server.url
    llm = EndpointLLM("m", base_url=url)
    with pytest.raises(ModelFailure, match=r"can't be reached after 3 tries.*is the server running there\?") as caught:
        llm.generate([f"p{i}" for i in range(40)])
    assert url in str(caught.value) and "\n" not in str(caught.value)


def test_what_was_in_flight_when_another_failed_is_still_kept():
    from polyculture.llm.asks import Ask, Watch

    refused = threading.Event()

    def behaviour(i: int, body: dict) -> object:
        if "bad" in body["messages"][0]["content"]:
            refused.set()
            return ("status", 404, {}, "no")
        refused.wait(20)
        return ("slow", 0.4)

    arrived: list[int] = []
    with serving(behaviour) as server:
        llm = endpoint(server, concurrency=4)
        asks = [Ask(p, 0) for p in ("a", "bad", "c", "d", "e", "f", "g")]
        with pytest.raises(ModelFailure):
            watch = Watch(arrived=lambda position, completion: arrived.append(position))
            llm.answer_asks(asks, sampling=Sampling(), seed=None, watch=watch)
        assert sorted(arrived) == [0, 2, 3]
        assert server.hits == 4, "nothing was begun after the failure"


def crowd(size: int, seconds: float) -> Iterator[Server]:
    """A server that lets nobody go before ``size`` requests were in flight together, and then takes ``seconds``."""
    held: list[Server] = []

    def behaviour(i: int, body: dict) -> object:
        until = time.monotonic() + 20
        while held[0].most_in_flight < size and time.monotonic() < until:
            time.sleep(0.005)
        return ("slow", seconds)

    with serving(behaviour) as server:
        held.append(server)
        yield server


def test_the_concurrency_limit_holds_across_threads_and_is_used():
    with contextlib.contextmanager(crowd)(5, 0.02) as server:
        llm = endpoint(server, concurrency=5, timeout=30.0)
        threads = [threading.Thread(target=llm.generate, args=([f"{t}-{i}" for i in range(10)],)) for t in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.hits == 30 and server.most_in_flight == 5


def test_sixty_four_in_flight_are_answered_at_once():
    with contextlib.contextmanager(crowd)(64, 0.2) as server:
        llm = endpoint(server, concurrency=64, timeout=30.0)
        start = time.monotonic()
        llm.generate([f"p{i}" for i in range(256)])
        assert server.most_in_flight == 64 and server.hits == 256
        assert time.monotonic() - start < 25, "one after the other they would take 51 s"


def test_works_inside_a_running_event_loop():
    async def main(llm: EndpointLLM) -> str:
        return llm.generate(["a"])[0][0].text

    with serving() as server:
        assert asyncio.run(main(endpoint(server))).startswith("re a")


def test_messages_completions_and_log_probabilities():
    with serving() as server:
        endpoint(server).generate([[{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]])
        assert [m["role"] for m in server.bodies[0]["messages"]] == ["system", "user"]
        (text,) = endpoint(server, chat=False).generate(["Once"])[0]
        assert text.text == "then Once" and text.finish_reason == "length" and server.paths[-1] == "/v1/completions"
        (scored,) = endpoint(server, logprobs=True).generate(["a"])[0]
        assert scored.token_logprobs == (-0.5, -0.5, -0.5) and scored.logprob == -1.5 and scored.n_tokens == 3


def test_key_and_address_come_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    with serving() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-from-environment")
        EndpointLLM("m").generate(["a"])
        assert server.authorizations == ["Bearer sk-from-environment"]


def test_the_key_is_in_no_repr_and_no_field():
    llm = EndpointLLM("m", base_url="http://user:hunter22@localhost:1/v1", api_key=KEY, retries=0)
    for text in (repr(llm), str(vars(llm)), llm.identity, llm.base_url, repr(llm._secret), str(vars(llm._secret))):
        assert KEY not in text and "hunter22" not in text
    with pytest.raises(ModelFailure) as caught:
        llm.generate(["a"])
    assert "hunter22" not in str(caught.value)


def test_a_budget_stops_requests_before_they_are_sent():
    with serving() as server:
        llm = MeteredLLM(endpoint(server), Budget(max_calls=5))
        with pytest.raises(BudgetExceeded, match="max_calls = 5"):
            llm.generate([f"p{i}" for i in range(40)])
        assert server.hits == 5
        metered = MeteredLLM(endpoint(server), Budget(max_calls=2))
        with pytest.raises(BudgetExceeded):
            metered.generate(["a"], n=4)
        assert server.bodies[-1]["n"] == 2, "what the budget allows of a request is still asked"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": "m", "base_url": "localhost:8000"}, "is not an address"),
        ({"model": "", "base_url": "http://h/v1"}, "no model is named"),
        ({"model": "m", "base_url": "http://h/v1", "concurrency": 0}, "concurrency of at least 1"),
    ],
)
def test_bad_options_are_named(options: dict, words: str):
    with pytest.raises(BadInput, match=words):
        EndpointLLM(**options)
    with serving() as server, pytest.raises(BadInput, match="put the one string into a list"):
        endpoint(server).generate("a")
