"""odis: components of rater scores, what each chooses, and how much their best rows overlap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from polyculture.select.components import choose_by_components, correlation


def odis_core(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    found = choose_by_components(
        inputs["scores"],
        params["budget"],
        inputs["tokens"],
        n_components=params["n_components"],
        standardise=params["standardise"],
    )
    return {
        "components": found.components.loadings,
        "explained_variance": found.components.variance,
        "explained_variance_ratio": found.components.share,
        "projected": found.projected,
        "projected_correlation": correlation(found.projected),
        "selected_per_component": [rows.tolist() for rows in found.rows],
        "overlap": found.overlap,
    }


OPS: dict[str, Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]] = {"odis_core": odis_core}
