from __future__ import annotations

import numpy as np

from polyculture.decode.answers import parse_choice
from polyculture.decode.skills import (
    global_strength,
    local_scores,
    map_keywords,
    normalised_strength,
    parse_keywords,
    recruit_probabilities,
    repeated_keywords,
    skill_profile,
    trim_replacement,
)
from tests.golden.adapters.given import given


def _global_strength(inputs, params):
    totals, strength = global_strength(inputs["profiles"], **given(params, "temperature"))
    return {"totals": totals, "strength": strength}


def _normalise_strength(inputs, params):
    return {"strength": normalised_strength(inputs["totals"], **given(params, "temperature")).tolist()}


def _recruit_probabilities(inputs, params):
    _, strength = global_strength(inputs["profiles"], **given(params, "temperature"))
    scores = local_scores(inputs["profiles"], inputs["query_keywords"])
    return {"local_scores": scores, "probabilities": recruit_probabilities(scores, strength)}


def _recruit_from_scores(inputs, params):
    return {"probabilities": recruit_probabilities(inputs["local_scores"], inputs["strength"])}


def _trim_replacement(inputs, params):
    counts, options = inputs["counts"], given(params, "threshold")
    return {f"replace_{name}": trim_replacement(counts, name, **options) for name in counts}


def _keyword_annotation(inputs, params):
    parsed = [parse_keywords(text) for text in inputs["llm_outputs"][: params.get("n_samples")]]
    kept = repeated_keywords(parsed, **given(params, "max_len", more_than="min_count_exclusive"))
    return {"parsed": parsed, "kept": kept}


def _skill_profile(inputs, params):
    right = [
        choice == sample["gold_answer"]
        for sample, choice in zip(inputs["samples"], _choices(inputs["model_outputs"], params), strict=True)
    ]
    profile = skill_profile([sample["keywords"] for sample in inputs["samples"]], right)
    return {"profile": profile.scores, "accuracy_percent": profile.accuracy_percent}


def _choices(texts, params):
    return [parse_choice(text, **given(params, "n_choices")) or "N/A" for text in texts]


def _parse_choice(inputs, params):
    return {"choices": _choices(inputs["texts"], params)}


def _map_keywords(inputs, params):
    targets, available = np.array(inputs["target_embeddings"]), np.array(inputs["available_embeddings"])
    return {"mapped": map_keywords(targets, available, inputs["available"])}


OPS = {
    "global_strength": _global_strength,
    "normalise_strength": _normalise_strength,
    "recruit_probabilities": _recruit_probabilities,
    "recruit_from_scores": _recruit_from_scores,
    "trim_replacement": _trim_replacement,
    "keyword_annotation": _keyword_annotation,
    "skill_profile": _skill_profile,
    "parse_choice": _parse_choice,
    "map_keywords": _map_keywords,
}
