from __future__ import annotations

from dataclasses import asdict

from polyculture.decode.best_of_n import best_of_n
from polyculture.decode.fusion_measures import character_attribution, segment_fusion, segment_majority, win_rate
from tests.golden.adapters.given import given


def _best_of_n(inputs, params):
    return {"selected_index": [best_of_n([float(s) for s in pool["scores"]]) for pool in inputs["pools"]]}


def _character_attribution(inputs, params):
    return asdict(character_attribution(inputs["candidates"], inputs["fused"], **given(params, "autojunk")))


def _segment_quality_fusion(inputs, params):
    found = segment_fusion(inputs["segment_quality"])
    return asdict(found) | {
        "candidate_quality": found.candidate_quality.tolist(),
        "fusion_choice": found.fusion_choice.tolist(),
    }


def _segment_majority(inputs, params):
    return {"fused": segment_majority(inputs["candidates"]).tolist()}


def _win_rate(inputs, params):
    return asdict(win_rate(inputs["win"], inputs["tie"]))


OPS = {
    "best_of_n": _best_of_n,
    "character_attribution": _character_attribution,
    "segment_quality_fusion": _segment_quality_fusion,
    "segment_majority": _segment_majority,
    "win_rate": _win_rate,
}
