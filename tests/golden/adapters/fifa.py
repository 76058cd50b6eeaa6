"""fifa: importance of preference pairs, and the nearest-neighbour entropy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from polyculture.measure.knn_entropy import knn_entropy as entropy
from polyculture.measure.knn_entropy import log_knn_distance
from polyculture.select.fifa import importance
from tests.golden.adapters.given import given


def importance_select(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    isolation = log_knn_distance(inputs["embedding"], **given(params, "k", floor="distance_floor"))
    margin = np.subtract(inputs["reward_win"], inputs["reward_lose"])
    found = importance(margin, inputs["text_quality"], isolation, **given(params, "alpha", "gamma"))
    return {
        "margin": found.margin,
        "log_knn_distance": found.isolation,
        "score": found.score,
        "selected_in_order": found.top(params["K"]),
    }


def knn_entropy(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    X, options = inputs["X"], given(params, "k")
    return {"entropy": entropy(X, **options), "mean_log_rk": log_knn_distance(X, **options).mean()}


OPS: dict[str, Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]] = {
    "importance_select": importance_select,
    "knn_entropy": knn_entropy,
}
