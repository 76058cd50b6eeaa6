from __future__ import annotations

import json
from pathlib import Path

import pytest

from polyculture.errors import BadInput, UnknownMethod
from polyculture.llm.base import Sampling
from polyculture.llm.budget import Budget
from polyculture.llm.make import make_llm
from tests.llm.server import serving


def test_a_folder_and_hf(tiny_lm: Path):
    one, two = make_llm(str(tiny_lm)), make_llm(f"hf:{tiny_lm}", dtype="float32", batch_size=2)
    assert one.name == two.name == str(tiny_lm)
    short = Sampling(max_tokens=4)
    assert one.generate(["a"], seed=0, sampling=short) == two.generate(["a"], seed=0, sampling=short)


def test_endpoints(monkeypatch: pytest.MonkeyPatch):
    with serving() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        for llm in (make_llm(f"{server.url}#a/b:c"), make_llm("a/b:c", base_url=server.url), make_llm("openai:a/b:c")):
            assert llm.name == "a/b:c" and llm.generate(["x"])[0][0].text.startswith("re x")
        assert {body["model"] for body in server.bodies} == {"a/b:c"}


def test_script_cache_budget_and_log_together(tmp_path: Path):
    (tmp_path / "s.json").write_text(
        json.dumps({"replies": ["no"], "match": {"sky": ["blue", "grey"]}, "name": "sage"})
    )
    budget = Budget()
    places = {"cache": tmp_path / "c.sqlite", "log": tmp_path / "l.jsonl"}
    llm = make_llm(f"scripted:{tmp_path / 's.json'}", budget=budget, **places)
    for _ in range(2):
        sky, sea = llm.generate(["the sky?", "the sea?"], n=2, seed=0)
        assert [c.text for c in sky] == ["blue", "grey"] and [c.text for c in sea] == ["no", "no"]
    assert llm.name == "sage" and budget.calls == 4
    assert [json.loads(line)["cached"] for line in (tmp_path / "l.jsonl").read_text().splitlines()] == [False] * 4 + [
        True
    ] * 4


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("http://localhost:8000/v1", r"does not say which model; write it like http://localhost:8000/v1#MODEL"),
        ("http://me:pass@localhost:8000/v1", r"'http://localhost:8000/v1' does not say"),
        ("", "no model is named"),
        ("hf:", "no model is named"),
        ("scripted:/no/such/file.json", "can't be read"),
        ("no/such-model", "can't load the model"),
    ],
)
def test_bad_specs(spec: str, words: str):
    with pytest.raises(BadInput, match=words):
        make_llm(spec)


def test_bad_scripts_and_options(tmp_path: Path):
    for text, words in (
        ("nope", "is not JSON"),
        ("[]", "should be a list"),
        ('{"match": 3}', "should be"),
        ("3", "should be"),
    ):
        (tmp_path / "s.json").write_text(text)
        with pytest.raises(BadInput, match=words):
            make_llm(f"scripted:{tmp_path / 's.json'}")
    with pytest.raises(UnknownMethod, match="no option of EndpointLLM 'concurency'; did you mean 'concurrency'"):
        make_llm("http://h/v1#m", concurency=3)
