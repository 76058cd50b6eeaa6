"""An OpenAI-compatible server that misbehaves on demand, over real HTTP on localhost."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Behaviour = Callable[[int, dict[str, Any]], Any]


class Server:
    """Answers request number i as ``behaviour(i, body)`` says.

    "ok": one choice a sample asked for. "one": one choice, whatever n. "drop": the connection closed. "half": a JSON
    body cut short. "odd": JSON of another shape. ("status", code, headers, message): that. ("slow", seconds): late.
    """

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.bodies: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.authorizations: list[str] = []
        self.paths: list[str] = []
        self.in_flight = self.most_in_flight = self.answered = 0
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer.handle(self)

            def log_message(self, *_: Any) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, *_: Any) -> None:
                pass  # clients that time out or are killed leave broken pipes

        self.http = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"

    @property
    def hits(self) -> int:
        return len(self.bodies)

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        body = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
        with self.lock:
            number = len(self.bodies)
            self.bodies.append(body)
            self.times.append(time.monotonic())
            self.paths.append(request.path)
            self.authorizations.append(request.headers.get("Authorization", ""))
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            self.act(request, body, self.behaviour(number, body))
        finally:
            with self.lock:
                self.in_flight -= 1

    def act(self, request: BaseHTTPRequestHandler, body: dict[str, Any], action: Any) -> None:
        if isinstance(action, tuple) and action[0] == "slow":
            time.sleep(action[1])
            action = "ok"
        if action == "drop":
            request.connection.shutdown(socket.SHUT_RDWR)
            request.close_connection = True
        elif action == "half":
            self.send(request, 200, {}, json.dumps(answer(body, 1))[:60])
        elif action == "odd":
            self.send(request, 200, {}, json.dumps({"hello": "world"}))
        elif isinstance(action, tuple):
            _, status, headers, message = action
            self.send(request, status, headers, json.dumps({"error": {"message": message}}))
        else:
            with self.lock:
                self.answered += 1
            self.send(request, 200, {}, json.dumps(answer(body, 1 if action == "one" else body.get("n", 1))))

    def send(self, request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], text: str) -> None:
        request.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(text)), **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(text.encode())


def answer(body: dict[str, Any], n: int) -> dict[str, Any]:
    """A reply that says what was asked: the prompt, the seed and the number of the choice."""
    choices = []
    for i in range(n):
        if "messages" in body:
            text = f"re {body['messages'][-1]['content']} seed {body.get('seed')} choice {i}"
            choices.append(
                {
                    "index": i,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": text},
                    "logprobs": None,
                }
            )
        else:
            choices.append({"index": i, "finish_reason": "length", "text": f"then {body['prompt']}", "logprobs": None})
        if body.get("logprobs"):
            tokens = [{"token": "a", "logprob": -0.5, "bytes": None, "top_logprobs": []}] * 3
            choices[-1]["logprobs"] = {"content": tokens}
    usage = {"prompt_tokens": 10, "completion_tokens": 5 * n, "total_tokens": 10 + 5 * n}
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": choices,
        "usage": usage,
    }


@contextlib.contextmanager
def serving(behaviour: Behaviour = lambda number, body: "ok") -> Iterator[Server]:
    """A server for the length of the block."""
    server = Server(behaviour)
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
