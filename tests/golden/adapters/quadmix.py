"""quadmix: the sampling function, its prior, and the regression of RegMix that its search uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from polyculture.select.quadmix_sampling import (
    Parameters,
    expected_tokens,
    merged_quality,
    parameters_of_uniforms,
    sampling_values,
    token_ranks,
)
from polyculture.surrogate import LossModel, distinct_settings, mean_of_lowest
from tests.golden.adapters.given import given

BETA = ("lambda", "omega", "eta", "epsilon")


def sampling_pipeline(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    alpha, lam, omega, eta, epsilon = (np.array(params[name], dtype=float) for name in ("alpha", *BETA))
    theta = Parameters(alpha, lam, omega, eta, epsilon)
    domain = np.array(inputs["domain"], dtype=np.int64)
    quality = merged_quality(inputs["sigma_q"], domain, theta.alpha)
    ranks = token_ranks(quality, inputs["tokens"], domain)
    values = sampling_values(ranks, domain, theta)
    expected = expected_tokens(values, inputs["tokens"], domain, len(theta.omega))
    return {"qbar": quality, "rbar": ranks, "S": values, "expected_tokens_by_domain": expected}


def sampling_value(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    lam, omega, eta, epsilon = (np.array([params[name]], dtype=float) for name in BETA)
    theta = Parameters(np.ones((1, 1)), lam, omega, eta, epsilon)
    return {"S": sampling_values(inputs["rbar"], np.zeros(len(inputs["rbar"]), dtype=np.int64), theta)}


def parameter_prior(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    alpha, *beta = parameters_of_uniforms(inputs["a"], inputs["b"], inputs["u"])
    return {"alpha": alpha, "beta": np.stack(beta, axis=1)}


def mixture_deduplicate(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    return {"kept": distinct_settings(inputs["mixtures"], **given(params, "threshold"))}


def regression_search(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    model = LossModel().fit(inputs["X"], inputs["y"], inputs["X_val"], inputs["y_val"])
    predicted = model.predict(inputs["X_sim"])
    mean, _ = mean_of_lowest(inputs["X_sim"], predicted, params["k"])
    return {"prediction": predicted, "best_iteration": model.best_iteration_, "top_k_mean": mean}


OPS: dict[str, Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]] = {
    "sampling_pipeline": sampling_pipeline,
    "sampling_value": sampling_value,
    "parameter_prior": parameter_prior,
    "mixture_deduplicate": mixture_deduplicate,
    "regression_search": regression_search,
}
