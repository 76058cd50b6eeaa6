"""The log-probability head against plain log_softmax in float64, and what it holds at once."""

import math

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from polyculture.align.log_probs.head import (
    TokenScores,
    scores_from_logits,
    tile_rows,
    token_log_probs,
    token_log_probs_and_kl,
)
from polyculture.align.log_probs.head_tiles import add_product, largest
from polyculture.errors import BadInput, UnknownMethod
from polyculture.measure.over_optimisation import top_k_entropy

ALL = ("entropy", "log_sum_sq", "top_k")
SIZES = [(7, 5, 11, 3), (6, 4, 300, 2), (5, 3, 1, 2), (1, 2, 2, 10), (8, 3, 777, None)]


def problem(n, h, v, *, seed=0, dtype=torch.float64, bias=True):
    draw = torch.Generator().manual_seed(seed)
    hidden, weight = (torch.randn(*shape, generator=draw, dtype=torch.float64) for shape in ((n, h), (v, h)))
    shift = torch.randn(v, generator=draw, dtype=torch.float64)
    targets = torch.randint(v, (n,), generator=draw)
    leaves = [values.to(dtype).requires_grad_() for values in (hidden, weight, shift)]
    return leaves[0], leaves[1], (leaves[2] if bias else None), targets


def plain(logits, targets, ref_logits=None):
    """Log-probabilities, and KL(ref || policy), as one would write them."""
    logs = logits.log_softmax(1)
    of_targets = logs.gather(1, targets[:, None])[:, 0]
    if ref_logits is None:
        return of_targets, None
    return of_targets, (ref_logits.softmax(1) * (ref_logits.log_softmax(1) - logs)).sum(1)


def gradients(loss, leaves):
    return torch.autograd.grad(loss, [leaf for leaf in leaves if leaf is not None])


def exact(ours, expected):
    """To the last digits: the default tolerance of float64 would let float32 pass."""
    torch.testing.assert_close(ours, expected, rtol=1e-11, atol=1e-12)


def same(ours, expected):
    for a, b in zip(ours, expected, strict=True):
        exact(a, b)


def weights(n, seed=7):
    return torch.randn(2, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("n", "h", "v", "tile"), SIZES)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_values_and_gradients_are_those_of_log_softmax(n, h, v, tile, bias, temperature):
    hidden, weight, shift, targets = problem(n, h, v, bias=bias)
    ours = token_log_probs(hidden, weight, targets, bias=shift, temperature=temperature, tile=tile)
    logits = (hidden @ weight.T + (shift if bias else 0)) / temperature
    expected, _ = plain(logits, targets)
    assert ours.log_probs.dtype == torch.float64 and ours.kl is None and ours.entropy is None
    exact(ours.log_probs, expected)
    into = weights(n)[0]
    leaves = (hidden, weight, shift)
    same(gradients((into * ours.log_probs).sum(), leaves), gradients((into * expected).sum(), leaves))


@pytest.mark.parametrize(("n", "h", "v", "tile"), SIZES)
@pytest.mark.parametrize("terms", ["both", "log_probs", "kl"])
def test_divergence_and_its_gradients(n, h, v, tile, terms):
    hidden, weight, shift, targets = problem(n, h, v)
    ref_hidden, ref_weight, ref_shift, _ = problem(n, h + 1, v, seed=1)
    ours = token_log_probs_and_kl(
        hidden, weight, targets, ref_hidden, ref_weight, bias=shift, ref_bias=ref_shift, tile=tile,
        statistics=["reverse_kl"],
    )  # fmt: skip
    logits, ref_logits = hidden @ weight.T + shift, ref_hidden @ ref_weight.T + ref_shift
    log_probs, kl = plain(logits, targets, ref_logits)
    same((ours.log_probs, ours.kl, ours.ref), (log_probs, kl, plain(ref_logits, targets)[0].detach()))
    exact(ours.reverse_kl, plain(ref_logits, targets, logits)[1].detach())
    assert not ours.ref.requires_grad and not ours.reverse_kl.requires_grad
    g, k = weights(n)

    def loss(log_probs, kl):
        of_log_probs, of_kl = (g * log_probs).sum(), (k * kl).sum()
        return {"log_probs": of_log_probs, "kl": of_kl, "both": of_log_probs + of_kl}[terms]

    leaves = (hidden, weight, shift)
    same(gradients(loss(ours.log_probs, ours.kl), leaves), gradients(loss(log_probs, kl), leaves))
    assert torch.autograd.grad(ours.kl.sum(), ref_hidden, allow_unused=True) == (None,)


