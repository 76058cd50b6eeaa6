"""Against a real server: ``transformers serve`` on a tiny model."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from polyculture.errors import BadInput
from polyculture.llm.base import Sampling
from polyculture.llm.endpoint import EndpointLLM
from polyculture.llm.transformers import TransformersLLM
from tests.tiny_models import tiny_llama

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import GenerationConfig

    folder = tiny_llama(tmp_path_factory.mktemp("served"))
    # The server samples only if the model's own configuration says so.
    GenerationConfig(do_sample=True, eos_token_id=1, pad_token_id=2, bos_token_id=0).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).parent / "transformers"), "serve", str(folder)]
    server = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 90
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                break
            except OSError:
                assert server.poll() is None and time.monotonic() < until, "transformers serve did not start"
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.kill()
        server.wait()


def test_greedy_answers_are_those_of_the_model_in_process(url: str, folder: Path):
    greedy = Sampling(max_tokens=8, temperature=0)
    chat = [[{"role": "user", "content": "What is 6 * 7?"}], "wheat and rye"]
    served = EndpointLLM(str(folder), base_url=url).generate(chat, sampling=greedy)
    here = TransformersLLM(folder).generate(chat, sampling=greedy)
    for (a,), (b,) in zip(served, here, strict=True):
        assert (a.text, a.n_tokens, a.n_prompt_tokens) == (b.text, b.n_tokens, b.n_prompt_tokens)


def test_samples_differ_and_repeat_under_a_seed(url: str, folder: Path):
    llm = EndpointLLM(str(folder), base_url=url, concurrency=1)
    short = Sampling(max_tokens=8)
    (first,), (again,) = (llm.generate(["a"], n=4, seed=1, sampling=short) for _ in range(2))
    assert len({c.text for c in first}) == 4, "the server ignores n, so each sample is a request with its own seed"
    assert [c.text for c in first] == [c.text for c in again]


def test_a_field_the_server_does_not_know_is_said_in_its_words(url: str, folder: Path):
    with pytest.raises(BadInput, match="top_k"):
        EndpointLLM(str(folder), base_url=url).generate(["a"], sampling=Sampling(max_tokens=4, top_k=3))


def test_many_requests_at_once(url: str, folder: Path):
    llm = EndpointLLM(str(folder), base_url=url, concurrency=16)
    answers = llm.generate([f"prompt {i}" for i in range(32)], sampling=Sampling(max_tokens=4))
    assert len(answers) == 32 and all(row[0].n_tokens <= 4 for row in answers)
