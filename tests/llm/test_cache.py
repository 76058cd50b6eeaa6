from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from polyculture.errors import BadInput, BudgetExceeded
from polyculture.llm.asks import can_score, identity
from polyculture.llm.base import Sampling
from polyculture.llm.budget import Budget, MeteredLLM
from polyculture.llm.cache import CachedLLM
from polyculture.llm.endpoint import EndpointLLM
from polyculture.llm.log import LoggedLLM
from polyculture.llm.make import make_llm
from polyculture.llm.scripted import ScriptedLLM
from tests.llm.server import serving

ROOT = Path(__file__).parents[2]
KEY = "sk-very-secret-0123456789"


def script(**options) -> ScriptedLLM:
    return ScriptedLLM(lambda prompt, i, rng: f"{prompt}/{i}/{rng.random():.6f}", **options)


def texts(answers) -> list[list[str]]:
    return [[c.text for c in row] for row in answers]


def test_only_what_is_missing_is_asked(tmp_path: Path):
    llm = script()
    cached = CachedLLM(llm, tmp_path / "new" / "c.sqlite")
    four = cached.generate(["a", "b"], n=4, seed=1)
    assert texts(four) == texts(script().generate(["a", "b"], n=4, seed=1)), "a cache changes nothing"
    assert not any(c.cached for row in four for c in row)
    six = cached.generate(["b", "a"], n=6, seed=1)
    assert llm.n_completions == 12 and cached.hits == 8 and cached.misses == 12
    assert texts(six) == texts(script().generate(["b", "a"], n=6, seed=1))
    assert [c.cached for c in six[0]] == [True] * 4 + [False] * 2
    again = CachedLLM(script(), tmp_path / "new" / "c.sqlite").generate(["a"], n=6, seed=1)
    assert all(c.cached and c.cost == 0 for c in again[0])
    assert again[0][0].token_logprobs == six[1][0].token_logprobs and isinstance(again[0][0].token_logprobs, tuple)


def test_what_a_completion_depends_on_is_told_apart(tmp_path: Path):
    llm = script()
    cached = CachedLLM(llm, tmp_path / "c.sqlite")
    cached.generate(["a"], seed=1)
    cached.generate(["a"], seed=2)
    cached.generate(["a "], seed=1)
    cached.generate([[{"role": "user", "content": "a"}]], seed=1)
    cached.generate(["a"], seed=1, sampling=Sampling(temperature=0.5))
    cached.generate(["a"], seed=1, sampling=Sampling(stop=("x",)))
    CachedLLM(script(name="other"), tmp_path / "c.sqlite").generate(["a"], seed=1)
    assert cached.misses == 6 and cached.hits == 0 and len(cached.store) == 7


def test_without_a_seed_asking_again_gives_further_samples_and_the_next_run_repeats_them(tmp_path: Path):
    def run(llm: ScriptedLLM) -> list[list[str]]:
        cached = CachedLLM(llm, tmp_path / "c.sqlite")
        return texts(cached.generate(["a"], n=2) + cached.generate(["a", "b"]) + cached.generate(["a"]))

    first, llm = run(script()), script()
    assert len({text for row in first for text in row}) == 5
    assert run(llm) == first and llm.n_completions == 0


def test_greedy_samples_are_one(tmp_path: Path):
    llm = script()
    cached = CachedLLM(llm, tmp_path / "c.sqlite")
    greedy = Sampling(temperature=0)
    (row,) = cached.generate(["a"], n=3, sampling=greedy)
    assert len({c.text for c in row}) == 1 and llm.n_completions == 1
    cached.generate(["a"], sampling=greedy)
    assert llm.n_completions == 1


def test_every_completion_is_kept_as_it_arrives(tmp_path: Path):
    llm = script(fail=lambda turn: RuntimeError("power cut") if turn == 5 else None)
    cached = CachedLLM(llm, tmp_path / "c.sqlite")
    with pytest.raises(RuntimeError, match="power cut"):
        cached.generate([f"p{i}" for i in range(10)], seed=0)
    assert len(cached.store) == 5
    cached.generate([f"p{i}" for i in range(10)], seed=0)
    assert cached.hits == 5 and llm.n_completions == 11, "one was lost with the failure, five were not asked again"


def test_a_model_with_nothing_but_generate_can_be_cached(tmp_path: Path):
    class Plain:
        name = "plain"

        def generate(self, prompts, *, n=1, sampling=None, seed=None):
            return script().generate(prompts, n=n, seed=seed)

    cached = CachedLLM(Plain(), tmp_path / "c.sqlite")
    first = texts(cached.generate(["a", "b"], n=2, seed=1))
    assert first == texts(script().generate(["a", "b"], n=2, seed=1))
    assert texts(cached.generate(["a", "b"], n=3, seed=1)) == texts(script().generate(["a", "b"], n=3, seed=1))
    assert cached.hits == 4 and not can_score(cached) and can_score(CachedLLM(script(), tmp_path / "c.sqlite"))