@pytest.mark.parametrize("with_kl", [False, True])
def test_a_frozen_head_gives_the_same_gradient_and_its_backward_multiplies_nothing(with_kl):
    hidden, weight, shift, targets = problem(9, 4, 50)
    ref_hidden, ref_weight, _, _ = problem(9, 3, 50, seed=1)

    def losses(weight, shift):
        if with_kl:
            scores = token_log_probs_and_kl(hidden, weight, targets, ref_hidden, ref_weight, bias=shift, tile=4)
            return (weights(9)[0] * scores.log_probs + weights(9)[1] * scores.kl).sum()
        return (weights(9)[0] * token_log_probs(hidden, weight, targets, bias=shift, tile=4).log_probs).sum()

    frozen = losses(weight.detach(), shift.detach())
    with Watch() as watch:
        (ours,) = torch.autograd.grad(frozen, hidden)
    assert not any("mm" in name for name in watch.names) and watch.names
    exact(ours, torch.autograd.grad(losses(weight, shift), hidden)[0])


def test_a_frozen_weight_with_a_trained_bias_and_the_other_way_round():
    hidden, weight, shift, targets = problem(9, 4, 50)
    expected = gradients(plain(hidden @ weight.T + shift, targets)[0].sum(), (hidden, weight, shift))
    ours = token_log_probs(hidden, weight.detach(), targets, bias=shift, tile=4).log_probs
    same(gradients(ours.sum(), (hidden, shift)), (expected[0], expected[2]))
    ours = token_log_probs(hidden.detach(), weight, targets, bias=shift.detach(), tile=4).log_probs
    same(gradients(ours.sum(), (weight,)), (expected[1],))


def test_a_weight_tied_to_the_embeddings_gathers_both_gradients():
    _, weight, _, targets = problem(9, 4, 12)
    before = torch.arange(9) % 12

    def gradient(log_probs):
        return torch.autograd.grad(log_probs(weight[before].tanh()).sum(), weight)[0]

    ours = gradient(lambda hidden: token_log_probs(hidden, weight, targets, tile=4).log_probs)
    exact(ours, gradient(lambda hidden: plain(hidden @ weight.T, targets)[0]))


@pytest.mark.parametrize("v", [1, 9, 10, 64, 650, 1000])
def test_statistics(v):
    hidden, weight, _, targets = problem(6, 4, v, bias=False)
    found = token_log_probs(3 * hidden, weight, targets, tile=4, statistics=ALL)
    logits = (3 * hidden @ weight.T).detach()
    p, logs = logits.softmax(1), logits.log_softmax(1)
    exact(found.entropy, -(p * logs).sum(1))
    exact(found.log_sum_sq, p.square().sum(1).log())
    top = top_k_entropy(logits, k=10)
    np.testing.assert_allclose(found.top_k_mass, top.mass, rtol=1e-12)
    np.testing.assert_allclose(found.top_k_entropy, top.entropy, rtol=1e-9, atol=1e-12)
    assert not any(values.requires_grad for values in (found.entropy, found.log_sum_sq, found.top_k_entropy))
    assert token_log_probs(hidden, weight, targets, statistics=["top_k"]).entropy is None


