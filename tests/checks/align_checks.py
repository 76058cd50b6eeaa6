"""What every objective must do, whoever wrote it: run over each loss of the align table.

A loss says what it needs by the names of its arguments without a default; make_inputs makes one of each kind.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping

import pytest
import torch
from torch import Tensor

from polyculture.align.inputs import INPUTS
from polyculture.align.objective import Objective
from polyculture.errors import BadInput
from polyculture.methods import inputs, meaning, parameters, table

Inputs = dict[str, Tensor]
Loss = Callable[..., Tensor]

N = 7
POLICY = (
    *("policy_chosen", "policy_rejected", "mean_chosen", "mean_rejected", "kl_chosen", "kl_rejected"),
    *("policy", "policy_ranked", "policy_samples"),
)
# Estimates of the reference point only: what they are made of is not to be trained.
DETACHED = ("kl_policy", "kl_ref")

# Part of what their value depends on is held fixed in their gradient; given as an option, it is fixed in both.
FIXED = {"bco": {"delta": 0.2}}


def losses() -> list[str]:
    """The losses of the table; what trains in stages is a class and no loss."""
    return [name for name in table("align") if not inspect.isclass(table("align")[name])]


def make_inputs(
    n: int = N, dtype: torch.dtype = torch.float64, *, mean: float | None = None, ref: float = -1.0
) -> Inputs:
    """n rows of every kind of input, no two alike; or all the policy's and the reference's tokens equally likely.

    Args:
        n: rows.
        dtype: of the floats.
        mean: the policy's log-probability of every token; none for random ones.
        ref: the reference's, if mean is given.
    """
    rng = torch.Generator().manual_seed(0)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(n, *shape, generator=rng, dtype=torch.float64)

    given: Inputs = {}
    for side in ("chosen", "rejected"):
        tokens = torch.randint(1, 9, (n,), generator=rng).double() if mean is None else torch.full((n,), 20.0).double()
        given[f"tokens_{side}"] = tokens
        for prefix, likely in (("", mean), ("ref_", ref)):
            means = uniform(-2.5, -0.1) if mean is None else torch.full((n,), float(likely or 0)).double()
            given[f"{prefix}mean_{side}"] = means
            given[f"{prefix or 'policy_'}{side}"] = means * tokens
        given[f"kl_{side}"] = uniform(0.1, 2)
        given[f"margin_rewards_{side}"] = uniform(-1, 1, 1)
        given[f"win_{side}"] = uniform(0, 1)
    given["margin"] = uniform(0, 2)
    given["policy"], given["ref"] = given["policy_chosen"], given["ref_chosen"]
    given["kl_policy"], given["kl_ref"] = uniform(-4, -1), uniform(-6, -2)
    given["desirable"] = torch.arange(n) % 3 != 0
    for prefix, likely in (("policy", mean), ("ref", ref)):
        given[f"{prefix}_ranked"] = (
            uniform(-9, -1, 4) if mean is None else torch.full((n, 4), 20.0 * (likely or 0)).double()
        )
    given["ranked"] = torch.arange(4)[None, :] <= 1 + (torch.arange(n) % 3)[:, None]
    given["policy_samples"] = given["policy_chosen"]
    given["proposal_samples"] = given["policy_chosen"] + uniform(-0.3, 0.3)
    given["target_samples"] = uniform(-9, -1)
    given["log_z"], given["baseline"] = uniform(-1, 1), uniform(-1, 1)
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in given.items()}


def needed(loss: Loss, given: Mapping[str, Tensor]) -> Inputs:
    """What the loss asks for; a column that is nobody's is any numbers."""
    some = next(iter(given.values()))
    other = torch.linspace(0.1, 1, len(some), dtype=given["policy_chosen"].dtype)
    return {name: given.get(name, other).clone() for name in inputs(loss)}


def with_gradient(given: Inputs) -> Inputs:
    """The same, the policy's part asking for its gradient."""
    return {name: value.requires_grad_() if name in POLICY else value for name, value in given.items()}


