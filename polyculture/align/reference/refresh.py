"""A reference that follows the policy: TR-DPO (Gorbatovski et al., 2024), soft update."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from polyculture.align.objectives.bounds import within
from polyculture.errors import BadInput
from polyculture.files import atomic

REFERENCE = "reference.safetensors"


@torch.no_grad()
def soft_update(reference: nn.Module, policy: nn.Module, alpha: float = 0.6) -> None:
    """Move the reference: ref := alpha policy + (1 - alpha) ref, in place, parameter by parameter; buffers stay.

    Args:
        reference: what is changed.
        policy: what it moves towards, with the same parameters; other devices and dtypes will do.
        alpha: how far, in [0, 1]; 1 copies.

    Raises:
        BadInput: alpha is outside [0, 1], the two have different parameters, or they share one.
    """
    within("alpha", alpha, 0.0, 1.0, "the reference's refresh")
    source, target = dict(policy.named_parameters()), dict(reference.named_parameters())
    differ = sorted(source.keys() ^ target.keys()) or [
        name for name in target if source[name].shape != target[name].shape
    ]
    if differ:
        raise BadInput(f"policy and reference are different models: they differ in {', '.join(differ[:3])}")
    shared = [name for name in target if source[name].data_ptr() == target[name].data_ptr() and len(target[name])]
    if shared:
        raise BadInput(f"policy and reference share {shared[0]}: a refresh would change nothing; copy the model first")
    for name, parameter in target.items():
        parameter.lerp_(source[name].to(parameter), alpha)


def save_reference(reference: nn.Module, folder: Path) -> None:
    """Keep a reference that moves in a checkpoint.

    Args:
        reference: the model.
        folder: of the checkpoint.
    """
    with atomic(folder / REFERENCE, "wb") as file:
        # Copies: weights that are tied share their memory, which safetensors refuses.
        file.write(save({name: value.clone() for name, value in reference.state_dict().items()}))


def load_reference(reference: nn.Module, folder: Path) -> None:
    """Go on with the reference of a checkpoint.

    Args:
        reference: the model; is changed.
        folder: of the checkpoint.

    Raises:
        BadInput: the checkpoint has none.
    """
    if not (folder / REFERENCE).exists():
        raise BadInput(f"{folder} holds no {REFERENCE}: it is of a training whose reference stood still; begin anew")
    reference.load_state_dict(load_file(folder / REFERENCE))


class ReferenceRefresh(TrainerCallback):
    """Move the reference towards the policy every so many optimiser steps.

    Log-probabilities of the reference that were computed before training are then out of date: don't keep them.

    Args:
        reference: the frozen model of the reference.
        policy: the model being trained, as the optimiser has it.
        alpha: how far, in [0, 1].
        every: optimiser steps between two refreshes, 1 or more.

    Raises:
        BadInput: alpha or every is out of range.
    """

    def __init__(self, reference: nn.Module, policy: nn.Module, *, alpha: float = 0.6, every: int = 512) -> None:
        within("alpha", alpha, 0.0, 1.0, "the reference's refresh")
        if every < 1:
            raise BadInput(f"every of the reference's refresh should be 1 step or more, not {every}")
        self.reference, self.policy, self.alpha, self.every = reference, policy, alpha, every

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Refresh if it is time; called by the trainer."""
        if state.global_step > 0 and state.global_step % self.every == 0:
            soft_update(self.reference, self.policy, self.alpha)
