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


def _global_strength(inputs, params):
    totals, strength = global_strength(inputs["profiles"], params["temperature"])
    return {"totals": totals, "strength": strength}


def _normalise_strength(inputs, params):
    return {"strength": normalised_strength(inputs["totals"], params["temperature"])}


def _recruit_probabilities(inputs, params):
    _, strength = global_strength(inputs["profiles"], params["temperature"])
    scores = local_scores(inputs["profiles"], inputs["query_keywords"])
    return {"local_scores": scores, "probabilities": recruit_probabilities(scores, strength)}


def _recruit_from_scores(inputs, params):
    return {"probabilities": recruit_probabilities(inputs["local_scores"], inputs["strength"])}


def _trim_replacement(inputs, params):
    counts = inputs["counts"]
    return {f"replace_{name}": trim_replacement(counts, name, params["threshold"]) for name in counts}


def _keyword_annotation(inputs, params):
    parsed = [parse_keywords(text) for text in inputs["llm_outputs"][: params["n_samples"]]]
    kept = repeated_keywords(parsed, max_len=params["max_len"], more_than=params["min_count_exclusive"])
    return {"parsed": parsed, "kept": kept}


def _skill_profile(inputs, params):
    right = [
        parse_choice(output, params["n_choices"]) == sample["gold_answer"]
        for sample, output in zip(inputs["samples"], inputs["model_outputs"], strict=True)
    ]
    profile = skill_profile([sample["keywords"] for sample in inputs["samples"]], right)
    return {"profile": profile.scores, "accuracy_percent": profile.accuracy_percent}


def _parse_choice(inputs, params):
    return {"choices": [parse_choice(text, params["n_choices"]) or "N/A" for text in inputs["texts"]]}


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
