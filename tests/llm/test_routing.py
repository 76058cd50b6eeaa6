"""Expert routing: blocks by hand, gates of several architectures, and a model that is left as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from polyculture.errors import BadInput
from polyculture.llm.routing import CumulativeMass, Gates, RandomExpert, Ranks, routing
from tests.moe_models import MODELS, tiny_moe


def block_by_hand(block: nn.Module, x: torch.Tensor, ranks: list[int]) -> torch.Tensor:
    out = torch.zeros_like(x)
    for t, h in enumerate(x):
        w = torch.softmax(block.gate.weight @ h, 0)
        chosen = w.argsort(descending=True)[[r - 1 for r in ranks]]
        for i in chosen:
            gate, up = (block.experts.gate_up_proj[i] @ h).chunk(2)
            out[t] += w[i] / w[chosen].sum() * (block.experts.down_proj[i] @ (nn.functional.silu(gate) * up))
    return out


@pytest.mark.parametrize("ranks", [[1, 2], [2], [1], [4], [1, 2, 3, 4], [4, 1]])
def test_a_routed_block_is_the_sum_of_its_ranked_experts(ranks: list[int]) -> None:
    block = tiny_moe("mixtral").model.layers[0].mlp
    x = torch.randn(7, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), routing(block, ranks):
        torch.testing.assert_close(block(x[None])[0], block_by_hand(block, x, ranks), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", MODELS)
@torch.no_grad()
def test_the_models_own_ranks_change_nothing_and_others_do(kind: str) -> None:
    model = tiny_moe(kind)
    ids = torch.arange(10)[None]
    own = model(ids).logits
    normalised = getattr(model.config, "norm_topk_prob", True)
    with Gates(model).routed(Ranks((1, 2), renormalize=normalised)):
        torch.testing.assert_close(model(ids).logits, own)
    for route in ([2], [1, 2, 3], CumulativeMass(0.0), RandomExpert(0)):
        with routing(model, route):
            assert not torch.allclose(model(ids).logits, own, atol=1e-3)
    torch.testing.assert_close(model(ids).logits, own, atol=0, rtol=0)


@torch.no_grad()
def test_the_model_is_left_as_it_was_whatever_is_raised() -> None:
    model = tiny_moe("mixtral")
    hooks = [len(m._forward_hooks) for m in model.modules()]
    with pytest.raises(ZeroDivisionError), routing(model, [2]):
        assert sum(len(m._forward_hooks) for m in model.modules()) == sum(hooks) + 2
        raise ZeroDivisionError
    assert [len(m._forward_hooks) for m in model.modules()] == hooks


@torch.no_grad()
def test_the_inner_of_two_blocks_wins() -> None:
    model = tiny_moe("mixtral")
    ids = torch.arange(10)[None]
    with routing(model, [2]):
        second = model(ids).logits
    with routing(model, [1, 2, 3]):
        three = model(ids).logits
        with routing(model, [2]):
            assert torch.equal(model(ids).logits, second)
        assert torch.equal(model(ids).logits, three)


def test_one_active_expert_has_weight_one_even_where_the_gate_is_certain() -> None:
    certain = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    experts, weights = Ranks((3,))(certain)
    assert experts.tolist() == [[2]] and weights.tolist() == [[1.0]]
    assert Ranks((2, 3))(certain)[1].tolist() == [[0.5, 0.5]]
    raw = Ranks((1, 2), renormalize=False)(torch.tensor([[0.5, 0.3, 0.2]]))[1]
    torch.testing.assert_close(raw, torch.tensor([[0.5, 0.3]]))
    assert Ranks((1, 2))(torch.full((1, 4), 0.25))[0].tolist() == [[0, 1]]  # ties: the lower expert id


def test_dynamic_routing_runs_experts_until_the_mass_is_passed() -> None:
    p = torch.tensor([[0.1, 0.5, 0.4], [0.9, 0.05, 0.05]])
    experts, weights = CumulativeMass(0.6)(p)
    assert experts[0].tolist() == [1, 2]
    torch.testing.assert_close(weights[0], torch.tensor([5 / 9, 4 / 9]))
    assert weights[1].tolist() == [1.0, 0.0]
    assert CumulativeMass(0.0)(p)[0].shape == (2, 1)


def test_random_experts_follow_their_seed() -> None:
    p = torch.full((200, 4), 0.25)
    first, again, other = (RandomExpert(s)(p)[0] for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.bincount(first.flatten(), minlength=4).min() > 25


def test_bad_ranks_and_models_are_named() -> None:
    model = tiny_moe("mixtral")
    for ranks in ([0], [], [1, 1], [-1, 2]):
        with pytest.raises(BadInput, match="ranks"), routing(model, ranks):
            pass
    with pytest.raises(BadInput, match=r"rank 5 .* 4 experts"), routing(model, [5]):
        pass
    with pytest.raises(BadInput, match="threshold"):
        CumulativeMass(1.0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    with pytest.raises(BadInput, match="no expert gates"):
        Gates(LlamaForCausalLM(LlamaConfig(vocab_size=20, **sizes)))


def test_gates_that_are_no_softmax_are_refused() -> None:
    class SigmoidGate(nn.Module):
        top_k, num_experts = 2, 3

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)))

        def forward(self, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            logits = h @ self.weight.T
            scores, experts = logits.sigmoid().topk(2, -1)
            return logits, scores, experts

    with pytest.raises(BadInput, match="SigmoidGate"):
        Gates(SigmoidGate())
