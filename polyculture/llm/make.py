"""A language model from one line of text, as a command line or a recipe gives it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from polyculture.errors import BadInput
from polyculture.llm.base import LLM
from polyculture.llm.budget import Budget, MeteredLLM
from polyculture.llm.cache import CachedLLM
from polyculture.llm.log import LoggedLLM


def make_llm(
    spec: str,
    *,
    base_url: str | None = None,
    api_key: str | None = None,
    cache: str | Path | None = None,
    budget: Budget | None = None,
    log: str | Path | None = None,
    log_texts: bool = False,
    **options: Any,
) -> LLM:
    """A model, within a budget, behind a cache, under a log, as far as these are given.

    ===========================================  ====================================================
    ``http://host:8000/v1#MODEL``                an OpenAI-compatible endpoint
    ``openai:MODEL``, or MODEL and ``base_url``  the same; without base_url the one in OPENAI_BASE_URL
    ``hf:PATH_OR_ID``, or the path or hub id     a transformers model in this process
    ``scripted:FILE.json``                       replies from a file
    ===========================================  ====================================================

    Args:
        spec: which model.
        base_url: address of an endpoint; ``spec`` is then the name of its model.
        api_key: key of the endpoint; by default the environment's OPENAI_API_KEY.
        cache: SQLite file of completions.
        budget: what it may spend.
        log: JSONL file of calls.
        log_texts: log prompts and completions in full.
        options: for EndpointLLM or TransformersLLM, e.g. ``concurrency=64`` or ``dtype="bfloat16"``.

    Raises:
        BadInput: the spec can't be read, or the model can't be had.
    """
    return wrap_llm(
        _bare(spec.strip(), base_url, api_key, options), cache=cache, budget=budget, log=log, log_texts=log_texts
    )


def wrap_llm(
    llm: LLM,
    *,
    cache: str | Path | None = None,
    budget: Budget | None = None,
    log: str | Path | None = None,
    log_texts: bool = False,
) -> LLM:
    """A model within a budget, behind a cache, under a log, as far as these are given; see :func:`make_llm`."""
    if budget is not None:
        llm = MeteredLLM(llm, budget)
    if cache is not None:
        llm = CachedLLM(llm, cache)
    if log is not None:
        llm = LoggedLLM(llm, log, texts=log_texts)
    return llm


def _bare(spec: str, base_url: str | None, api_key: str | None, options: dict[str, Any]) -> LLM:
    kind, colon, rest = spec.partition(":")
    if kind in ("http", "https"):
        address, _, model = spec.partition("#")
        if not model:
            raise BadInput(f"'{_without_user(address)}' does not say which model; write it like {_example(address)}")
        return _endpoint(model, address, api_key, options)
    if base_url is not None or kind == "openai":
        return _endpoint(rest if kind == "openai" else spec, base_url, api_key, options)
    if kind == "scripted" and colon:
        from polyculture.llm.scripted import ScriptedLLM

        return ScriptedLLM.from_file(rest)
    place = rest if kind == "hf" and colon else spec
    if not place:
        raise BadInput("no model is named; give a folder, a hub id, http://host:port/v1#MODEL or scripted:FILE.json")
    from polyculture.llm.transformers import TransformersLLM

    return _with_options(TransformersLLM, options, place)


def _endpoint(model: str, base_url: str | None, api_key: str | None, options: dict[str, Any]) -> LLM:
    from polyculture.llm.endpoint import EndpointLLM

    return _with_options(EndpointLLM, options | {"base_url": base_url, "api_key": api_key}, model)


def _with_options(kind: Any, options: dict[str, Any], model: str) -> Any:
    from polyculture.errors import unknown
    from polyculture.methods import parameters

    known = parameters(kind, skip=("model", "tokenizer"))
    for name in options:
        if name not in known:
            raise unknown(f"option of {kind.__name__}", name, known)
    return kind(model, **options)


def _without_user(address: str) -> str:
    from polyculture.llm.secret import shown_url

    return shown_url(address)


def _example(address: str) -> str:
    return f"{_without_user(address)}#MODEL"
