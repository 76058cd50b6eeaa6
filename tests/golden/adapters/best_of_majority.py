from __future__ import annotations

from polyculture.decode.best_of_majority import best_of_majority
from polyculture.decode.groups import by_count, by_score, group_answers
from polyculture.decode.soft_best_of_n import soft_best_of_n_probabilities
from tests.golden.adapters.given import given


def _groups(inputs):
    return group_answers(inputs["answers"], [float(reward) for reward in inputs["rewards"]])


def _group_answers(inputs, params):
    return {
        "groups": [
            {"answer": g.key, "count": g.count, "freq": g.freq, "mean_reward": g.mean_score} for g in _groups(inputs)
        ]
    }


def _select_answers(inputs, params):
    k, groups = params["k"], _groups(inputs)
    rewards = [float(reward) for reward in inputs["rewards"]]
    return {
        "bon": [g.key for g in by_score(groups)[:k]],
        "majority": [g.key for g in by_count(groups)[:k]],
        "bom_by_alpha": {
            str(float(alpha)): best_of_majority(inputs["answers"], rewards, k, alpha, on_empty="none")
            for alpha in params["alphas"]
        },
    }


def _soft_bon_probabilities(inputs, params):
    groups = _groups(inputs)
    return {
        "groups": [g.key for g in groups],
        "probabilities": soft_best_of_n_probabilities(groups, **given(params, "beta")).tolist(),
    }


OPS = {
    "group_answers": _group_answers,
    "select_answers": _select_answers,
    "soft_bon_probabilities": _soft_bon_probabilities,
}
