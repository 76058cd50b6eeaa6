"""One interface to language models: transformers in process, any OpenAI-compatible endpoint, or a script for tests."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "LLM": "base",
    "ScoringLLM": "base",
    "Prompt": "base",
    "Sampling": "base",
    "Completion": "base",
    "DEFAULT_SAMPLING": "base",
    "ScriptedLLM": "scripted",
    "TransformersLLM": "transformers",
    "EndpointLLM": "endpoint",
    "CachedLLM": "cache",
    "Budget": "budget",
    "MeteredLLM": "budget",
    "LoggedLLM": "log",
    "Parsed": "structured",
    "ask_structured": "structured",
    "make_llm": "make",
}


def __getattr__(name: str) -> Any:
    """Public names, imported on first use so that ``import polyculture.llm`` stays light."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"polyculture.llm.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'polyculture.llm' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(_HOMES)
