"""tikmix: group influence, the constrained optimum and its objective, the candidates and the search step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from polyculture.mix.influence import logistic_influence
from polyculture.mix.tikmix import objective, optimal_mixture
from polyculture.mix.tikmix_search import search_step, within_bounds
from tests.golden.adapters.given import given


def influence(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    validation = [(task["X"], task["y"]) for task in inputs["val"]]
    found = logistic_influence(inputs["X"], inputs["y"], inputs["group"], validation, params["lambda"])
    return {"theta": found.theta, "I": found.influence}


def optimum(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    found = optimal_mixture(inputs["S"], inputs["w_prior"], **params)
    return {"w_opt": found.weights, "L_opt": found.objective.value}


def at_mixture(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    found = objective(inputs["S"], inputs["w_test"], **params)
    return {"Phat_test": found.normalised, "L_test": found.value}


def candidate_filter(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    normalised, accepted = within_bounds(inputs["candidates"], inputs["w_orig"], **given(params, low="lo", high="hi"))
    return {"normalised": normalised, "accepted": accepted}


def step(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    indices, centre = search_step(inputs["candidates"], inputs["score"], params["k"])
    return {"indices": indices, "centre": centre}


OPS: dict[str, Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]] = {
    "group_influence": influence,
    "tikmix_d_optimum": optimum,
    "tikmix_d_objective": at_mixture,
    "mixture_candidate_filter": candidate_filter,
    "search_step": step,
}
