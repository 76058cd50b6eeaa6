"""Self-contrast: logits by hand, and generation against two full passes without any cache."""

from __future__ import annotations

import math

import pytest
import torch

from polyculture.decode.scmoe import ContrastiveDecoding, SelfContrast, WeakPass, contrast, rank_divergence
from polyculture.errors import BadInput
from polyculture.llm.routing import Ranks, routing
from polyculture.methods import build
from tests.moe_models import MODELS, tiny_moe

PROMPTS = torch.tensor([[0, 0, 5, 6, 7], [9, 8, 12, 3, 4], [0, 21, 22, 23, 30]])
MASK = (PROMPTS != 0).long()


@torch.no_grad()
def generate_without_caches(model, ids: torch.Tensor, weak_ranks: list[int], steps: int, **options) -> torch.Tensor:
    rows = []
    for row in ids:
        row = row[row != 0]  # no padding either
        for _ in range(steps):
            strong = model(row[None]).logits[:, -1]
            with routing(model, weak_ranks):
                weak = model(row[None]).logits[:, -1]
            row = torch.cat([row, contrast(strong, weak, **options).argmax(-1)])
        rows.append(row[-steps:])
    return torch.stack(rows)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("weak", [(2,), (1,), (3, 4)])
def test_generation_is_two_full_passes(kind: str, weak: tuple[int, ...]) -> None:
    model = tiny_moe(kind)
    processor = SelfContrast(model, beta=0.9, alpha=0.01, weak=weak)
    expected = generate_without_caches(model, PROMPTS, list(weak), 8, beta=0.9, alpha=0.01)
    for _ in range(2):  # the second call must not be fooled by the first one's cache
        got = model.generate(
            PROMPTS, attention_mask=MASK, max_new_tokens=8, do_sample=False, logits_processor=[processor]
        )
        assert torch.equal(got[:, 5:], expected)
    greedy = model.generate(PROMPTS, attention_mask=MASK, max_new_tokens=8, do_sample=False)
    assert not torch.equal(greedy[:, 5:], expected)  # the contrast does something


def test_a_given_attention_mask_says_what_padding_is() -> None:
    model = tiny_moe("mixtral")
    odd = PROMPTS.masked_fill(PROMPTS == 0, 17)  # padded with an ordinary token
    wanted = {"max_new_tokens": 6, "do_sample": False, "attention_mask": MASK}
    expected = model.generate(PROMPTS, logits_processor=[SelfContrast(model)], **wanted)[:, 5:]
    given = SelfContrast(model, attention_mask=MASK)
    assert torch.equal(model.generate(odd, logits_processor=[given], **wanted)[:, 5:], expected)
    with pytest.raises(BadInput, match="attention_mask"):
        given(torch.ones(2, 7, dtype=torch.long), torch.zeros(2, 40))


def test_without_contrast_it_is_greedy_search() -> None:
    model = tiny_moe("qwen3")
    options = {"attention_mask": MASK, "max_new_tokens": 8, "do_sample": False}
    greedy = model.generate(PROMPTS, **options)
    assert torch.equal(greedy, model.generate(PROMPTS, logits_processor=[SelfContrast(model, beta=0.0)], **options))
    assert torch.equal(greedy, model.generate(PROMPTS, logits_processor=[SelfContrast(model, alpha=1.0)], **options))
    # The model contrasted with itself: (1 + beta) z - beta z = z.
    itself = ContrastiveDecoding(model, beta=0.7)
    assert torch.equal(greedy, model.generate(PROMPTS, logits_processor=[itself], **options))


