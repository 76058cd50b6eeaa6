"""Adapters: inputs and parameters of each op of vendi.json to the public API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from polyculture.measure.ngram_vendi import ngram_vendi
from polyculture.measure.vendi import intdiv, vendi_score, vendi_score_kernel
from polyculture.space.kernels import linear_kernel, unit_rows
from tests.golden.adapters.given import given


def score(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    options = {"normalize": params.get("normalize", False), "p": inputs.get("p"), "unit_diagonal": False}
    return {"vendi_score": vendi_score_kernel(inputs["K"], params.get("q", 1), **options)}


def embeddings(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    q = params.get("q", 1)
    return {
        "vendi_score_primal": vendi_score_kernel(linear_kernel(unit_rows(inputs["X"])), q),
        "vendi_score_dual": vendi_score(inputs["X"], q, kernel="cosine"),
    }


def average_similarity(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    return {"intdiv": intdiv(inputs["K"]), "intdiv_power2": intdiv(inputs["K"], power=2)}


def ngrams(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    return {"vendi_score": ngram_vendi(inputs["texts"], **given(params, "ns"))}


OPS: dict[str, Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]] = {
    "vendi_score": score,
    "vendi_score_embeddings": embeddings,
    "intdiv": average_similarity,
    "ngram_vendi": ngrams,
}
