from __future__ import annotations

import pytest
from pydantic import BaseModel, TypeAdapter

from polyculture.errors import BadInput
from polyculture.llm.base import Sampling
from polyculture.llm.scripted import ScriptedLLM
from polyculture.llm.structured import ask_structured, json_values, parse


class Person(BaseModel):
    name: str
    age: int


ADA = '{"name": "Ada", "age": 36}'


@pytest.mark.parametrize(
    "reply",
    [
        ADA,
        f"Sure!\n```json\n{ADA}\n```\nAnything else?",
        f"```\n{ADA}\n```",
        f"I weighed {{this}} and [that]; {ADA} it is.",
        f'{{"name": "Bob"}} no, rather {ADA}',
        f"<think>{{</think>{ADA}",
        f"```json\n{{broken\n```\n{ADA}",
    ],
)
def test_finds_the_value_that_has_the_form(reply: str):
    value, error = parse(reply, TypeAdapter(Person))
    assert value == Person(name="Ada", age=36) and error is None


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("no", "there is no JSON in the reply"),
        ('{"name": "Ada"', "there is no JSON in the reply"),
        ('{"name": "Ada"}', "age: Field required"),
        ('{"name": "Ada", "age": "old"}', "age: Input should be a valid integer"),
        ('{"name": "Ada", "age": NaN}', "there is no JSON in the reply"),
        ("{" * 100_000, "there is no JSON in the reply"),
        ("[" * 100_000, "there is no JSON in the reply"),
        ("", "there is no JSON in the reply"),
    ],
    ids=lambda text: text[:20],
)
def test_says_why_there_is_none(reply: str, reason: str):
    value, error = parse(reply, TypeAdapter(Person))
    assert value is None and error is not None and reason in error


def test_asks_again_with_what_was_wrong():
    llm = ScriptedLLM(['{"name": "Ada"}', ADA])
    (parsed,) = ask_structured(llm, ["Who?"], Person)
    assert parsed.ok and parsed.value == Person(name="Ada", age=36) and len(parsed.replies) == 2
    first, second = llm.prompts
    assert "schema" in first[-1]["content"] and first[-1]["content"].startswith("Who?")
    assert second[-2] == {"role": "assistant", "content": '{"name": "Ada"}'}
    assert "age: Field required" in second[-1]["content"]


def test_after_the_limit_it_is_set_aside_with_reason_and_replies():
    def reply(prompt, index, rng):
        return ADA if "good" in prompt[0]["content"] else "I would rather not."

    llm = ScriptedLLM(reply)
    parsed = ask_structured(llm, ["bad one", "good", "bad two"], Person, retries=2)
    assert [p.ok for p in parsed] == [False, True, False]
    assert [len(p.replies) for p in parsed] == [3, 1, 3]
    assert parsed[0].error == "there is no JSON in the reply" and parsed[0].value is None
    assert llm.n_calls == 3, "prompts are asked together"


def test_other_forms_and_a_falsy_value():
    (numbers,) = ask_structured(ScriptedLLM(["[1, 2]"]), ["?"], list[int])
    assert numbers.value == [1, 2]
    (none,) = ask_structured(ScriptedLLM(["[]"]), ["?"], list[int])
    assert none.ok and none.value == []
    llm = ScriptedLLM(["[]"])
    ask_structured(llm, ["?"], list[int], describe=False)
    assert llm.prompts == [[{"role": "user", "content": "?"}]]


def test_a_reply_cut_off_says_so():
    (cut,) = ask_structured(ScriptedLLM(["a b c d"]), ["?"], Person, sampling=Sampling(max_tokens=2), retries=0)
    assert "cut off at 2 tokens; raise max_tokens" in (cut.error or "")
    with pytest.raises(BadInput, match="retries should be 0 or more"):
        ask_structured(ScriptedLLM(["a"]), ["?"], Person, retries=-1)


def test_many_open_braces_take_no_time():
    assert list(json_values('{"a":' * 20_000)) == []