def test_beams_that_change_places_keep_their_caches() -> None:
    model = tiny_moe("mixtral")
    options = {"attention_mask": MASK, "max_new_tokens": 7, "num_beams": 4, "do_sample": False}
    cached = SelfContrast(model, alpha=0.001)
    fresh = SelfContrast(model, alpha=0.001)

    def from_scratch(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        fresh.weak_pass.reset()
        return fresh(ids, scores)

    lengths = []
    seen = cached.weak_pass._seen
    cached.weak_pass._seen = lambda ids, mask: lengths.append(seen(ids, mask)) or lengths[-1]  # type: ignore[method-assign]
    got = model.generate(PROMPTS, logits_processor=[cached], **options)
    assert lengths == [0, 5, 6, 7, 8, 9, 10]  # one prefill, then one token a step
    assert torch.equal(got, model.generate(PROMPTS, logits_processor=[from_scratch], **options))


def test_random_routing_is_seeded_for_each_step() -> None:
    model = tiny_moe("mixtral")

    def text(processor: SelfContrast) -> torch.Tensor:
        return model.generate(
            PROMPTS, attention_mask=MASK, max_new_tokens=12, do_sample=False, logits_processor=[processor]
        )

    processor = SelfContrast(model, weak="random", beta=0.9, alpha=0.001, seed=1)
    first = text(processor)
    assert torch.equal(first, text(processor))
    assert torch.equal(first, text(SelfContrast(model, weak="random", beta=0.9, alpha=0.001, seed=1)))
    assert not torch.equal(first, text(SelfContrast(model, weak="random", beta=0.9, alpha=0.001, seed=2)))


def test_a_failed_pass_leaves_no_cache_and_no_hook() -> None:
    model = tiny_moe("mixtral")
    weak = WeakPass(model, lambda length: Ranks((9,)))
    with pytest.raises(BadInput, match="rank 9"):
        weak.logits(PROMPTS)
    assert weak._cache is None
    assert not any(m._forward_hooks for m in model.modules() if type(m).__name__ == "MixtralTopKRouter")


def test_contrast_by_hand() -> None:
    strong = torch.tensor([[2.0, 1.0, 2.0 + math.log(0.1), -5.0]], dtype=torch.float64)
    weak = torch.tensor([[1.0, -1.0, 0.0, -9.0]], dtype=torch.float64)
    got = contrast(strong, weak, beta=0.5, alpha=0.1)
    assert got[0].tolist() == pytest.approx([2.5, 2.0, 1.5 * (2 + math.log(0.1)), -math.inf])
    halves = contrast(strong, weak, beta=0.5, alpha=0.1, strong_temperature=0.5, weak_temperature=2.0)
    assert halves[0, 0].item() == pytest.approx(1.5 * 4 - 0.25)
    assert halves[0].isfinite().tolist() == [True, True, False, False]  # the threshold is tempered too


def test_contrast_ignores_constants_and_keeps_ties_and_bans() -> None:
    g = torch.Generator().manual_seed(0)
    strong, weak = torch.randn(3, 20, generator=g), torch.randn(3, 20, generator=g)
    a, b = contrast(strong, weak), contrast(strong + 3, weak - 7)
    torch.testing.assert_close(a.softmax(-1), b.softmax(-1))
    tied = torch.tensor([[1.0, 1.0, 0.0, -torch.inf]])
    assert contrast(tied, torch.zeros(1, 4), alpha=1.0)[0].isfinite().tolist() == [True, True, False, False]
    assert contrast(tied, torch.zeros(1, 4), alpha=1e-9)[0].isfinite().tolist() == [True, True, True, False]


@torch.no_grad()
def test_rank_divergence_is_the_divergence_of_two_passes() -> None:
    model = tiny_moe("mixtral")
    ids = PROMPTS[1:2]
    got = rank_divergence(model, ids)
    assert got.shape == (4, 1, 5)
    assert (got > -1e-5).all()
    strong = model(ids).logits.log_softmax(-1)
    with routing(model, [3]):
        third = model(ids).logits.log_softmax(-1)
    torch.testing.assert_close(got[2], (strong.exp() * (strong - third)).sum(-1))


def test_bad_options_are_named() -> None:
    model = tiny_moe("mixtral")
    for options in ({"beta": -0.1}, {"alpha": 0.0}, {"alpha": 1.5}, {"strong_temperature": 0.0}):
        with pytest.raises(BadInput, match=next(iter(options))):
            SelfContrast(model, **options)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="4 experts"):
        SelfContrast(model, weak=(5,))
    with pytest.raises(BadInput, match="ranks"):
        SelfContrast(model, weak=(0,))
    with pytest.raises(BadInput, match="'random'"):
        SelfContrast(model, weak="rand")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="one shape"):
        contrast(torch.zeros(1, 3), torch.zeros(1, 4))
    with pytest.raises(BadInput, match="finite logit"):
        contrast(torch.full((1, 3), -torch.inf), torch.zeros(1, 3))
    with pytest.raises(BadInput, match="one shape"):
        ContrastiveDecoding(model)(PROMPTS, torch.zeros(3, 41))


def test_weak_routings_are_read_from_a_command_line() -> None:
    model = tiny_moe("mixtral")
    assert build("decode", "scmoe", model=model, weak="1,3").weak == (1, 3)
    assert build("decode", "scmoe", model=model, weak="random").weak == "random"
