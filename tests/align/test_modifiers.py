import math

import pytest
import torch

from polyculture.align.log_probs.pairs import pair_inputs
from polyculture.align.mixture import Mixture, parse_objective
from polyculture.align.modifiers import score_map, with_divergence, wpo_weights
from polyculture.align.objective import Objective
from polyculture.errors import BadInput, UnknownMethod

PAIR = {
    "policy_chosen": torch.tensor([-3.0, -5.0]).double(),
    "policy_rejected": torch.tensor([-4.0, -2.0]).double(),
    "ref_chosen": torch.tensor([-3.5, -4.0]).double(),
    "ref_rejected": torch.tensor([-3.0, -3.0]).double(),
    "mean_chosen": torch.tensor([-1.5, -1.25]).double(),
    "mean_rejected": torch.tensor([-2.0, -1.0]).double(),
    "tokens_chosen": torch.tensor([2.0, 4.0]).double(),
    "tokens_rejected": torch.tensor([2.0, 2.0]).double(),
}


def test_weights_by_hand_and_without_gradient():
    policy = torch.log(torch.tensor([[0.5, 0.25], [0.5, 0.1]])).requires_grad_()
    squares = torch.log(torch.tensor([[0.5, 0.5], [0.5, 0.9]]))
    mask = torch.tensor([[1, 1], [1, 0]])
    found = wpo_weights(policy, squares, mask)
    assert found.tolist() == pytest.approx([math.sqrt(1.0 * 0.5) * 1.0])
    assert not found.requires_grad


def test_weights_of_nothing_and_of_banned_padding():
    banned = torch.tensor([[-1.0, -torch.inf], [-1.0, -torch.inf]])
    assert wpo_weights(banned, banned, torch.tensor([[1, 0], [1, 0]])).tolist() == [1.0]
    assert wpo_weights(banned, banned, torch.zeros(2, 2)).tolist() == [1.0]
    with pytest.raises(BadInput, match=r"\(2B, T\)"):
        wpo_weights(banned[:1], banned[:1], torch.ones(1, 2))


def test_weights_multiply_each_pair_and_are_refused_where_pairs_depend_on_each_other():
    weights = torch.tensor([2.0, 0.5])
    dpo = Objective.of("dpo")
    assert dpo.total(PAIR, 2, 6, weights=weights).item() == pytest.approx((dpo(PAIR) * weights).mean().item())
    for name in ("aot", "cal-dpo", "kto-pair"):
        with pytest.raises(BadInput, match="can't be weighted"):
            Objective.of(name).total(PAIR, 2, 6, weights=weights)


def test_tails_weigh_less():
    logps = torch.tensor([[-1.0, -2.0, -4.0], [-1.0, 0.0, 0.0]])
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    given = pair_inputs(logps, mask, logps, ld_alpha=0.5)
    assert given["policy_chosen"].item() == -4.0 and given["policy_rejected"].item() == -1.0
    assert given["mean_chosen"].item() == pytest.approx(-7 / 3)


@pytest.mark.parametrize("alpha", [-1.0, 0.0, 1e-7, 0.5, 1.0, 2.0])
def test_alpha_scores(alpha):
    a = torch.tensor([-1.0, 0.0, 0.7]).double()
    expected = a if alpha == 0 else (1 - torch.exp(-alpha * a)) / alpha
    torch.testing.assert_close(score_map(a, "alpha", alpha=alpha), expected)
    torch.testing.assert_close(score_map(a, "alpha", alpha=1 - alpha, alpha_convention="trl"), expected)


def test_scores_refuse():
    with pytest.raises(UnknownMethod, match="divergence"):
        score_map(torch.zeros(1), "jss")
    with pytest.raises(UnknownMethod, match="alpha_convention"):
        score_map(torch.zeros(1), "alpha", alpha_convention="their")
    with pytest.raises(BadInput, match="max_exponent"):
        score_map(torch.zeros(1), "alpha", max_exponent=-1.0)


def test_a_divergence_under_dpo_is_f_dpo():
    for divergence in ("reverse_kl", "forward_kl", "js", "alpha"):
        ours = with_divergence(Objective.of("dpo", beta=0.3), divergence)
        theirs = Objective.of("f-dpo", beta=0.3, divergence=divergence)
        torch.testing.assert_close(ours(PAIR), theirs(PAIR))
        for one, two in zip(ours.rewards(PAIR), theirs.rewards(PAIR), strict=True):
            # a reward is told up to a constant of the prompt
            torch.testing.assert_close(one - one[0], two - two[0])
        assert ours.needs == ("policy_chosen", "policy_rejected", "ref_chosen", "ref_rejected")
        assert ours.kind == "pairs" and ours.needs_reference and divergence in ours.name


