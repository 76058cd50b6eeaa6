"""How long, how fast and on what to train: the few settings that matter, and any other of transformers by its name."""

from __future__ import annotations

import dataclasses
import os
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polyculture.errors import BadInput, unknown
from polyculture.methods import parse

OURS = {
    "num_train_epochs": "epochs",
    "max_steps": "steps",
    "per_device_train_batch_size": "batch_size",
    "gradient_accumulation_steps": "accumulate",
    "learning_rate": "learning_rate",
    "warmup_ratio": "warmup",
    "bf16": "bf16",
    "activation_checkpointing": "gradient_checkpointing",
    "gradient_checkpointing": "gradient_checkpointing",
    "save_steps": "save_every",
    "use_cpu": "cpu",
    "seed": "seed",
}
"""What transformers calls settings that are here. Given twice, one of them would be passed over without a word."""


@dataclass(frozen=True)
class Training:
    """Settings of a training.

    Args:
        epochs: passes over the data.
        steps: optimiser steps, in place of epochs.
        batch_size: examples computed at once, on each device.
        accumulate: batches of one optimiser step; a step is the mean over all its examples, however they are split.
        learning_rate: the highest; None is 1e-6, or 1e-5 for an adapter.
        warmup: share of the steps in which the learning rate rises; then it falls linearly to 0.
        max_length: most tokens of a prompt and a completion.
        lora: rank of a LoRA adapter on all linear layers; None trains the whole model.
        dtype: of the weights in memory; None is float32, or the saved type under an adapter.
        bf16: compute in bfloat16; None does on a GPU that can.
        gradient_checkpointing: compute activations again on the way back, to hold fewer.
        save_every: steps from one checkpoint to the next; None makes about ten.
        log_every: steps from one line of the log to the next; None is 10, or fewer in a short training.
        keep: checkpoints kept.
        share_prompts: compute a pair's prompt once, where the model allows it.
        cpu: use the CPU even where there is a GPU.
        seed: of everything random.
        more: any other of transformers.TrainingArguments, by name; strings are read as its type.
    """

    epochs: float = 1.0
    steps: int | None = None
    batch_size: int = 8
    accumulate: int = 1
    learning_rate: float | None = None
    warmup: float = 0.1
    max_length: int = 1024
    lora: int | None = None
    dtype: str | None = None
    bf16: bool | None = None
    gradient_checkpointing: bool = False
    save_every: int | None = None
    log_every: int | None = None
    keep: int = 2
    share_prompts: bool = True
    cpu: bool = False
    seed: int = 0
    more: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("batch_size", "accumulate", "log_every", "keep", "steps", "save_every", "lora"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise BadInput(f"training: {name} should be at least 1, not {value}")
        if not self.epochs > 0 or not 0 <= self.warmup < 1:  # transformers counts 1 as a step
            raise BadInput(
                f"training: epochs should be above 0 and warmup in [0, 1), not {self.epochs} and {self.warmup}"
            )
        if self.learning_rate is not None and not 0 < self.learning_rate < float("inf"):
            raise BadInput(f"training: learning_rate should be above 0, not {self.learning_rate}")

    def peft_config(self) -> Any:
        """The adapter's configuration, or None."""
        if self.lora is None:
            return None
        from polyculture.errors import need

        peft = need("peft", "train")
        return peft.LoraConfig(
            r=self.lora, lora_alpha=2 * self.lora, target_modules="all-linear", task_type="CAUSAL_LM"
        )

    def steps_of(self, examples: int) -> int:
        """Optimiser steps of a training on so many examples."""
        if self.steps is not None:
            return self.steps
        world = int(os.environ.get("WORLD_SIZE", "1"))
        batches = -(-examples // (self.batch_size * world))
        return max(1, int(-(-batches // self.accumulate) * self.epochs))

    def arguments(self, out: Path, examples: int) -> Any:
        """transformers.TrainingArguments for a training on so many examples.

        Args:
            out: where checkpoints go.
            examples: that are trained on.

        Raises:
            MissingExtra: accelerate is not installed.
            UnknownMethod: ``more`` names no training argument.
            BadInput: a value can't be read, or transformers refuses it.
        """
        import torch
        from transformers import TrainingArguments
        from transformers.integrations import get_reporting_integration_callbacks

        from polyculture.errors import need

        need("accelerate", "train")
        launched_on_cpu = int(os.environ.get("WORLD_SIZE", "1")) > 1 and not torch.cuda.is_available()
        bf16 = self.bf16
        if bf16 is None:
            bf16 = not self.cpu and torch.cuda.is_available() and torch.cuda.is_bf16_supported()
        given: dict[str, Any] = {
            "output_dir": str(out),
            "num_train_epochs": self.epochs,
            "max_steps": -1 if self.steps is None else self.steps,
            "per_device_train_batch_size": self.batch_size,
            "per_device_eval_batch_size": self.batch_size,
            "gradient_accumulation_steps": self.accumulate,
            "learning_rate": self.learning_rate or (1e-6 if self.lora is None else 1e-5),
            "warmup_steps": self.warmup,
            "bf16": bf16,
            "activation_checkpointing": self.gradient_checkpointing,
            "save_steps": self.save_every or max(1, -(-self.steps_of(examples) // 10)),
            "save_strategy": "steps",
            "save_total_limit": self.keep,
            "logging_steps": self.log_every or max(1, min(10, self.steps_of(examples) // 20)),
            "logging_nan_inf_filter": False,
            "use_cpu": self.cpu or launched_on_cpu,
            "dataloader_pin_memory": torch.cuda.is_available() and not self.cpu,
            "ddp_find_unused_parameters": False,
            "seed": self.seed,
            "disable_tqdm": True,
            "report_to": [],
        }
        known = {f.name for f in dataclasses.fields(TrainingArguments)}
        hints = typing.get_type_hints(TrainingArguments)
        for name, value in self.more.items():
            name = name.replace("-", "_")
            if name in OURS:
                ours = OURS[name]
                raise BadInput(f"{name} is {ours} here, an option of its own: --{ours.replace('_', '-')}")
            if name not in known:
                raise unknown("training argument of transformers", name, known)
            if name == "output_dir":
                raise BadInput("the folder is given with -o, not as output_dir")
            given[name] = parse(value, hints[name], name) if isinstance(value, str) else value
        given["report_to"] = given["report_to"] or []  # "none", which is read as None
        try:
            made = TrainingArguments(**given)
            for tracker in get_reporting_integration_callbacks(made.report_to):
                tracker()  # as the trainer will make it: is its package there?
            return made
        except (ValueError, TypeError, ImportError, RuntimeError) as error:
            raise BadInput(f"transformers refuses the training arguments: {str(error).splitlines()[0]}") from error
