"""Log-probabilities of a batch: shared or apart, head replaced or not, always those of a plain pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from polyculture.align.data.encoding import Encoded
from polyculture.align.data.layout import Layout
from polyculture.align.log_probs.forward import Abilities, probe, score_batch
from polyculture.align.reference.scores import frozen_copy, has_adapter, without_adapter
from polyculture.errors import BadInput
from tests.tiny_models import tiny_llama

ROWS = [
    (0, Encoded([5, 6, 7], ([8, 9, 1], [10, 1]), {"margin": 1.0}), {}),
    (1, Encoded([5, 6, 7, 8, 9, 4], ([18, 9, 1], [10, 11, 12, 1]), {"margin": 2.0}), {}),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_llama(tmp_path_factory.mktemp("m")), dtype=torch.float32)


def plain(model: Any, rows: list[Any]) -> dict[tuple[int, int], torch.Tensor]:
    found = {}
    for b, (_, row, _) in enumerate(rows):
        for k, completion in enumerate(row.completions):
            logits = model(input_ids=torch.tensor([[*row.prompt, *completion]])).logits[0].float()
            logs = logits[len(row.prompt) - 1 : -1].log_softmax(-1)
            found[k, b] = logs.gather(1, torch.tensor(completion)[:, None])[:, 0]
    return found


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("replace_head", [True, False])
def test_scores_and_gradients_are_those_of_plain_passes(model: Any, share: bool, replace_head: bool) -> None:
    batch = Layout(2, share=share)(ROWS)
    assert ("visible" in batch) == share
    scores = score_batch(model, batch, Abilities(replace_head)).log_probs
    wanted = plain(model, ROWS)
    for (k, b), logs in wanted.items():
        torch.testing.assert_close(scores[k * 2 + b, : len(logs)], logs, atol=2e-5, rtol=0)
        assert not batch["mask"][k * 2 + b, len(logs) :].any()
    scores.sum().backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    torch.cat(list(wanted.values())).sum().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, atol=2e-3, rtol=1e-3)
    model.zero_grad()


def test_a_shared_prompt_is_there_once() -> None:
    shared, apart = (Layout(2, share=share)(ROWS)["input_ids"] for share in (True, False))
    assert shared.shape == (2, 6 + 3 + 4) and apart.shape == (4, 6 + 4)
    single = [(0, Encoded([5, 6], ([8, 9],), {}), {})]
    assert "visible" not in Layout(2)(single)  # nothing is saved where there is one completion


def test_a_column_of_numbers_becomes_a_tensor() -> None:
    assert Layout(2)(ROWS)["margin"].tolist() == [1.0, 2.0]


def test_the_divergence_from_the_reference_is_over_the_whole_vocabulary(model: Any) -> None:
    import contextlib

    other = frozen_copy(model)
    with torch.no_grad():
        other.lm_head.weight.add_(
            0.05 * torch.randn(other.lm_head.weight.shape, generator=torch.Generator().manual_seed(0))
        )
    batch = Layout(2)(ROWS)
    passed = score_batch(model, batch, Abilities(), reference=lambda: contextlib.nullcontext(other))
    assert passed.kl is not None and passed.ref is not None
    row = ROWS[1][1]
    ids = torch.tensor([[*row.prompt, *row.completions[1]]])
    policy, ref = (m(input_ids=ids).logits[0, len(row.prompt) - 1 : -1].log_softmax(-1) for m in (model, other))
    torch.testing.assert_close(passed.kl[3, :4], (ref.exp() * (ref - policy)).sum(-1), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(passed.ref[:, :1], score_batch(other, batch, Abilities()).log_probs[:, :1])
    same = score_batch(model, batch, Abilities(), reference=lambda: contextlib.nullcontext(frozen_copy(model)))
    assert same.kl is not None and float(same.kl.detach().abs().max()) < 1e-5


def test_what_a_model_allows_is_found_by_trying() -> None:
    from transformers import (
        Gemma2Config,
        Gemma2ForCausalLM,
        LlamaConfig,
        LlamaForCausalLM,
        MistralConfig,
        MistralForCausalLM,
    )

    sizes = {
        "vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1,
    }  # fmt: skip
    assert probe(LlamaForCausalLM(LlamaConfig(**sizes)), 64) == Abilities()
    capped = probe(Gemma2ForCausalLM(Gemma2Config(**sizes, head_dim=8, final_logit_softcapping=0.05)), 64)
    assert not capped.replace_head and capped.share_prompts and "head can't be replaced" in capped.why
    near = probe(MistralForCausalLM(MistralConfig(**sizes, sliding_window=4)), 64)
    assert near.replace_head and not near.share_prompts
    # A window that twelve tokens don't fill shows in the configuration alone.
    long = MistralForCausalLM(MistralConfig(**sizes, sliding_window=64))
    assert probe(long, 64, max_length=32).share_prompts
    assert "look back over 64 tokens" in probe(long, 64, max_length=128).why


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_coarse_numbers_might_hide_is_found(dtype: torch.dtype) -> None:
    """Distances counted along the row, a state that goes on from one completion to the next, a factor on logits."""
    import transformers

    sizes = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    llama = sizes | {"intermediate_size": 32, "num_key_value_heads": 1}
    along = transformers.MptForCausalLM(transformers.MptConfig(vocab_size=64, d_model=32, n_layers=2, n_heads=4))
    state = transformers.JambaForCausalLM(
        transformers.JambaConfig(
            **llama, attn_layer_period=2, attn_layer_offset=1, num_experts=2, use_mamba_kernels=False
        )
    )
    local = transformers.GPTNeoForCausalLM(
        transformers.GPTNeoConfig(
            vocab_size=64, hidden_size=16, num_layers=2, num_heads=2, attention_types=[[["global", "local"], 1]],
            window_size=48,
        )
    )  # fmt: skip
    scaled = transformers.GraniteForCausalLM(transformers.GraniteConfig(**llama, logits_scaling=1.001))
    for model in (along, state, local, scaled):
        with torch.no_grad():
            generator = torch.Generator().manual_seed(0)
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
        model.to(dtype)
    assert not probe(along, 64, 128).share_prompts
    assert "sees the one before it" in probe(state, 64, 128).why
    assert not probe(local, 64, 128).share_prompts
    found = probe(scaled, 64, 128)
    assert not found.replace_head and found.share_prompts and "changes what the head gives" in found.why


@pytest.mark.parametrize("kind", ["Gemma2", "Cohere", "Granite"])
@pytest.mark.parametrize("share", [True, False])
def test_what_comes_after_the_head_is_done_to_the_tokens_asked_for_alone(
    kind: str, share: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A soft cap, or a factor on the logits."""
    import transformers

    from polyculture.align.log_probs import forward

    after: dict[str, Any] = {
        "Gemma2": {"head_dim": 8, "final_logit_softcapping": 2.0},
        "Cohere": {"logit_scale": 0.25},
        "Granite": {"logits_scaling": 4.0},
    }
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, initializer_range=0.5, pad_token_id=0, bos_token_id=1, eos_token_id=2, **after[kind],
    )  # fmt: skip
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    abilities = probe(model, 64)
    assert not abilities.replace_head and abilities.some_rows and abilities.share_prompts
    seen, plain_forward = [], forward._forward
    monkeypatch.setattr(forward, "_forward", lambda head, rows: seen.append(len(rows)) or plain_forward(head, rows))
    batch = Layout(2, share=share)(ROWS)
    scores = score_batch(model, batch, abilities).log_probs
    assert seen == [len(batch["targets"])]
    wanted = plain(model, ROWS)
    for (k, b), logs in wanted.items():
        torch.testing.assert_close(scores[k * 2 + b, : len(logs)], logs, atol=2e-5, rtol=0)
    scores.sum().backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    torch.cat(list(wanted.values())).sum().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, atol=1e-4, rtol=1e-3)


