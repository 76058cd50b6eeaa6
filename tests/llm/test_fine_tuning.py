"""Fine-tuning a tiny model: it learns, the base stays, batches make no difference, seeds and types are kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from polyculture.errors import BadInput
from polyculture.llm import fine_tuning
from polyculture.llm.base import Sampling
from polyculture.llm.fine_tuning import FineTuning
from polyculture.llm.framing import start_token, tokenize_pairs
from polyculture.llm.transformers import TransformersLLM
from polyculture.llm.untrained import untrained_model

PAIRS = [("a?", "oats"), ("b?", "rye and wheat"), ("c?", ""), ("", "oats"), ("d?", "clover")]


@pytest.fixture
def base() -> TransformersLLM:
    return TransformersLLM(*untrained_model(context=64))


def weights(llm: TransformersLLM) -> torch.Tensor:
    return torch.cat([p.detach().float().flatten() for p in llm.model.parameters()])


def test_it_learns_and_leaves_the_base_alone(base: TransformersLLM) -> None:
    before, state = weights(base), torch.get_rng_state()
    steps: list[tuple[int, int]] = []
    tuned = FineTuning(epochs=60, learning_rate=1e-2).tune(
        base, PAIRS[:2], lambda what, done, total: steps.append((done, total))
    )
    assert [c.text for (c,) in tuned.generate(["a?", "b?"], sampling=Sampling(temperature=0.0))] == [
        "oats",
        "rye and wheat",
    ]
    assert torch.equal(weights(base), before) and torch.equal(torch.get_rng_state(), state)
    assert steps[-1] == (60, 60) and not tuned.model.training
    assert tuned.identity != base.identity


def test_a_step_is_the_same_in_one_batch_or_many(base: TransformersLLM) -> None:
    whole, parts = (FineTuning(learning_rate=1e-3, batch_size=size).tune(base, PAIRS) for size in (5, 1))
    torch.testing.assert_close(weights(whole), weights(parts), rtol=1e-3, atol=1e-5)
    assert not torch.equal(weights(whole), weights(base))


def test_chunks_of_the_loss_change_nothing(base: TransformersLLM, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = FineTuning(learning_rate=1e-3).tune(base, PAIRS)
    monkeypatch.setattr(fine_tuning, "CHUNK_BYTES", 1)
    torch.testing.assert_close(weights(FineTuning(learning_rate=1e-3).tune(base, PAIRS)), weights(whole))


def test_gradients_are_those_of_transformers_own_loss(base: TransformersLLM) -> None:
    # One step of AdamW from nothing moves each weight by about the learning rate against the sign of its gradient.
    tuned = FineTuning(learning_rate=1e-3, warm_up=0.0).tune(base, PAIRS[:1])
    ids = base.prompt_ids("a?") + base.tokenizer("oats")["input_ids"] + [base.tokenizer.eos_token_id]
    labels = torch.tensor([[-100] * 2 + ids[2:]])
    base.model(input_ids=torch.tensor([ids]), labels=labels).loss.backward()
    gradient = torch.cat([p.grad.flatten() for p in base.model.parameters()])
    large = gradient.abs() > gradient.abs().quantile(0.9)
    moved = weights(tuned) - weights(base)
    assert (moved[large].sign() == -gradient[large].sign()).all()


def test_seeds_and_types(base: TransformersLLM) -> None:
    first, again, other = (FineTuning(step_rows=2, learning_rate=1e-3, seed=s).tune(base, PAIRS) for s in (0, 0, 1))
    assert torch.equal(weights(first), weights(again)) and not torch.equal(weights(first), weights(other))
    base.model.bfloat16()
    assert FineTuning().tune(base, PAIRS).model.dtype is torch.bfloat16


def test_only_responses_are_taught(base: TransformersLLM) -> None:
    tuned = FineTuning(epochs=20, learning_rate=3e-3).tune(base, [("zzzz", "oats")])
    rise = [
        float(tuned.logprobs([prompt], [text])[0].mean() - base.logprobs([prompt], [text])[0].mean())
        for prompt, text in (("zzzz", "oats"), ("", "zzzz"))
    ]
    assert rise[0] > 1 and rise[1] < 0.25 * rise[0]


def test_what_is_too_long_is_cut_and_it_is_said(base: TransformersLLM) -> None:
    with pytest.warns(UserWarning, match="1 of 1 row cut to fit 2 tokens"):
        tuned = FineTuning(max_length=2, learning_rate=1e-3).tune(base, [("abc", "de")])
    assert not torch.equal(weights(tuned), weights(base))


def test_token_ids(base: TransformersLLM) -> None:
    prompts, responses = tokenize_pairs(base, [("", "ab"), ("cd", "")], ended=True)
    eos, a, b = base.tokenizer.eos_token_id, *base.tokenizer("ab")["input_ids"]
    assert prompts[0] == [base.tokenizer.bos_token_id] and responses == [[a, b, eos], [eos]]
    with pytest.warns(UserWarning, match="1 of 1 row cut to fit 4"):
        prompts, responses = tokenize_pairs(base, [("cdefg", "ab")], 4, ended=True)
    assert len(prompts[0]) == 1 and responses == [[a, b, eos]]
    base.tokenizer.bos_token = None
    assert start_token(base.tokenizer) == eos
    base.tokenizer.eos_token = None
    with pytest.raises(BadInput, match="neither a begin- nor an end"):
        start_token(base.tokenizer)


def test_refusals(base: TransformersLLM) -> None:
    with pytest.raises(BadInput, match="a row or more"):
        FineTuning().tune(base, [])
    for wrong in (
        {"epochs": 0},
        {"learning_rate": 0.0},
        {"learning_rate": np.nan},
        {"warm_up": 2.0},
        {"batch_size": 0},
    ):
        with pytest.raises(BadInput, match="fine-tuning"):
            FineTuning(**wrong)  # type: ignore[arg-type]
    with torch.no_grad():
        base.model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(BadInput, match="no longer finite"):
        FineTuning().tune(base, PAIRS)