def test_wrappers_pass_on_names_identities_and_scores(tmp_path: Path):
    llm = script(name="inner")
    wrapped = LoggedLLM(CachedLLM(MeteredLLM(llm, Budget()), tmp_path / "c.sqlite"), tmp_path / "log.jsonl")
    assert wrapped.name == identity(wrapped) == "inner"
    assert wrapped.logprobs(["a"], ["x y"])[0].tolist() == pytest.approx([-0.693147] * 2, abs=1e-5)


def test_a_server_that_moved_is_the_same_model():
    here, there = (EndpointLLM("m", base_url=f"http://localhost:{port}/v1") for port in (8000, 8001))
    assert identity(here) == identity(there) != identity(EndpointLLM("m", chat=False))


def test_a_file_that_is_no_cache_is_named(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("these are my notes, not a database, and they are long enough " * 20)
    with pytest.raises(BadInput, match=r"can't use .*notes.txt as a cache .* choose another file"):
        CachedLLM(script(), tmp_path / "notes.txt")
    with pytest.raises(BadInput, match="as a cache"):
        CachedLLM(script(), tmp_path / "notes.txt" / "c.sqlite")


def test_threads_share_a_cache(tmp_path: Path):
    llm = script()
    cached = CachedLLM(llm, tmp_path / "c.sqlite")
    prompts = [f"p{i}" for i in range(50)]
    threads = [threading.Thread(target=cached.generate, args=(prompts[i::4],), kwargs={"seed": 0}) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(cached.store) == llm.n_completions == 50


RUN = """
import sys
from polyculture.llm.make import make_llm
url, folder, first, last = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
llm = make_llm(f"{url}#m", cache=f"{folder}/c.sqlite", log=f"{folder}/log.jsonl", log_texts=True, concurrency=4)
answers = llm.generate([f"p{i}" for i in range(first, last)], n=1, seed=0)
print(len(answers))
"""


def start(url: str, folder: Path, first: int, last: int) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", RUN, url, str(folder), str(first), str(last)],
        cwd=ROOT,
        env={**os.environ, "OPENAI_API_KEY": KEY},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_a_run_that_is_killed_pays_for_nothing_twice(tmp_path: Path):
    with serving(lambda i, body: ("slow", 0.02)) as server:
        run = start(server.url, tmp_path, 0, 200)
        while server.answered < 40:
            assert run.poll() is None, run.communicate()
            time.sleep(0.01)
        os.kill(run.pid, signal.SIGKILL)
        run.communicate()
        time.sleep(0.1)
        before = server.hits
        assert 40 <= before < 200
        places = {"cache": tmp_path / "c.sqlite", "log": tmp_path / "log.jsonl", "log_texts": True}
        prompts = [f"p{i}" for i in range(200)]
        resumed = make_llm(f"{server.url}#m", api_key=KEY, concurrency=4, **places)
        assert len(resumed.generate(prompts, seed=0)) == 200
        paid = server.hits
        assert paid <= 200 + 4, "only the four that were in flight when it was killed can have been lost"
        again = make_llm(f"{server.url}#m", api_key=KEY, **places)
        assert all(row[0].cached for row in again.generate(prompts, seed=0))
        assert server.hits == paid, "a finished run costs nothing"
        assert set(server.authorizations) == {f"Bearer {KEY}"}
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert sum(row["cached"] for row in rows) >= 36
    for file in tmp_path.iterdir():
        assert KEY.encode() not in file.read_bytes(), file


@pytest.mark.slow
def test_two_processes_share_a_cache(tmp_path: Path):
    with serving(lambda i, body: ("slow", random.random() * 0.01)) as server:
        runs = [start(server.url, tmp_path, 0, 120), start(server.url, tmp_path, 60, 180)]
        outs = [run.communicate(timeout=60) for run in runs]
        assert [out.strip() for out, _ in outs] == ["120", "120"], outs
        assert 180 <= server.hits <= 240
    cached = CachedLLM(EndpointLLM("m", base_url=server.url), tmp_path / "c.sqlite")
    assert len(cached.store) == 180
    assert all(row[0].cached for row in cached.generate([f"p{i}" for i in range(180)], seed=0))


def test_a_budget_that_runs_out_loses_nothing(tmp_path: Path):
    llm = script()
    budget = Budget(max_calls=7)
    cached = CachedLLM(MeteredLLM(llm, budget), tmp_path / "c.sqlite")
    with pytest.raises(BudgetExceeded):
        cached.generate([f"p{i}" for i in range(10)], seed=0)
    assert len(cached.store) == budget.calls == 7
    budget.max_calls = 10
    cached.generate([f"p{i}" for i in range(10)], seed=0)
    assert llm.n_completions == budget.calls == 10
