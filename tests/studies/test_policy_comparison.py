from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.measure.per_input import diversity_by_input
from polyculture.space.embedders import make_embedder
from polyculture.studies.best_of_n import best_of_n, subsets
from polyculture.studies.policy_comparison import (
    BEST,
    SFT,
    Measured,
    Measures,
    Policy,
    claims_of,
    control_differences,
    length_notes,
    nearest_to_best_of_n,
    win_values,
)

OUTPUTS = [["a b c", "a b d", "a b c"], ["x y", "z w", "q r"]]


def of(wins: float, diversity: float, *, outside: float | None = None) -> dict[str, Measured]:
    def one(win: float) -> Measured:
        noise = np.linspace(-0.05, 0.05, 20)
        varied = {"ead": diversity + noise / 5}
        return Measured(win + noise, noise, varied, {"ead": np.full(4, diversity)}, {"ead": diversity}, 6.0)

    return {"inside": one(wins)} | ({} if outside is None else {"outside": one(outside)})


def test_wins_are_counted_by_input_and_ties_half() -> None:
    scores = np.array([[1.0, 2.0, 3.0, 2.0], [0.0, 0.0, 0.0, 0.0]])
    assert win_values(scores, np.array([2.0, -1.0])).tolist() == [0.5, 1.0]
    with pytest.raises(BadInput, match="have shapes"):
        win_values(scores, np.zeros(3))


def test_diversity_is_that_of_the_protocol() -> None:
    per_input, across, pooled = Measures().of({"one": OUTPUTS})["one"]
    report = diversity_by_input(OUTPUTS)
    for name, held in report.metrics.items():
        assert per_input[name].mean() == pytest.approx(held.per_input)
        assert across[name][0] == pytest.approx(held.across_input) and len(across[name]) == 3
        assert pooled[name] == pytest.approx(held.pooled)
    assert per_input["different"].tolist() == [pytest.approx(2 / 3), 1.0] and pooled["different"] == pytest.approx(
        5 / 6
    )


def test_embeddings_of_all_policies_are_of_one_space() -> None:
    same = [["red fish", "red fish"], ["blue bird", "blue bird"]]
    found = Measures({}, make_embedder("tfidf")).of({"varied": OUTPUTS, "same": same})
    assert found["same"][0]["embedding"].tolist() == pytest.approx([0, 0], abs=1e-6)
    assert found["same"][1]["embedding"].tolist() == pytest.approx([1, 1], abs=1e-6)
    assert found["varied"][0]["embedding"].min() > 0.1


def test_claims_are_differences_with_a_verdict() -> None:
    policies = {
        SFT: Policy(SFT, of(0.3, 0.9, outside=0.2)),
        BEST: Policy(BEST, of(0.6, 0.95, outside=0.25)),
        "RL, KL 1": Policy("RL, KL 1", of(0.4, 0.8, outside=0.2), 0.1, 1.0),
        "RL, KL 0.1": Policy("RL, KL 0.1", of(0.61, 0.5, outside=0.35), 3.0, 0.1),
        "RL, KL 99": Policy("RL, KL 99", of(0.6, 0.9, outside=0.2), 0.0, 99.0),
    }
    rl = nearest_to_best_of_n(policies, control=99.0)
    assert rl == "RL, KL 0.1"
    found = {claim.text: claim for claim in claims_of(policies, rl)}
    assert found[f"{rl} wins more than SFT in distribution"].difference.value == pytest.approx(0.31)
    assert found[f"{rl} wins more than SFT in distribution"].verdict == "yes"
    grows = found[f"the lead of {rl} over SFT grows with the shift"]
    assert grows.difference.value == pytest.approx(-0.16) and grows.verdict == "no, the reverse"
    assert found[f"{rl} is less varied than SFT for one input (ead)"].difference.value == pytest.approx(0.4)
    assert found[f"best-of-n is more varied than {rl} for one input (ead)"].verdict == "yes"
    assert policies[SFT].gap == pytest.approx(0.1)
    control = control_differences(policies, "RL, KL 99")
    assert control["win, inside"].sign == 1 and control["ead per input, outside"].sign == 0


def test_without_shifted_prompts_nothing_is_said_of_them() -> None:
    policies = {name: Policy(name, of(0.3, 0.9)) for name in (SFT, BEST, "RL")}
    assert not [claim.text for claim in claims_of(policies, "RL") if "shift" in claim.text or "out of" in claim.text]
    assert policies[SFT].gap is None


def test_the_best_of_sets_that_share_nothing() -> None:
    rng = np.random.default_rng(0)
    sets = subsets(12, 3, 4, rng)
    assert sorted(np.concatenate(sets).tolist()) == list(range(12))
    scores = np.arange(12.0)
    chosen = best_of_n(scores, 3, 4, np.random.default_rng(1))
    assert chosen.shape == (4,) and 11 in chosen and chosen.min() >= 2
    assert best_of_n(scores, 12, 3, rng).tolist() == [11, 11, 11], "a small pool is shared"
    assert all(len(set(one.tolist())) == 4 for one in subsets(5, 4, 3, rng))
    with pytest.raises(BadInput, match="smaller than best of 5"):
        subsets(4, 5, 1, rng)


def test_lengths_that_matter_are_noted() -> None:
    def policies(*lengths: float) -> dict[str, Policy]:
        held = [replace(of(0.5, 0.5)["inside"], length=length) for length in lengths]
        return {f"p{i}": Policy(f"p{i}", {"inside": one}) for i, one in enumerate(held)}

    assert length_notes(policies(6.0, 6.1)) == []
    short, long = length_notes(policies(2.0, 8.0))
    assert "Outputs of p0 have 2.0 words" in short and "Outputs of p1 have 8.0 words, those of p0 2.0" in long