def gradients(loss: Loss, given: Inputs) -> Inputs:
    """Of the sum of the losses, for each input of the policy."""
    asked = {name: value for name, value in with_gradient(given).items() if name in POLICY}
    found = torch.autograd.grad(loss(**given).sum(), list(asked.values()), allow_unused=True)
    return {name: torch.zeros_like(asked[name]) if g is None else g for name, g in zip(asked, found, strict=True)}


def check_needs_one_kind_of_data(name: str, loss: Loss) -> None:
    objective = Objective.of(name)
    assert objective.kind in ("pairs", "demonstrations", "labels", "rankings", "samples")
    assert objective.columns or set(objective.needs) <= set(INPUTS)
    assert not set(inputs(loss)) & {"args", "kwargs"}


def check_one_finite_loss_a_row(name: str, loss: Loss) -> None:
    for dtype in (torch.float64, torch.float32):
        for n in (1, 2, N):
            found = loss(**needed(loss, make_inputs(n, dtype)))
            assert found.shape == (n,)
            assert found.dtype == dtype, f"{dtype} became {found.dtype}"
            assert found.isfinite().all()


def check_no_row_is_no_loss(name: str, loss: Loss) -> None:
    given = needed(loss, make_inputs(0))
    assert loss(**given).shape == (0,)
    assert Objective.of(name).total(given, 0, 0).item() == 0


def check_half_precision_is_made_whole(name: str, loss: Loss) -> None:
    half = needed(loss, make_inputs(dtype=torch.bfloat16))
    whole = {key: value.float() if value.is_floating_point() else value for key, value in half.items()}
    found = loss(**half)
    assert found.dtype in (torch.float32, torch.float64)
    torch.testing.assert_close(found.float(), loss(**whole).float(), rtol=1e-5, atol=1e-5)


def check_gradient_is_that_of_the_loss(name: str, loss: Loss) -> None:
    given, fixed = needed(loss, make_inputs(3)), FIXED.get(name, {})
    asked = [key for key in given if key in POLICY and not key.startswith("kl_")]  # stop-gradients of a KL are a choice
    assert torch.autograd.gradcheck(
        lambda *values: loss(**{**given, **dict(zip(asked, values, strict=True))}, **fixed),
        [given[key].clone().requires_grad_() for key in asked],
    )


def check_gradient_reaches_the_policy_alone(name: str, loss: Loss) -> None:
    given = needed(loss, make_inputs())
    assert sum(float(g.abs().sum()) for g in gradients(loss, given).values()) > 0
    held = [given[key].requires_grad_() for key in DETACHED if key in given]
    if held:
        reached = torch.autograd.grad(loss(**given).sum(), held, allow_unused=True)
        assert all(g is None or not g.any() for g in reached)


def check_order_of_rows(name: str, loss: Loss) -> None:
    given = needed(loss, make_inputs())
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    plain, moved = loss(**given), loss(**{key: value[order] for key, value in given.items()})
    if Objective.of(name).traits.batch_coupled:
        torch.testing.assert_close(moved.sum(), plain.sum())
    else:
        torch.testing.assert_close(moved, plain[order])
        alone = [loss(**{key: value[i : i + 1] for key, value in given.items()}) for i in range(N)]
        torch.testing.assert_close(torch.cat(alone), plain, msg="rows see each other: declare batch_coupled")


def check_batch_coupled_is_true(name: str, loss: Loss) -> None:
    if Objective.of(name).traits.batch_coupled:
        given = needed(loss, make_inputs())
        alone = [loss(**{key: value[i : i + 1] for key, value in given.items()}) for i in range(N)]
        assert not torch.allclose(torch.cat(alone), loss(**given))


