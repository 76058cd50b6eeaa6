"""What an objective can ask for by the names of its arguments, and the kinds of data that have it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from polyculture.errors import BadInput

Kind = Literal["pairs", "demonstrations", "labels", "rankings", "samples"]

PAIRS = {
    "policy_chosen": "the policy's log-probability of the chosen completion, summed over its tokens",
    "policy_rejected": "the same of the rejected completion",
    "ref_chosen": "the reference's log-probability of the chosen completion, summed over its tokens",
    "ref_rejected": "the same of the rejected completion",
    "mean_chosen": "the policy's mean log-probability a token of the chosen completion",
    "mean_rejected": "the same of the rejected completion",
    "ref_mean_chosen": "the reference's mean log-probability a token of the chosen completion",
    "ref_mean_rejected": "the same of the rejected completion",
    "tokens_chosen": "tokens of the chosen completion, its end included",
    "tokens_rejected": "tokens of the rejected completion, its end included",
    "kl_chosen": "KL(reference || policy) over the vocabulary, summed over the positions of the chosen completion",
    "kl_rejected": "the same of the rejected completion",
}
PAIR_COLUMNS = {
    "margin": "by how much the chosen completion is better, 0 or more: a column, or the difference of the scores",
    "margin_rewards_chosen": "(B, m) rewards of the other objectives for the chosen completion",
    "margin_rewards_rejected": "(B, m) the same for the rejected completion",
    "win_chosen": "expected win rate of the first completion against the policy that sampled it, in [0, 1]",
    "win_rejected": "the same of the second completion",
}
LABELS = {
    "policy": "the policy's log-probability of the completion, summed over its tokens",
    "ref": "the reference's",
    "desirable": "whether the completion is wanted",
    "kl_policy": "the policy's log-probability of a completion that belongs to another prompt",
    "kl_ref": "the reference's",
}
RANKINGS = {
    "policy_ranked": "(B, K) the policy's summed log-probabilities of a prompt's completions, best first",
    "ref_ranked": "(B, K) the reference's",
    "ranked": "(B, K) True where there is a completion",
}
SAMPLES = {
    "policy_samples": "the policy's log-probability of a completion it sampled",
    "proposal_samples": "the log-probability under the policy that sampled it",
    "target_samples": "the log of the unnormalised target; -inf where the target is 0",
    "log_z": "the log of the running estimate of the target's sum, of the sample's prompt",
    "baseline": "the running mean of the pseudo-rewards, as it was before these samples",
}
INPUTS: dict[str, str] = {**PAIRS, **PAIR_COLUMNS, **LABELS, **RANKINGS, **SAMPLES}
"""Every input that an objective can ask for by name; others are columns of the data."""

CHOSEN_ALONE = frozenset({"policy_chosen", "mean_chosen", "ref_chosen", "ref_mean_chosen", "tokens_chosen"})
REFERENCE = frozenset(
    {"ref_chosen", "ref_rejected", "ref_mean_chosen", "ref_mean_rejected", "kl_chosen", "kl_rejected"}
    | {"ref", "kl_ref", "ref_ranked"}
)
VOCABULARY = frozenset({"kl_chosen", "kl_rejected"})


def kind_of(needs: Collection[str], name: str) -> Kind:
    """The kind of data that has these inputs.

    Args:
        needs: names of inputs.
        name: of the objective, for messages.

    Raises:
        BadInput: they belong to different kinds.
    """
    wanted = set(needs)
    kinds: list[Kind] = []
    if wanted & (PAIRS.keys() | PAIR_COLUMNS.keys()):
        kinds.append("pairs" if wanted & (PAIRS.keys() | PAIR_COLUMNS.keys()) - CHOSEN_ALONE else "demonstrations")
    kinds += ["labels"] if wanted & LABELS.keys() else []
    kinds += ["rankings"] if wanted & RANKINGS.keys() else []
    kinds += ["samples"] if wanted & SAMPLES.keys() else []
    if len(kinds) != 1:
        found = " and ".join(kinds) or "no kind of data"
        raise BadInput(
            f"objective '{name}' has the inputs {', '.join(needs) or 'none'}, which are of {found}; "
            "name them after one kind of polyculture.align.inputs.INPUTS"
        )
    return kinds[0]
