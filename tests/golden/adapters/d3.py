"""d3: uncertainty-based prediction difficulty, and the weighted k-center."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from polyculture.quality.difficulty import difficulty_of_logits
from polyculture.select.d3 import weighted_k_center
from tests.golden.adapters.given import given


def upd_score(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    found = difficulty_of_logits(
        np.array(inputs["logits"], dtype=np.float64),
        inputs["token_ids"],
        params["prompt_length"],
        **given(params, "clamp", vocabulary="vocab_size"),
    )
    return {"upd": found.score, "loss": found.losses, "entropy": found.entropies, "token_upd": found.tokens}


def weighted_kcenter(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    weights = [inputs["difficulty"], inputs["dependability"]]
    cover = weighted_k_center(inputs["X"], weights, params["budget"], **given(inputs, chosen="preselected"))
    return {"selected_in_order": cover.rows, "gains": cover.gains, "weighted_radius": cover.radius}


OPS: dict[str, Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]] = {
    "upd_score": upd_score,
    "weighted_kcenter": weighted_kcenter,
}
