"""only-if: rewriting, Markov algorithms, restricted families, the long tail and the budget."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from polyculture.studies.budgets import budget_split, power_law_bins
from polyculture.studies.string_rewriting import Rule, families, rewrite_once, run_markov
from tests.golden.adapters.given import given


def once(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    triples = inputs["triples"]
    return {
        "outputs": [rewrite_once(s, x, y) for s, x, y in triples],
        "has_op": [Rule(x, y).applies(s) for s, x, y in triples],
    }


def markov(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    run = run_markov(inputs["start"], [Rule(*rule) for rule in inputs["rules"]], **given(params, "max_steps"))
    return {"result": run.result, "trace": list(run.trace)}


def restricted(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    return {"families": {f"{block}_k{k}": families(block, k) for block in inputs["blocks"] for k in params["k"]}}


def bins(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    return {"probabilities": power_law_bins(inputs["n_instructions"], params["shape"]).tolist()}


def split(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    return {"sizes": budget_split(inputs["budget"], inputs["n_instructions"]).tolist()}


OPS: dict[str, Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]] = {
    "rewrite_once": once,
    "markov_run": markov,
    "restricted_families": restricted,
    "power_law_bins": bins,
    "budget_split": split,
}
