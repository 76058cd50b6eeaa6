"""damo: the grid of mixtures, its features, the network, the ranking and the calibration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from polyculture.mix.candidates import grid_size, mixture_grid
from polyculture.mix.damo import apply_network, fit_network
from polyculture.mix.regression import affine_calibration, mixture_features, r_squared, rank_mixtures
from tests.golden.adapters.given import given


def grid(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    return {"P_fix": mixture_grid(params["m"], params["b"]), "size": grid_size(params["m"], params["b"])}


def size(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    return {"size": grid_size(params["m"], params["b"])}


def features(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    progress = (np.array(inputs["ckpt_id"]) + 1) / params["n_checkpoints"]
    return {"x": mixture_features(inputs["p"], progress)}


def mlp_fit(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    Y, Y_test = (np.array(inputs[name]).reshape(len(inputs[name]), -1) for name in ("Y", "Y_test"))
    network = fit_network(
        inputs["X"],
        Y,
        standardise=False,
        **given(params, "max_iter", "tol", hidden="hidden_layer_sizes", seed="random_state"),
    )
    prediction = apply_network(network, inputs["X_test"])
    r2 = r_squared(Y_test, prediction, constant="count")
    return {"prediction": prediction[:, 0] if prediction.shape[1] == 1 else prediction, "r2": r2}


def ranking(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    indices, means = rank_mixtures(inputs["predicted_scores"], **given(params, "threshold", "top"))
    return {"indices": indices, "means": means}


def calibration(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    found = affine_calibration(inputs["f"], inputs["g"])
    return {"W": found.W, "b": found.bias, "bias": found.bias, "fitted": found.fitted}


def overall_scores(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    n = len(inputs["scores"])
    order, ranked = rank_mixtures(inputs["scores"], top=n)
    means = np.empty(n)
    means[order] = ranked
    return {"overall_mean": means, "best_row": order[0]}


OPS: dict[str, Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]] = {
    "mixture_grid": grid,
    "mixture_grid_size": size,
    "mixture_features": features,
    "mlp_fit": mlp_fit,
    "mixture_ranking": ranking,
    "linear_calibration": calibration,
    "overall_scores": overall_scores,
}
