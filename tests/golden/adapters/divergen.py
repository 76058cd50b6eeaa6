"""divergen: the filter by similarity, copy-paste, class-balanced draws, and the energy gap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from polyculture.measure.energy import free_energy, train_validation_gap
from polyculture.quality.inter_similarity import mean_similarity
from polyculture.select.divergen import balanced_probability, filter_by_similarity
from polyculture.synthesize.copy_paste import Annotated, paste
from tests.golden.adapters.given import given


def similarity_filter(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    similarity = mean_similarity(inputs["generated_features"], inputs["real_features"])
    kept = filter_by_similarity(similarity, **given(params, "threshold")).kept
    return {"mean_similarity": similarity, "kept": kept}


def copy_paste(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    parts = [
        Annotated(*(np.array(inputs[f"{side}_{what}"]) for what in ("image", "masks", "labels")))
        for side in ("dst", "src")
    ]
    found = paste(
        *parts,
        drop_covered=False,
        **given(params, "blend", max_shift="bbox_thr", min_area="mask_thr"),
    )
    return {"image": found.image, "boxes": found.boxes, "labels": found.labels, "mask_areas": found.areas}


def class_balanced_probability(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    return {"category_probability": balanced_probability(inputs["pool_sizes"])}


def energy_gap(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    train, validation, options = inputs["logits_train"], inputs["logits_val"], given(params, temperature="tau")
    return {
        "energy_train": free_energy(train, **options),
        "energy_val": free_energy(validation, **options),
        "gap": train_validation_gap(train, validation, **options),
    }


OPS: dict[str, Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]] = {
    "similarity_filter": similarity_filter,
    "copy_paste": copy_paste,
    "class_balanced_probability": class_balanced_probability,
    "energy_gap": energy_gap,
}
