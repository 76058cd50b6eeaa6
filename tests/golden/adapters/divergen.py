"""divergen: the filter by similarity, copy-paste, class-balanced draws, and the energy gap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from polyculture.measure.energy import free_energy, train_validation_gap
from polyculture.quality.inter_similarity import mean_similarity
from polyculture.select.divergen import balanced_probability, filter_by_similarity
from polyculture.synthesize.copy_paste import Annotated, paste


def similarity_filter(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    similarity = mean_similarity(inputs["generated_features"], inputs["real_features"])
    kept = filter_by_similarity(similarity, threshold=params["threshold"]).kept
    return {"mean_similarity": similarity, "kept": kept}


def copy_paste(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    parts = [
        Annotated(*(np.array(inputs[f"{side}_{what}"]) for what in ("image", "masks", "labels")))
        for side in ("dst", "src")
    ]
    found = paste(
        *parts,
        blend=params["blend"],
        max_shift=params["bbox_thr"],
        min_area=params["mask_thr"],
        drop_covered=False,
    )
    return {"image": found.image, "boxes": found.boxes, "labels": found.labels, "mask_areas": found.areas}


def class_balanced_probability(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    return {"category_probability": balanced_probability(inputs["pool_sizes"])}


def energy_gap(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    train, validation, tau = inputs["logits_train"], inputs["logits_val"], params["tau"]
    return {
        "energy_train": free_energy(train, temperature=tau),
        "energy_val": free_energy(validation, temperature=tau),
        "gap": train_validation_gap(train, validation, temperature=tau),
    }


OPS: dict[str, Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]] = {
    "similarity_filter": similarity_filter,
    "copy_paste": copy_paste,
    "class_balanced_probability": class_balanced_probability,
    "energy_gap": energy_gap,
}