def test_a_model_that_looks_ahead_is_refused() -> None:
    from transformers import BertConfig, BertLMHeadModel

    sizes = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(**sizes, intermediate_size=16, initializer_range=0.5)
    with pytest.raises(BadInput, match="the model is not causal: what BertLMHeadModel says"):
        probe(BertLMHeadModel(config), 64)
    config.is_decoder = True
    probe(BertLMHeadModel(config), 64)


def test_experts_that_a_model_can_not_balance_are_an_error() -> None:
    from transformers import Llama4ForCausalLM, Llama4TextConfig

    sizes = {"hidden_size": 16, "intermediate_size": 32, "intermediate_size_mlp": 32, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "num_local_experts": 2}
    ends = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    silent = Llama4ForCausalLM(Llama4TextConfig(vocab_size=64, **sizes, **heads, **ends, output_router_logits=True))
    abilities = probe(silent, 64)
    assert not abilities.share_prompts
    with pytest.raises(BadInput, match="gives no load-balancing loss; set output_router_logits to false"):
        score_batch(silent, Layout(2, share=False)(ROWS), abilities, balance=True)


def test_the_forward_of_the_head_comes_back(model: Any) -> None:
    before = model(input_ids=torch.tensor([[1, 2, 3]])).logits
    score_batch(model, Layout(2)(ROWS), Abilities())
    assert "forward" not in model.lm_head.__dict__
    assert torch.equal(model(input_ids=torch.tensor([[1, 2, 3]])).logits, before)


def test_an_adapter_is_switched_off_for_the_reference(model: Any) -> None:
    import copy

    from peft import LoraConfig, get_peft_model

    base = copy.deepcopy(model)
    batch = Layout(2)(ROWS)
    wanted = score_batch(base, batch, Abilities()).log_probs
    adapted = get_peft_model(
        copy.deepcopy(model), LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    )
    assert has_adapter(adapted) and not has_adapter(base)
    frozen = [name for name, p in adapted.named_parameters() if not p.requires_grad]
    assert not torch.allclose(score_batch(adapted, batch, Abilities()).log_probs, wanted, atol=1e-3)
    with without_adapter(adapted) as reference:
        torch.testing.assert_close(score_batch(reference, batch, Abilities()).log_probs, wanted)
    assert [name for name, p in adapted.named_parameters() if not p.requires_grad] == frozen
