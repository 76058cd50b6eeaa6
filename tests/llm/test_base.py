from __future__ import annotations

import pytest

import polyculture.llm
from polyculture.errors import BadInput, ModelFailure
from polyculture.llm.base import (
    LLM,
    Sampling,
    ScoringLLM,
    as_messages,
    as_text,
    check_prompts,
    prompt_key,
    sample_seed,
)
from polyculture.llm.scripted import ScriptedLLM


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_tokens": 0}, "max_tokens should be at least 1"),
        ({"temperature": -0.1}, "temperature should be 0 or more"),
        ({"temperature": float("nan")}, "temperature should be 0 or more"),
        ({"top_p": 0.0}, r"top_p should be in \(0, 1\]"),
        ({"top_k": -1}, "top_k should be 0"),
        ({"min_p": 2.0}, "min_p should be in"),
        ({"stop": "END"}, r"write stop=\('END',\)"),
        ({"stop": ("",)}, "a stop string is empty"),
    ],
)
def test_sampling_is_checked(options: dict, words: str):
    with pytest.raises(BadInput, match=words):
        Sampling(**options)


def test_stop_may_be_a_list():
    assert Sampling(stop=["a", "b"]).stop == ("a", "b") and hash(Sampling(stop=["a"]))


def test_prompts_are_checked():
    with pytest.raises(BadInput, match=r"message 1 should be a dict with 'role' and 'content', not \{'role': 'user'\}"):
        as_messages([{"role": "user"}])
    with pytest.raises(BadInput, match="the list of messages is empty"):
        check_prompts([[]], 1)
    with pytest.raises(BadInput, match="put the one string into a list"):
        check_prompts("hello", 1)
    with pytest.raises(BadInput, match="prompt 2 should be a string or a list of messages, not 3"):
        check_prompts(["a", 3], 1)
    with pytest.raises(BadInput, match="n should be at least 1 completion a prompt, not 0"):
        check_prompts(["a"], 0)


def test_keys_and_seeds_depend_on_what_they_should():
    chat = [{"role": "user", "content": "a"}]
    assert prompt_key(chat) == prompt_key([{"content": "a", "role": "user"}]) != prompt_key("a")
    prompt_key("lone surrogate \ud800")
    seeds = {sample_seed(s, p, i) for s in (0, 1) for p in ("a", "b", chat) for i in (0, 1)}
    assert len(seeds) == 12 and all(0 <= s < 2**63 for s in seeds)
    assert as_text("x") == "x" and as_text(chat) == "User: a\nAssistant:"


def test_script_is_a_model_and_repeats_itself():
    def reply(prompt, index, rng):
        return f"{prompt} {index} {rng.random()}"

    llm = ScriptedLLM(reply)
    assert isinstance(llm, LLM) and isinstance(llm, ScoringLLM)
    assert llm.generate(["a", "b"], n=2, seed=4) == ScriptedLLM(reply).generate(["a", "b"], n=2, seed=4)
    assert llm.generate(["b"], n=2, seed=4) == ScriptedLLM(reply).generate(["a", "b"], n=2, seed=4)[1:]
    assert llm.generate(["a"], seed=5) != llm.generate(["a"], seed=4)
    assert (llm.n_calls, llm.n_completions, len(llm.prompts)) == (4, 8, 8)


def test_script_honours_max_tokens_and_stop():
    (cut,) = ScriptedLLM(["one two three"]).generate(["?"], sampling=Sampling(max_tokens=2))[0]
    assert (cut.text, cut.n_tokens, cut.finish_reason) == ("one two", 2, "length")
    (stopped,) = ScriptedLLM(["one END two"]).generate(["?"], sampling=Sampling(stop=("END",)))[0]
    assert stopped.text == "one " and stopped.finish_reason == "stop"


def test_script_misbehaves_on_demand():
    llm = ScriptedLLM(["fine"], fail=lambda turn: [ModelFailure("down"), "{half", None][turn % 3])
    with pytest.raises(ModelFailure, match="down"):
        llm.generate(["?"])
    assert [llm.generate(["?"])[0][0].text for _ in range(2)] == ["{half", "fine"]
    with pytest.raises(ModelFailure, match="the script replied 3, not a string"):
        ScriptedLLM(lambda *_: 3).generate(["?"])
    with pytest.raises(BadInput, match="a function or a non-empty list"):
        ScriptedLLM([])
    with pytest.raises(BadInput, match="2 prompts but 1 completions"):
        llm.logprobs(["a", "b"], ["c"])


def test_public_names_resolve():
    for name in dir(polyculture.llm):
        assert getattr(polyculture.llm, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'Nope'"):
        polyculture.llm.Nope  # noqa: B018
