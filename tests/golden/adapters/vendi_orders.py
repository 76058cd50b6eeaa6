"""Adapters: inputs and parameters of each op of vendi-orders.json to the public API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from polyculture.measure.spectrum import kernel_eigenvalues
from polyculture.measure.vendi import vendi_gradient, vendi_of_eigenvalues, vendi_score_kernel
from polyculture.space.discrete_kernels import class_kernel


def by_order(K: Any, params: dict[str, Any], p: Any = None) -> dict[str, Any]:
    values, tolerance = kernel_eigenvalues(K, p=p, unit_diagonal=False), params.get("eig_tol")
    return {"vendi_score_by_q": {str(q): vendi_of_eigenvalues(values, q, eig_tol=tolerance) for q in params["q"]}}


def orders(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    return by_order(inputs["K"], params, inputs.get("p"))


def class_sizes(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    labels = [c for c, size in enumerate(inputs["class_sizes"]) for _ in range(size)]
    return by_order(class_kernel(labels, within=inputs["within_similarity"]), params)


def order_zero(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    options = {"eig_tol": params.get("eig_tol"), "unit_diagonal": False}
    return {"vendi_score": vendi_score_kernel(inputs["K"], params.get("q", 0), **options)}


def gradient(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    options = {"eig_tol": params.get("eig_tol"), "unit_diagonal": False}
    return {"grad_by_q": {str(q): vendi_gradient(inputs["K"], q, **options).gradient.tolist() for q in params["q"]}}


OPS: dict[str, Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]] = {
    "vendi_orders": orders,
    "vendi_orders_class_sizes": class_sizes,
    "vendi_order_zero": order_zero,
    "vendi_gradient": gradient,
}
