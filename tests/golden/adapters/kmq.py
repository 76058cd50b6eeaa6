"""kmq: cluster weights, the QDIT and Deita baselines, and the capped even split."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from polyculture.pool import Pool
from polyculture.select.allocation import quasi_uniform
from polyculture.select.deita import best_apart
from polyculture.select.kmq_iterative import cluster_scores, ratio_weights, softmax_weights
from polyculture.select.qdit import QDIT
from tests.golden.adapters.given import given


def iterative_cluster_weights(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    gaps = np.array(inputs["reward_gold"]) - np.array(inputs["reward_generated"])
    return {"cluster_weights": softmax_weights(cluster_scores(gaps, inputs["clusters_of_selected"], params["K"]))}


def ratio_cluster_weights(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    scores = cluster_scores(inputs["score"], inputs["cluster"], len(inputs["w_prev"]))
    raw, weights = ratio_weights(scores, inputs["w_prev"])
    return {"s": scores, "w_unnormalised": raw, "w": weights}


def qdit_select(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    pool = Pool.from_arrays(inputs["X"], quality=inputs["quality"])
    return {"selected_in_order": QDIT(**given(params, alpha="alpha")).select(pool, params["K"])}


def quasi_uniform_allocation(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    return {"allocation": quasi_uniform(inputs["counts"], params["budget"])}


def deita_filter(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    options = given(params, threshold="threshold")
    return {"selected_in_order": best_apart(inputs["X"], inputs["score"], params["budget"], normalize=False, **options)}


OPS: dict[str, Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]] = {
    "iterative_cluster_weights": iterative_cluster_weights,
    "ratio_cluster_weights": ratio_cluster_weights,
    "qdit_select": qdit_select,
    "quasi_uniform_allocation": quasi_uniform_allocation,
    "deita_filter": deita_filter,
}
