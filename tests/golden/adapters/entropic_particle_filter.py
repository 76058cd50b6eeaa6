from __future__ import annotations

from polyculture.decode.particles import (
    annealing_temperature,
    effective_sample_size,
    normalised_entropy,
    prm_log_weights,
    systematic_resampling,
    tempered_probabilities,
)
from tests.golden.adapters.given import given


def _floats(values):
    return [float(value) for value in values]


def _prm_log_weights(inputs, params):
    log_weights = prm_log_weights(_floats(inputs["prm_scores"]))
    return {"log_weights": log_weights.tolist(), "probabilities": tempered_probabilities(log_weights).tolist()}


def _ess_and_entropy(inputs, params):
    p = _floats(inputs["probabilities"])
    ess = effective_sample_size(p)
    return {"ess": ess, "ess_ratio": ess / len(p), "normalised_entropy": normalised_entropy(p)}


def _annealing_temperature(inputs, params):
    p = _floats(inputs["probabilities"])
    return {
        "temperatures": [
            annealing_temperature(p, entry["t"], entry["T"], **given(entry, "method", "ess_threshold", "early_phase"))
            for entry in params["grid"]
        ]
    }


def _tempered_probabilities(inputs, params):
    return {
        "probabilities": tempered_probabilities(_floats(inputs["log_weights"]), **given(params, "temperature")).tolist()
    }


def _systematic_resampling(inputs, params):
    p, options = _floats(inputs["probabilities"]), given(params, "n")
    return {"indices_by_u": [systematic_resampling(p, u, **options).tolist() for u in inputs["u"]]}


def _ess_temperature_resample(inputs, params):
    p = _floats(inputs["probabilities"])
    temperature = annealing_temperature(p, params["t"], params["T"], **given(params, "ess_threshold", "early_phase"))
    return {
        "ess": effective_sample_size(p),
        "temperature": temperature,
        "indices": systematic_resampling(p, inputs["u"]).tolist(),
    }


OPS = {
    "prm_log_weights": _prm_log_weights,
    "ess_and_entropy": _ess_and_entropy,
    "annealing_temperature": _annealing_temperature,
    "tempered_probabilities": _tempered_probabilities,
    "systematic_resampling": _systematic_resampling,
    "ess_temperature_resample": _ess_temperature_resample,
}
