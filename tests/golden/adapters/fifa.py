"""fifa: importance of preference pairs, and the nearest-neighbour entropy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from polyculture.measure.knn_entropy import knn_entropy as entropy
from polyculture.measure.knn_entropy import log_knn_distance
from polyculture.select.fifa import importance


def importance_select(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    isolation = log_knn_distance(inputs["embedding"], params["k"], floor=params["distance_floor"])
    margin = np.subtract(inputs["reward_win"], inputs["reward_lose"])
    found = importance(margin, inputs["text_quality"], isolation, alpha=params["alpha"], gamma=params["gamma"])
    return {
        "margin": found.margin,
        "log_knn_distance": found.isolation,
        "score": found.score,
        "selected_in_order": found.top(params["K"]),
    }


def knn_entropy(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    X, k = inputs["X"], params["k"]
    return {"entropy": entropy(X, k=k), "mean_log_rk": log_knn_distance(X, k).mean()}


OPS: dict[str, Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]] = {
    "importance_select": importance_select,
    "knn_entropy": knn_entropy,
}
