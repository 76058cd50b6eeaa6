"""Means that reach beyond the batch a loss is given: KTO's over all processes' batches, BCO's over all so far.

A loss is a function and keeps nothing, so it takes such a mean as an option, and its own batch's where none is given.
Its ``traits`` say of what the option is the mean; a trainer takes the mean and gives it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback, TrainerState

from polyculture.align.mixture import Mixture
from polyculture.align.objective import Objective

NAME = "PooledMeans"


class PooledMeans(TrainerCallback):
    """Gives objectives their means, and keeps those that run on, in checkpoints too."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[float, int]] = {}  # mean and count, by "number of the part.option"

    def fill(
        self, objective: Objective | Mixture, given: Mapping[str, Tensor], accelerator: Any, *, training: bool
    ) -> Objective | Mixture:
        """The objective with its means of this batch as options; what was set by hand stays as it is.

        Means that run on take the batch in first if it is trained on. Every process must ask, with a batch or without.

        Args:
            objective: or a mixture of such.
            given: the inputs of the batch.
            accelerator: of the trainer.
            training: whether the batch is trained on, not judged.
        """
        if isinstance(objective, Mixture):
            parts = tuple(
                (weight, self._filled(i, part, given, accelerator, training))
                for i, (weight, part) in enumerate(objective.parts)
            )
            return objective if parts == objective.parts else Mixture(parts)
        return self._filled(0, objective, given, accelerator, training)

    def _filled(
        self, number: int, objective: Objective, given: Mapping[str, Tensor], accelerator: Any, training: bool
    ) -> Objective:
        traits, found = objective.traits, {}
        inputs = {name: given[name] for name in objective.needs if name in given}
        together = accelerator.num_processes > 1
        for option, values in {**traits.batch_means, **traits.running_means}.items():
            runs = option in traits.running_means
            if objective.hyper.get(option) is not None or not (runs or together):
                continue
            key = f"{number}.{option}"
            mean, count = self._kept.get(key, (0.0, 0))
            if training or not runs:
                with torch.no_grad():
                    new = values(**inputs, **objective.hyper).float()
                total = torch.stack((new.sum(), new.new_tensor(float(new.numel()))))
                add, n = (accelerator.reduce(total, reduction="sum") if together else total).tolist()
                if not runs:
                    mean = add / max(n, 1)
                elif n:
                    count += int(n)
                    mean += (add - n * mean) / count
                    self._kept[key] = (mean, count)
            found[option] = mean
        return dataclasses.replace(objective, hyper={**objective.hyper, **found}) if found else objective

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        """Leave what runs on where the next checkpoint will take it in, in its ``trainer_state.json``."""
        if self._kept:
            state.stateful_callbacks[NAME] = dict(self._kept)

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        """Go on from the checkpoint that a training is resumed from."""
        held = state.stateful_callbacks.get(NAME, self._kept)
        self._kept = {key: (float(mean), int(count)) for key, (mean, count) in held.items()}