def test_only_differences_can_be_put_under_a_divergence():
    for name in ("sft", "simpo", "bco-pair", "aot", "dpop", "dpo-norm", "kto", "pl"):
        with pytest.raises(BadInput, match="can't be put under js"):
            with_divergence(Objective.of(name), "js")
    with pytest.raises(BadInput, match="can't be put under js"):
        with_divergence(parse_objective("dpo+bco-pair"), "js")
    with pytest.raises(BadInput, match="can't be put under js"):
        with_divergence(parse_objective("2*sft"), "js")


def test_of_a_mixture_the_likelihood_stays():
    mixed = with_divergence(parse_objective("dpo+2*sft", beta=0.3), "js")
    expected = with_divergence(Objective.of("dpo", beta=0.3), "js").total(PAIR, 2, 6)
    torch.testing.assert_close(mixed.total(PAIR, 2, 6), expected + 2 * Objective.of("sft").total(PAIR, 2, 6))


def test_an_overflow_is_named():
    far = {**PAIR, "policy_rejected": torch.tensor([-2000.0, -2.0]).double()}
    with pytest.raises(BadInput, match="1 rejected answers overflows"):
        with_divergence(Objective.of("dpo"), "forward_kl")(far)
    assert with_divergence(Objective.of("dpo"), "forward_kl", max_exponent=80.0)(far).isfinite().all()


def test_a_mixture_is_a_weighted_sum_each_by_its_own_count():
    mixed = parse_objective("0.8*dpo + 0.2*bco-pair+sft", beta=0.2)
    assert isinstance(mixed, Mixture) and mixed.name == "0.8*dpo+0.2*bco-pair+1*sft"
    assert mixed.hyper == {"dpo.beta": 0.2, "bco-pair.beta": 0.2}
    dpo, bco = Objective.of("dpo", beta=0.2)(PAIR), Objective.of("bco-pair", beta=0.2)(PAIR)
    nll = 1.5 * 2 + 1.25 * 4
    assert mixed.total(PAIR, 10, 60).item() == pytest.approx(
        float(0.8 * dpo.sum() / 10 + 0.2 * bco.sum() / 10) + nll / 60
    )
    assert mixed(PAIR).mean().item() == pytest.approx(mixed.total(PAIR, 2, 6).item())
    assert mixed.kind == "pairs" and mixed.needs_reference and not mixed.needs_vocabulary and mixed.columns == ()
    assert mixed.needs[-2:] == ("mean_chosen", "tokens_chosen")
    torch.testing.assert_close(mixed.rewards(PAIR), Objective.of("dpo", beta=0.2).rewards(PAIR))
    assert mixed.traits.per == "pair" and not mixed.traits.of_difference and not mixed.traits.batch_coupled


def test_totals_of_the_batches_of_a_step_add_up():
    mixed = parse_objective("0.8*dpo+0.2*orpo+1*sft")
    parts = [{name: value[i : i + 1] for name, value in PAIR.items()} for i in range(2)]
    torch.testing.assert_close(sum(mixed.total(part, 2, 6) for part in parts), mixed.total(PAIR, 2, 6))


def test_reading_objectives():
    assert isinstance(parse_objective("dpo", beta="0.3"), Objective)
    assert parse_objective("dpo", beta="0.3").hyper == {"beta": 0.3}
    assert isinstance(parse_objective("2*dpo"), Mixture)
    assert parse_objective("1e+1*dpo+1e-1*sft").parts[0][0] == 10.0
    assert parse_objective("cdpo+sft", **{"label-smoothing": 0.2}).hyper == {"cdpo.label_smoothing": 0.2}
    with pytest.raises(UnknownMethod, match=r"no option of objective 'dpo.sft' 'betta'; did you mean 'beta'"):
        parse_objective("dpo+sft", betta=0.1)
    with pytest.raises(UnknownMethod, match="'dpoo'"):
        parse_objective("dpoo+sft")
    for text in ("", "dpo+", "x*dpo", "0.3*", "nan*dpo"):
        with pytest.raises(BadInput, match="can't read"):
            parse_objective(text)
    for text in ("-1*dpo", "0*dpo+sft", "inf*dpo"):
        with pytest.raises(BadInput, match="weight of dpo"):
            parse_objective(text)
    with pytest.raises(BadInput, match="dpo is of pairs, kto is of labels"):
        parse_objective("dpo+kto")
    with pytest.raises(BadInput, match="at least one"):
        Mixture(())


def test_a_mixture_of_one_kind_that_is_not_pairs():
    assert parse_objective("kto+0.5*bco").kind == "labels"
    assert parse_objective("0.5*sft").kind == "demonstrations"
    assert parse_objective("0.5*sft").rewards(PAIR) is None
