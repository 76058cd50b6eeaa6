"""Endpoints."""

from __future__ import annotations

import asyncio
import atexit
import json
import subprocess
import sys
import urllib.request
from functools import partial
from typing import Any

from benchmarks.harness import ROOT, Call, Disagreement, Row

IN_FLIGHT = 64
WAIT = 0.1


def rows(quick: bool) -> list[Row]:
    n, in_flight = (16, 4) if quick else (640, IN_FLIGHT)
    return [
        Row(
            "endpoint",
            f"Chat completions, {in_flight} in flight, each answered after {1000 * WAIT:.0f} ms",
            f"{n} requests",
            partial(_ours, n, in_flight),
            partial(_same_answers, in_flight),
            "`openai.AsyncOpenAI` and a semaphore",
            partial(_openai, n, in_flight),
            note=f"the server, a process on the same machine, allows no more than {in_flight / WAIT:,.0f} requests a "
            "second; ours retries, derives seeds and counts as well",
            items=(n, "requests"),
        )
    ]


def _serve() -> str:
    server = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.endpoint_server", str(WAIT)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(server.kill)
    assert server.stdout is not None
    return f"http://127.0.0.1:{int(server.stdout.readline())}"


def _most(address: str) -> int:
    with urllib.request.urlopen(f"{address}/most") as reply:
        return int(json.loads(reply.read())["most"])


def _ours(n: int, in_flight: int) -> Call:
    from polyculture.llm.endpoint import EndpointLLM

    address = _serve()
    llm = EndpointLLM("m", base_url=f"{address}/v1", concurrency=in_flight)
    prompts = [f"question {i}" for i in range(n)]

    def call() -> tuple[list[str], int]:
        texts = [found[0].text for found in llm.generate(prompts, seed=0)]
        return texts, _most(address)

    return call


def _openai(n: int, in_flight: int) -> Call:
    from openai import AsyncOpenAI

    address = _serve()
    loop = asyncio.new_event_loop()
    client = AsyncOpenAI(base_url=f"{address}/v1", api_key="none")
    prompts = [f"question {i}" for i in range(n)]

    async def ask(prompt: str, slots: asyncio.Semaphore) -> str:
        async with slots:
            reply = await client.chat.completions.create(
                model="m",
                messages=[{"role": "user", "content": prompt}],
                max_tokens=256,
                temperature=1.0,
                top_p=1.0,
                seed=0,
            )
            return reply.choices[0].message.content or ""

    async def ask_all() -> list[str]:
        slots = asyncio.Semaphore(in_flight)
        return list(await asyncio.gather(*(ask(prompt, slots) for prompt in prompts)))

    def call() -> tuple[list[str], int]:
        return loop.run_until_complete(ask_all()), _most(address)

    return call


def _same_answers(in_flight: int, ours: Any, peer: Any) -> str:
    if ours[0] != peer[0]:
        raise Disagreement("the answers differ")
    if max(ours[1], peer[1]) > in_flight:
        raise Disagreement(f"more than {in_flight} were in flight: ours {ours[1]}, the peer {peer[1]}")
    return f"all {len(ours[0])} answers are the same; most in flight, as the server saw it: {ours[1]} and {peer[1]}"