def check_far_from_the_reference(name: str, loss: Loss) -> None:
    """Log-ratios of a thousand, answers of probability 1, both sides of float32."""
    for mean, ref in ((-50.0, -0.01), (-0.01, -50.0), (0.0, -1.0), (-1.0, -1.0)):
        given = needed(loss, make_inputs(3, torch.float32, mean=mean, ref=ref))
        try:
            found, slopes = loss(**given), gradients(loss, given)
        except BadInput as error:
            assert str(error)
            continue
        assert not found.isnan().any(), f"NaN at a mean of {mean} against {ref}"
        for key, g in slopes.items():
            assert not g.isnan().any(), f"the gradient for {key} is NaN at a mean of {mean} against {ref}"


def check_empty_completions(name: str, loss: Loss) -> None:
    given = make_inputs(3, mean=0.0, ref=0.0)
    given |= {f"tokens_{side}": torch.zeros(3).double() for side in ("chosen", "rejected")}
    assert loss(**needed(loss, given)).isfinite().all()


def check_a_banned_reference_is_refused(name: str, loss: Loss) -> None:
    for key in ("ref_chosen", "ref_rejected", "ref_mean_chosen", "ref", "ref_ranked"):
        for bad in (-torch.inf, torch.nan):
            given = needed(loss, make_inputs())
            if key in given:
                given[key][0] = bad
                with pytest.raises(BadInput):
                    loss(**given)


def check_beta_is_positive(name: str, loss: Loss) -> None:
    given = needed(loss, make_inputs())
    for strength in {"beta", "eta", "lam"} & set(parameters(loss)):
        for bad in (-0.5, float("nan")) if strength == "lam" else (0.0, -0.5, float("nan"), float("inf")):
            with pytest.raises(BadInput, match=strength):
                Objective.of(name, **{strength: bad})(given)


def check_hyper_parameters(name: str, loss: Loss) -> None:
    known = parameters(loss)
    assert all(one.help for one in known.values()), [n for n, one in known.items() if not one.help]
    assert all(one.kind is one.KEYWORD_ONLY for n, one in inspect.signature(loss).parameters.items() if n in known)
    plain = {n: one.default for n, one in known.items() if isinstance(one.default, (int, float, str, tuple))}
    text = {n: ",".join(map(str, v)) if isinstance(v, tuple) else str(v) for n, v in plain.items()}
    given = needed(loss, make_inputs())
    assert torch.equal(Objective.of(name, **text)(given), loss(**given))
    assert meaning("align", name)


def check_same_again(name: str, loss: Loss) -> None:
    given = needed(loss, make_inputs())
    before = {key: value.clone() for key, value in given.items()}
    assert torch.equal(loss(**given), loss(**given))
    assert all(torch.equal(value, before[key]) for key, value in given.items()), "the inputs were changed"


def check_of_difference_is_true(name: str, loss: Loss) -> None:
    objective = Objective.of(name)
    if objective.traits.of_difference:
        given = needed(loss, make_inputs())
        for kind in ("policy", "ref"):
            moved = {key: value + 3.7 if key.startswith(kind) else value for key, value in given.items()}
            torch.testing.assert_close(loss(**moved), loss(**given))


def check_total_is_the_mean(name: str, loss: Loss) -> None:
    given, objective = needed(loss, make_inputs()), Objective.of(name)
    count = float(given["tokens_chosen"].sum()) if objective.traits.per == "token" else N
    torch.testing.assert_close(objective.total(given, N, count), loss(**given).sum() / count)
    assert objective.traits.per == "pair" or "tokens_chosen" in given


def check_rewards(name: str, loss: Loss) -> None:
    given, objective = with_gradient(needed(loss, make_inputs())), Objective.of(name)
    rewards = objective.rewards(given)
    if objective.kind == "pairs":
        assert rewards is not None, "a loss of pairs has rewards to log"
    for side in rewards or ():
        assert side.shape == (N,) and side.isfinite().all() and not side.requires_grad


def checks() -> Iterator[Callable[[str, Loss], None]]:
    """Every check of this file."""
    return (value for key, value in globals().items() if key.startswith("check_"))
