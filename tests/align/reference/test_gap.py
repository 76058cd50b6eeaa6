import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from polyculture.align.data.examples import PlacedRow
from polyculture.align.reference.distance import KLToBase
from polyculture.align.reference.gap import ReferenceGaps
from polyculture.align.staged.curriculum import CurryDPO
from polyculture.errors import BadInput
from tests.tiny_models import tiny_llama

PAIRS = [
    {"prompt": "The quick brown", "chosen": " fox jumps", "rejected": " dog"},
    {"prompt": "What is 12", "chosen": " + 30?", "rejected": " + 30?"},
    {"prompt": "Plant", "chosen": " wheat, rye, oats", "rejected": " a monoculture."},
    {"chosen": "\n\nHuman: 7 * 6?\n\nAssistant: 42", "rejected": "\n\nHuman: 7 * 6?\n\nAssistant: The answer"},
]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("models") / "base", seed=1)


def summed(folder, prompt, completion):
    """The plain way: one pass over prompt and completion, no padding, no sharing."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    before = tokenizer(prompt)["input_ids"]
    after = [*tokenizer(completion, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    with torch.no_grad():
        logs = model(torch.tensor([before + after])).logits[0].double().log_softmax(-1)
    return sum(logs[len(before) + i - 1, token].item() for i, token in enumerate(after))


def test_the_gap_is_that_of_summed_log_probabilities(base, tmp_path):
    gaps = ReferenceGaps(base, batch_size=2, folder=tmp_path)(PAIRS)
    expected = [summed(base, p["prompt"], p["chosen"]) - summed(base, p["prompt"], p["rejected"]) for p in PAIRS[:3]]
    assert gaps[[0, 2]] == pytest.approx([expected[0], expected[2]], rel=1e-4) and np.isfinite(gaps[3])
    assert np.isnan(gaps[1]), "the same answer twice teaches nothing"
    assert np.array_equal(ReferenceGaps(base, folder=tmp_path)(PAIRS), gaps, equal_nan=True)


def test_rows_that_know_their_place_are_found_again(base):
    placed = [PlacedRow(row, f"data.jsonl row {7 * i}") for i, row in enumerate(PAIRS)]
    assert np.array_equal(ReferenceGaps(base)(placed), ReferenceGaps(base)(PAIRS), equal_nan=True)


def test_a_model_in_memory_serves_as_well(base):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    assert ReferenceGaps(model, tokenizer)(PAIRS) == pytest.approx(ReferenceGaps(base)(PAIRS), nan_ok=True, rel=1e-4)
    with pytest.raises(BadInput, match="pair row 1"):
        ReferenceGaps(model, tokenizer)([{"chosen": 3, "rejected": "a"}])


def test_unrated_pairs_are_staged_by_a_real_reference(base):
    plan = CurryDPO(iterations=3).plan(PAIRS, ReferenceGaps(base))
    ease = [row["ease"] for stage in plan.stages for row in stage]
    assert ease == sorted(ease, reverse=True) and len(ease) == 3 and plan.counts == {"can't be trained on": 1}


def test_the_distance_to_oneself_is_nothing_and_to_another_is_something(base, tmp_path):
    other = tiny_llama(tmp_path / "other", seed=2)
    distance = KLToBase(base, PAIRS, samples=2, max_new_tokens=8)
    assert distance(base) == pytest.approx(0, abs=1e-4)
    far = distance(other)
    assert far > 0.1 and distance(other) == far, "the samples are the same each time"


def test_the_distance_is_the_mean_log_ratio_of_samples(base, tmp_path):
    other = tiny_llama(tmp_path / "other", seed=2)
    exact = KLToBase(base, PAIRS[:1], samples=200, max_new_tokens=1)(other)
    tokenizer = AutoTokenizer.from_pretrained(base)
    ids = torch.tensor([tokenizer(PAIRS[0]["prompt"])["input_ids"]])
    with torch.no_grad():
        policy, reference = (
            AutoModelForCausalLM.from_pretrained(folder)(ids).logits[0, -1].double().log_softmax(-1)
            for folder in (other, base)
        )
    assert exact == pytest.approx((policy.exp() * (policy - reference)).sum().item(), rel=1e-4)


LONG = [{"prompt": f"{i} wheat and rye" * 12, "chosen": " oats", "rejected": " clover"} for i in range(3)]


def test_pairs_are_cut_to_the_models_window_as_in_training(tmp_path):
    small = tiny_llama(tmp_path / "small", context=32)
    with pytest.warns(UserWarning, match="the model takes 32 tokens"):
        gaps = ReferenceGaps(small)(LONG)
    assert np.array_equal(gaps, ReferenceGaps(small, max_length=32)(LONG))


def test_prompts_leave_room_for_samples_in_the_models_window(tmp_path):
    small, other = (tiny_llama(tmp_path / str(seed), context=32, seed=seed) for seed in (1, 2))
    cut = KLToBase(small, LONG, samples=1, max_new_tokens=8, max_length=24)
    assert KLToBase(small, LONG, samples=1, max_new_tokens=8)(other) == pytest.approx(cut(other))
    with pytest.raises(BadInput, match="no room for a prompt"):
        KLToBase(small, LONG, max_new_tokens=32)(other)
