from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from polyculture.cli.app import app
from polyculture.datasets import write_instructions


@dataclass(frozen=True)
class Ran:
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Run a command in this process, in a folder and with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POLYCULTURE_CACHE", str(tmp_path / "cache"))

    def call(*words: object) -> Ran:
        result = CliRunner().invoke(app, [str(word) for word in words])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    return call


@pytest.fixture
def command() -> Callable[..., subprocess.Popen[str]]:
    """Start a command in a process of its own."""

    def start(*words: object, **options: Any) -> subprocess.Popen[str]:
        code = "from polyculture.cli.app import main; main()"
        return subprocess.Popen(
            [sys.executable, "-c", code, *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    return start


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A hundred and fifty records with topics, quality, duplicates and junk."""
    path = tmp_path / "data.jsonl"
    write_instructions(path, 150, 0)
    return path
