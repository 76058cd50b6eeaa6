"""What every token-level decoding method must do, whatever it computes: the LogitsProcessors of the decode table."""

from __future__ import annotations

import inspect
import itertools
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, LogitsProcessor, LogitsProcessorList, PreTrainedModel

from polyculture import methods
from polyculture.errors import BadInput
from tests.moe_models import tiny_moe

TABLE = methods.table("decode")
NAMES = [n for n in TABLE if inspect.isclass(TABLE[n]) and issubclass(TABLE[n], LogitsProcessor)]
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def make(name: str, vocab_size: int, **hyper: Any) -> LogitsProcessor:
    """A method with its defaults; an argument without one is a model of the vocabulary."""
    needed = [p.name for p in methods.parameters(TABLE[name]).values() if p.required]
    return methods.build("decode", name, **{n: tiny_moe("mixtral", vocab_size) for n in needed}, **hyper)


def ids(batch: int, vocab_size: int, length: int = 5) -> torch.Tensor:
    return torch.randint(vocab_size, (batch, length), generator=torch.Generator().manual_seed(7))


def logits(batch: int, vocab_size: int) -> torch.Tensor:
    return 3 * torch.randn(batch, vocab_size, generator=torch.Generator().manual_seed(8))


def test_there_are_processors() -> None:
    assert {"top-h", "scmoe"} <= set(NAMES)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_shape_and_dtype_are_kept_and_some_token_is_left(name: str, dtype: torch.dtype) -> None:
    for batch, width in itertools.product((1, 6), (1, 2, 40)):
        scores = logits(batch, width).to(dtype)
        before = scores.clone()
        out = make(name, width)(ids(batch, width), scores)
        assert out.shape == scores.shape and out.dtype == dtype
        assert not out.isnan().any() and not out.isposinf().any()
        assert out.isfinite().any(-1).all()
        assert torch.equal(scores, before), "the scores that came in were changed"


@pytest.mark.parametrize("name", NAMES)
def test_rows_do_not_see_each_other(name: str) -> None:
    batch, scores = ids(6, 40), logits(6, 40)
    whole = make(name, 40)(batch, scores)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    torch.testing.assert_close(make(name, 40)(batch[order], scores[order]), whole[order])
    for i in range(6):
        torch.testing.assert_close(make(name, 40)(batch[i : i + 1], scores[i : i + 1]), whole[i : i + 1])


@pytest.mark.parametrize("name", NAMES)
def test_banned_tokens_stay_banned(name: str) -> None:
    scores = logits(4, 40)
    scores[:, ::2] = -torch.inf
    scores[3, 1:] = -torch.inf
    scores[3, 0] = 0.0  # one token is all that may be said
    out = make(name, 40)(ids(4, 40), scores)
    assert (out[scores == -torch.inf] == -torch.inf).all()
    assert out.isfinite().any(-1).all() and not out.isnan().any()
    assert out[3, 0].isfinite()


@pytest.mark.parametrize("name", NAMES)
def test_a_row_without_a_token_and_nan_are_named(name: str) -> None:
    banned, broken = logits(2, 40), logits(2, 40)
    banned[1] = -torch.inf
    broken[0, 3] = torch.nan
    for scores in (banned, broken):
        with pytest.raises(BadInput):
            make(name, 40)(ids(2, 40), scores)


@pytest.mark.parametrize("name", NAMES)
def test_equal_logits_and_huge_ones(name: str) -> None:
    for scores in (torch.zeros(2, 40), torch.full((2, 40), -3e4), 1e4 * logits(2, 40)):
        out = make(name, 40)(ids(2, 40), scores)
        assert out.isfinite().any(-1).all() and not out.isnan().any()


@pytest.mark.parametrize("name", NAMES)
def test_the_same_again_is_the_same(name: str) -> None:
    once, again = make(name, 40), make(name, 40)
    batch, scores = ids(3, 40), logits(3, 40)
    first = once(batch, scores)
    assert torch.equal(first, once(batch, scores))
    assert torch.equal(first, again(batch, scores))
    assert torch.equal(first, LogitsProcessorList([again])(batch, scores))


@pytest.mark.parametrize("sample", [False, True], ids=["greedy", "sampled"])
@pytest.mark.parametrize("family", ["llama", "moe"])
@pytest.mark.parametrize("name", NAMES)
def test_it_works_inside_generate(name: str, family: str, sample: bool) -> None:
    model = tiny_llama() if family == "llama" else tiny_moe("qwen3")
    processor = make(name, 40)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    prompts = ids(3, 38) + 2
    texts = []
    for _ in range(2):
        torch.manual_seed(0)
        texts.append(
            model.generate(
                prompts,
                attention_mask=torch.ones_like(prompts),
                max_new_tokens=6,
                do_sample=sample,
                temperature=1.2 if sample else None,
                top_k=0 if sample else None,
                logits_processor=LogitsProcessorList([processor]),
            )
        )
    assert texts[0].shape == (3, 11)
    assert torch.equal(*texts)
    assert hooks == [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", NAMES)
def test_options_are_documented_and_go_through_strings(name: str) -> None:
    known = methods.parameters(TABLE[name])
    assert all(p.help for p in known.values()), [p.name for p in known.values() if not p.help]
    numbers = {n: p for n, p in known.items() if isinstance(p.default, (int, float, str, tuple))}
    as_text = {
        n: ",".join(map(str, p.default)) if isinstance(p.default, tuple) else str(p.default) for n, p in numbers.items()
    }
    given, default = make(name, 40, **as_text), make(name, 40)
    for option, parameter in numbers.items():
        assert getattr(given, option) == getattr(default, option) == parameter.default
    assert "BadInput" in (TABLE[name].__doc__ or "")


def tiny_llama() -> PreTrainedModel:
    config = LlamaConfig(
        vocab_size=40,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        bos_token_id=1,
        eos_token_id=None,
        pad_token_id=0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(config).eval()
