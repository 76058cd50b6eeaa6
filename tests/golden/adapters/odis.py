"""odis: components of rater scores, what each chooses, and how much their best rows overlap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from polyculture.select.components import choose_by_components, correlation
from tests.golden.adapters.given import given


def odis_core(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    found = choose_by_components(
        inputs["scores"],
        params["budget"],
        inputs.get("tokens"),
        **given(params, "n_components", "standardise"),
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
