from __future__ import annotations

import numpy as np

from polyculture.decode.approaches import frequent_approaches, independent_majority, inference_cost, select_pairs
from polyculture.decode.majority import majority_vote


def _frequent_approaches(inputs, params):
    approaches, counts = frequent_approaches(inputs["calls"], params["n"])
    return {"counts": counts, "approaches": approaches}


def _select_pairs(inputs, params):
    return {"selected": select_pairs(inputs["validation_accuracy"], params["size"])}


def _majority_vote(inputs, params):
    return {"winners": [majority_vote(answers) for answers in inputs["answers"]]}


def _inference_cost(inputs, params):
    words = inputs["prompt_completion_words"]
    return {
        model: [inference_cost(asked, answered, price_in, price_out) for asked, answered in words]
        for model, (price_in, price_out) in params["prices"].items()
    }


def _independent_majority(inputs, params):
    return {
        "independent": independent_majority(inputs["accuracies"]),
        "fully_correlated": float(np.mean(inputs["accuracies"])),
    }


OPS = {
    "frequent_approaches": _frequent_approaches,
    "select_pairs": _select_pairs,
    "majority_vote": _majority_vote,
    "inference_cost": _inference_cost,
    "independent_majority": _independent_majority,
}
