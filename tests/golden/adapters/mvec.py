"""mvec: DP-means, alignment and attention of strategies, pruning, and the Jaccard index."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from polyculture.select.strategy_predictor import strategy_jaccard
from polyculture.select.strategy_symmetry import (
    alignment_similarity,
    attention_similarity,
    most_attended,
    with_positions,
)
from polyculture.space.dp_means import dp_means
from tests.golden.adapters.given import given


def clusters(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    found = dp_means(
        inputs["X"],
        params["lambda"],
        first=inputs["initial_index"],
        **given(params, "max_iter", "tol"),
    )
    return {"labels": found.labels, "k": found.k, "centroids": found.centroids, "objective": found.objective}


def alignment(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    return {
        "similarity": alignment_similarity(inputs["A"], inputs["B"]),
        "A_with_position": with_positions(inputs["A"]),
    }


def attention(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    return {"cosine": attention_similarity(inputs["a"], inputs["b"])}


def prune(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    kept = most_attended(inputs["attention"], params["keep"])
    return {"kept_positions_sorted": kept, "n_kept": len(kept)}


def jaccard(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    return {"jaccard": strategy_jaccard(inputs["predicted"], inputs["actual"])}


OPS: dict[str, Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]] = {
    "dp_means": clusters,
    "alignment_similarity": alignment,
    "attention_cosine": attention,
    "attention_prune": prune,
    "strategy_jaccard": jaccard,
}
