"""A tiny model and preferences that the tests of training share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tiny_models import tiny_llama

FIELDS = ("wheat", "rye", "oats", "clover", "barley", "maize", "flax", "hemp")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a Llama of forty thousand weights."""
    return str(tiny_llama(tmp_path_factory.mktemp("tiny"), context=256))


@pytest.fixture
def preferences() -> list[dict[str, Any]]:
    """Twenty-four pairs in which the chosen answer names two crops and the rejected one only one."""
    rows = []
    for i in range(24):
        a, b = FIELDS[i % 8], FIELDS[(i + 3) % 8]
        prompt = f"{i}. What should I plant after {a}?"
        rows.append({"prompt": prompt, "chosen": f" Plant {b} and {a}.", "rejected": f" Plant {a}, {a} and {a} again."})
    return rows


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("POLYCULTURE_CACHE", str(folder))
    return folder