def test_the_largest_are_found_among_ties_and_in_the_remainder():
    values = torch.zeros(3, 1300)
    values[0, -3:] = torch.tensor([1.0, 3.0, 2.0])
    values[1, :700] = 5.0
    values[2] = torch.randn(1300, generator=torch.Generator().manual_seed(0))
    assert torch.equal(largest(values, 10), values.topk(10, dim=1).values)


@pytest.mark.parametrize(("n", "v", "tile"), [(5, 11, 2), (4, 700, 3), (3, 1, 1)])
def test_from_logits(n, v, tile):
    draw = torch.Generator().manual_seed(3)
    logits, ref_logits = (torch.randn(n, v, generator=draw, dtype=torch.float64).requires_grad_() for _ in range(2))
    targets = torch.randint(v, (n,), generator=draw)
    ours = scores_from_logits(logits, targets, ref_logits=ref_logits, tile=tile, statistics=(*ALL, "reverse_kl"))
    log_probs, kl = plain(logits, targets, ref_logits)
    same((ours.log_probs, ours.kl), (log_probs, kl))
    exact(ours.reverse_kl, plain(ref_logits, targets, logits)[1].detach())
    exact(ours.entropy, -(logits.softmax(1) * logits.log_softmax(1)).sum(1).detach())
    g, k = weights(n)
    expected = gradients((g * log_probs + k * kl).sum(), (logits,))
    same(gradients((g * ours.log_probs + k * ours.kl).sum(), (logits,)), expected)
    alone = scores_from_logits(logits, targets, tile=tile)
    assert alone.kl is None and alone.ref is None
    same(gradients((g * alone.log_probs).sum(), (logits,)), gradients((g * plain(logits, targets)[0]).sum(), (logits,)))


def test_equal_models_have_no_divergence_and_no_gradient_of_it():
    hidden, weight, shift, targets = problem(7, 4, 90, dtype=torch.float32)
    scores = token_log_probs_and_kl(
        hidden, weight, targets, hidden, weight, bias=shift, ref_bias=shift, tile=3, statistics=["reverse_kl"]
    )
    assert torch.equal(scores.kl, torch.zeros(7)) and torch.equal(scores.reverse_kl, torch.zeros(7))
    assert torch.equal(scores.ref, scores.log_probs.detach())
    for values in gradients(scores.kl.sum(), (hidden, weight, shift)):
        assert torch.equal(values, torch.zeros_like(values))


