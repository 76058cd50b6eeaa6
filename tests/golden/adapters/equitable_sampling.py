"""equitable-sampling: greedy and continuous allocations, and the free fit of a learning curve."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from polyculture.mix.equitable_allocation import continuous_allocation, greedy_allocation
from polyculture.mix.learning_curves import PowerLaw, fit_curve
from tests.golden.adapters.given import given


def greedy(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    found = greedy_allocation(
        [PowerLaw(*curve) for curve in zip(inputs["a"], inputs["b"], inputs["c"], strict=True)],
        params["budget"],
        utility=params["utility"].replace("_", "-"),
        **given(params, start="n0"),
        **given(inputs, "weights", costs="cost", caps="cap"),
    )
    return {"n": found.counts, "order": found.order, "utility": found.utility}


def continuous(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    curves = [PowerLaw(0.0, b, c) for b, c in zip(inputs["b"], inputs["c"], strict=True)]
    n, price = continuous_allocation(curves, params["budget"], **given(inputs, "weights", costs="cost"))
    return {"n": n, "lambda": price}


def free_fit(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    curve = fit_curve(inputs["n"], inputs["v"], exponent=(0.01, 2.0), asymptote=(0.0, 2.0), scale=(0.0, 10.0))
    return {"a": curve.a, "b": curve.b, "c": curve.c}


OPS: dict[str, Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]] = {
    "greedy_allocation": greedy,
    "continuous_allocation": continuous,
    "fit_learning_curve": free_fit,
}
