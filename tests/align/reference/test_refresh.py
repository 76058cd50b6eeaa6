import copy

import pytest
import torch
from torch import nn
from transformers import TrainerControl, TrainerState, TrainingArguments

from polyculture.align.reference.refresh import ReferenceRefresh, soft_update
from polyculture.errors import BadInput


def pair():
    policy = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    return policy, copy.deepcopy(policy).requires_grad_(False)


def test_the_reference_moves_by_alpha_and_the_policy_stays():
    policy, reference = pair()
    before = reference[0].weight.clone()
    with torch.no_grad():
        policy[0].weight += 1.0
    kept = policy[0].weight.clone()
    soft_update(reference, policy, 0.25)
    torch.testing.assert_close(reference[0].weight, before + 0.25)
    assert torch.equal(policy[0].weight, kept) and not reference[0].weight.requires_grad
    soft_update(reference, policy, 1.0)
    assert torch.equal(reference[0].weight, kept)


def test_another_dtype_will_do():
    policy, reference = pair()
    soft_update(reference.to(torch.bfloat16), policy, 0.5)
    assert reference[0].weight.dtype == torch.bfloat16


def test_refusals():
    policy, reference = pair()
    with pytest.raises(BadInput, match=r"share 0\.weight"):
        soft_update(policy, policy)
    with pytest.raises(BadInput, match=r"differ in 0\.weight"):
        soft_update(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)), policy)
    with pytest.raises(BadInput, match=r"differ in 1\.bias, 1\.weight"):
        soft_update(nn.Sequential(nn.Linear(2, 3)), policy)
    with pytest.raises(BadInput, match="alpha"):
        ReferenceRefresh(reference, policy, alpha=1.5)
    with pytest.raises(BadInput, match="every"):
        ReferenceRefresh(reference, policy, every=0)


def test_it_comes_every_so_many_steps(tmp_path):
    policy, reference = pair()
    with torch.no_grad():
        policy[0].weight += 1.0
    refresh = ReferenceRefresh(reference, policy, every=3)
    gaps = []
    for step in range(7):
        refresh.on_step_end(TrainingArguments(str(tmp_path)), TrainerState(global_step=step), TrainerControl())
        gaps.append((policy[0].weight - reference[0].weight).mean().item())
    assert gaps == pytest.approx([1.0] * 3 + [0.4] * 3 + [0.16], abs=1e-5)