def test_a_small_divergence_is_not_lost_in_float32():
    hidden, weight, _, targets = problem(20, 8, 5000, bias=False)
    near = hidden + 0.02 * torch.randn(20, 8, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    exactly = token_log_probs_and_kl(near, weight, targets, hidden, weight).kl
    ours = token_log_probs_and_kl(near.float(), weight.float(), targets, hidden.float(), weight.float()).kl
    assert exactly.max() < 5e-3
    torch.testing.assert_close(ours.double(), exactly, rtol=0, atol=2e-6)


def test_probabilities_that_underflow_or_are_banned_add_nothing():
    logits = torch.tensor([[0.0, 1.0, -math.inf, -2000.0], [5.0, -math.inf, -math.inf, -math.inf]], requires_grad=True)
    ref = torch.tensor([[0.0, 2.0, -math.inf, -900.0], [1.0, -math.inf, -math.inf, -math.inf]])
    found = scores_from_logits(
        logits, torch.tensor([1, 0]), ref_logits=ref, statistics=["entropy", "reverse_kl", "top_k", "log_sum_sq"]
    )
    two, ref_two = logits.detach()[:1, :2], ref[:1, :2]
    expected = plain(two, torch.tensor([1]), ref_two)[1]
    torch.testing.assert_close(found.kl.detach(), torch.cat((expected, torch.zeros(1))))
    entropy = -(two.softmax(1) * two.log_softmax(1)).sum(1)
    torch.testing.assert_close(found.entropy, torch.cat((entropy, torch.zeros(1))))
    torch.testing.assert_close(found.top_k_entropy, torch.cat((entropy / math.log(2), torch.zeros(1))))
    assert found.reverse_kl.isfinite().all() and found.log_sum_sq.isfinite().all()
    (gradient,) = gradients(found.kl.sum() + found.log_probs.sum(), (logits,))
    assert gradient.isfinite().all()
    banned = scores_from_logits(torch.tensor([[0.0, -math.inf]]), torch.tensor([0]), ref_logits=torch.zeros(1, 2))
    assert banned.kl.item() == math.inf


def test_large_logits_lose_no_precision():
    hidden, weight, _, targets = problem(5, 4, 60, dtype=torch.float32, bias=False)
    large = (hidden * 1e3).detach().requires_grad_()
    ours = token_log_probs(large, weight, targets, tile=2).log_probs
    expected, _ = plain((large @ weight.T).double(), targets)
    torch.testing.assert_close(ours, expected.float())
    assert ours.isfinite().all()


@pytest.mark.parametrize("with_kl", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_bfloat16_is_as_exact_as_its_logits(with_kl, frozen):
    hidden, weight, _, targets = problem(12, 8, 200, dtype=torch.bfloat16, bias=False)
    ref = (hidden.detach() * 0.5).contiguous()
    exact = [values.detach().double().requires_grad_() for values in (hidden, weight)]
    head = weight.detach() if frozen else weight
    if with_kl:
        ours = token_log_probs_and_kl(hidden, head, targets, ref, weight, tile=5)
        log_probs, kl = plain(exact[0] @ exact[1].T, targets, ref.double() @ exact[1].detach().T)
        torch.testing.assert_close(ours.kl.double(), kl, rtol=0.05, atol=0.01)
    else:
        ours = token_log_probs(hidden, head, targets, tile=5)
        log_probs, kl = plain(exact[0] @ exact[1].T, targets)[0], 0
    assert ours.log_probs.dtype == torch.float32
    torch.testing.assert_close(ours.log_probs.double(), log_probs, rtol=0.02, atol=0.03)
    found = gradients((ours.log_probs + (ours.kl if with_kl else 0)).sum(), (hidden, None if frozen else weight))
    expected = gradients((log_probs + kl).sum(), (exact[0], None if frozen else exact[1]))
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == torch.bfloat16
        assert (a.double() - b).norm() < 0.02 * b.norm()


def test_the_gradient_of_a_bfloat16_weight_is_summed_in_float32():
    # Tiles that each add 2^-9 of what is there would all be lost in bfloat16.
    total = torch.zeros(1, 1)
    for into in (1.0, *[2.0**-9] * 64):
        add_product(total, torch.tensor([[into]]), torch.ones(1, 1, dtype=torch.bfloat16))
    assert total.item() == 1 + 64 * 2.0**-9


def test_autocast_sets_the_type_of_the_product_and_nothing_else():
    hidden, weight, _, targets = problem(6, 4, 20, dtype=torch.float32, bias=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = token_log_probs(hidden, weight, targets, tile=4, statistics=["entropy"])
    half = token_log_probs(hidden.bfloat16(), weight.bfloat16(), targets, tile=4, statistics=["entropy"])
    assert scores.log_probs.dtype == torch.float32 and torch.equal(scores.log_probs, half.log_probs)
    assert torch.equal(scores.entropy, half.entropy)
    assert [values.dtype for values in gradients(scores.log_probs.sum(), (hidden, weight))] == [torch.float32] * 2
    mixed = token_log_probs(hidden.bfloat16(), weight, targets)
    assert torch.equal(mixed.log_probs, token_log_probs(hidden.bfloat16().float(), weight, targets).log_probs)


def test_no_rows():
    hidden, weight, shift, targets = problem(0, 4, 30)
    for scores in (
        token_log_probs(hidden, weight, targets, bias=shift, statistics=ALL),
        token_log_probs_and_kl(hidden, weight, targets, hidden, weight, bias=shift),
        token_log_probs(hidden, weight.detach(), targets),
        scores_from_logits(hidden @ weight.T, targets, statistics=ALL),
    ):
        assert scores.log_probs.shape == (0,)
        (gradient,) = torch.autograd.grad(scores.log_probs.sum(), hidden)
        assert gradient.shape == (0, 4)
    assert scores.entropy.shape == scores.top_k_mass.shape == (0,)


class Watch(TorchDispatchMode):
    """Names of the operations called, and the sizes of what they made that is no view of what they were given."""

    def __init__(self):
        super().__init__()
        self.names, self.sizes = [], [0]

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        given, made = (
            [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)] for tree in ((args, kwargs), out)
        )
        held = {leaf.untyped_storage().data_ptr() for leaf in given}
        self.names.append(str(func))
        self.sizes += [leaf.numel() for leaf in made if leaf.untyped_storage().data_ptr() not in held]
        return out


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("with_kl", [False, True])
def test_nothing_of_all_rows_and_the_vocabulary_is_ever_held(frozen, with_kl):
    n, v, tile = 64, 500, 8
    hidden, weight, shift, targets = problem(n, 4, v)
    head = (weight.detach(), shift.detach()) if frozen else (weight, shift)
    with Watch() as watch:
        if with_kl:
            scores = token_log_probs_and_kl(
                hidden, head[0], targets, hidden, weight, bias=head[1], tile=tile, statistics=[*ALL, "reverse_kl"]
            )
            loss = scores.log_probs.sum() + scores.kl.sum()
        else:
            loss = token_log_probs(hidden, head[0], targets, bias=head[1], tile=tile, statistics=ALL).log_probs.sum()
        loss.backward()
    assert max(watch.sizes) == tile * v > weight.numel()


def test_from_logits_makes_one_tensor_of_their_size_their_gradient():
    logits = torch.randn(64, 500, generator=torch.Generator().manual_seed(0)).bfloat16().requires_grad_()
    ref, targets = torch.zeros(64, 500).bfloat16(), torch.zeros(64, dtype=torch.long)
    with Watch() as forward:
        scores = scores_from_logits(logits, targets, ref_logits=ref, tile=8, statistics=[*ALL, "reverse_kl"])
    assert max(forward.sizes) == 8 * 500
    with Watch() as backward:
        (gradient,) = gradients(scores.kl.sum(), (logits,))
    assert sorted(backward.sizes)[-2:] == [8 * 500, 64 * 500]
    assert gradient.dtype == torch.bfloat16 and scores.kl.dtype == torch.float32


def test_no_gradient_is_prepared_where_none_is_wanted():
    hidden, weight, _, targets = problem(9, 4, 50, bias=False)
    with torch.no_grad(), Watch() as watch:
        scores = token_log_probs(hidden, weight.detach(), targets, tile=4)
    assert not scores.log_probs.requires_grad and "aten.scatter_add_.default" not in watch.names


def test_backward_twice_and_of_the_first_order_only():
    hidden, weight, _, targets = problem(9, 4, 50, bias=False)
    for head, tile in ((weight, 4), (weight, 9), (weight.detach(), 4)):
        loss = token_log_probs(hidden, head, targets, tile=tile).log_probs.square().sum()
        first = torch.autograd.grad(loss, hidden, retain_graph=True)[0]
        assert torch.equal(first, torch.autograd.grad(loss, hidden, retain_graph=True)[0])
        (again,) = torch.autograd.grad(loss, hidden, create_graph=True)
        with pytest.raises(RuntimeError, match="once_differentiable"):
            again.sum().backward()


@pytest.mark.parametrize("tile", [4, 9])
def test_scores_without_a_gradient_give_none(tile):
    hidden, weight, shift, targets = problem(9, 4, 50)
    ref = [2 * values.detach() for values in (hidden, weight, shift)]
    for head in ((weight, shift), (weight.detach(), shift.detach())):
        leaves = [leaf for leaf in (hidden, *head) if leaf.requires_grad]

        def scores(*_, head=head):
            found = token_log_probs_and_kl(
                hidden, head[0], targets, ref[0], ref[1], bias=head[1], ref_bias=ref[2], tile=tile
            )
            return found.log_probs, found.kl

        assert torch.autograd.gradcheck(scores, leaves, check_undefined_grad=True)
    logits = (hidden @ weight.T).detach().requires_grad_()
    ref_logits = 2 * logits.detach()

    def given(_):
        found = scores_from_logits(logits, targets, ref_logits=ref_logits, tile=tile)
        return found.log_probs, found.kl

    assert torch.autograd.gradcheck(given, logits, check_undefined_grad=True)


def test_rows_of_one_tile_are_multiplied_with_the_weight_once():
    hidden, weight, _, targets = problem(9, 4, 50, bias=False)
    found = []
    for tile in (9, 4):
        with Watch() as watch:
            scores = token_log_probs_and_kl(hidden, weight, targets, 2 * hidden, weight, tile=tile)
            into = gradients((scores.log_probs + 3 * scores.kl).sum(), (hidden, weight))
        products = sum(name.startswith(("aten.mm", "aten.addmm")) for name in watch.names)
        found.append((products, into))
    (once, ours), (twice, expected) = found
    assert once == 4 and twice == 6 * 3, "policy, reference and two gradients; a tile of three forms two of them again"
    same(ours, expected)


def test_the_tile_is_of_sixteen_mebibytes_but_not_less_than_128_rows():
    assert tile_rows(32_000) == 131 and tile_rows(128_256) == 128 and tile_rows(104) == 40_329
    assert tile_rows(32_000, "cuda") == 2097


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": torch.tensor([0, 5, 7])}, "target 7 at position 2 is not an id of the vocabulary of 6"),
        ({"targets": torch.tensor([0, -100, 2])}, "target -100 at position 1 .* leave out positions"),
        ({"targets": torch.tensor([0.0, 1.0, 2.0])}, "integers, not torch.float32"),
        ({"targets": torch.tensor([0, 1])}, r"targets has shape \(2,\) where \(3,\) is needed"),
        ({"weight": torch.zeros(6, 5)}, r"shapes \(3, 4\) and \(6, 5\)"),
        ({"bias": torch.zeros(5)}, r"bias has shape \(5,\) where \(6,\) is needed"),
        ({"temperature": 0.0}, "temperature should be positive and finite, not 0.0"),
        ({"tile": 0}, "tile should be at least 1 row, not 0"),
        ({"statistics": ["reverse_kl"]}, '"reverse_kl" needs a reference'),
    ],
)
def test_bad_input(change, message):
    given = {"hidden": torch.zeros(3, 4), "weight": torch.zeros(6, 4), "targets": torch.tensor([0, 1, 2])} | change
    with pytest.raises(BadInput, match=message):
        token_log_probs(**given)


def test_bad_input_elsewhere():
    hidden, weight, targets = torch.zeros(3, 4), torch.zeros(6, 4), torch.tensor([0, 1, 2])
    with pytest.raises(UnknownMethod, match="did you mean 'entropy'"):
        token_log_probs(hidden, weight, targets, statistics=["entropie"])
    with pytest.raises(BadInput, match="ref_hidden should be"):
        token_log_probs_and_kl(hidden, weight, targets, hidden, torch.zeros(6, 3))
    with pytest.raises(BadInput, match=r"ref_hidden @ ref_weight.T has shape \(3, 7\) where \(3, 6\)"):
        token_log_probs_and_kl(hidden, weight, targets, hidden, torch.zeros(7, 4))
    with pytest.raises(BadInput, match="logits should be"):
        scores_from_logits(torch.zeros(3, 4, dtype=torch.long), targets)
    with pytest.raises(BadInput, match="ref_logits has shape"):
        scores_from_logits(torch.zeros(3, 4), targets, ref_logits=torch.zeros(3, 5))
    assert isinstance(scores_from_logits(torch.zeros(3, 4), targets), TokenScores)
