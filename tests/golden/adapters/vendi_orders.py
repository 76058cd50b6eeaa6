"""Adapters: inputs and parameters of each op of vendi-orders.json to the public API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from polyculture.measure.vendi import vendi_gradient, vendi_score_kernel, vendi_scores
from polyculture.space.discrete_kernels import class_kernel


def by_order(K: Any, params: dict[str, Any], p: Any = None) -> dict[str, Any]:
    scores = vendi_scores(K, params["q"], kernel="precomputed", p=p, eig_tol=params.get("eig_tol"))
    return {"vendi_score_by_q": {str(q): value for q, value in scores.items()}}


def orders(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    return by_order(inputs["K"], params, inputs.get("p"))


def class_sizes(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    labels = [c for c, size in enumerate(inputs["class_sizes"]) for _ in range(size)]
    return by_order(class_kernel(labels, within=inputs["within_similarity"]), params)


def order_zero(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    return {"vendi_score": vendi_score_kernel(inputs["K"], params["q"], eig_tol=params.get("eig_tol"))}


def gradient(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    return {"grad_by_q": {str(q): vendi_gradient(inputs["K"], q).gradient for q in params["q"]}}


OPS: dict[str, Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]] = {
    "vendi_orders": orders,
    "vendi_orders_class_sizes": class_sizes,
    "vendi_order_zero": order_zero,
    "vendi_gradient": gradient,
}
