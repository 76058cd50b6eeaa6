"""What TRL's and transformers' users call an option, and what ``polyculture align`` calls it."""

from __future__ import annotations

HERE = {
    "dataset-name": "DATA, the first argument",
    "dataset-path": "DATA, the first argument",
    "dataset-train-split": "--split",
    "eval": "--held-out FILE",
    "eval-dataset": "--held-out FILE",
    "eval-data": "--held-out FILE",
    "model-name-or-path": "--model",
    "ref-model": "--reference",
    "output-dir": "--output",
    "overwrite-output-dir": "--fresh",
    "resume-from-checkpoint": "the same command once more",
    "loss-type": "--objective",
    "loss-weights": "a sum: --objective 0.8*dpo+0.2*sft",
    "label-smoothing": "--objective cdpo",
    "f-divergence-type": "--divergence",
    "num-train-epochs": "--epochs",
    "max-steps": "--steps",
    "per-device-train-batch-size": "--batch-size",
    "per-device-batch-size": "--batch-size",
    "gradient-accumulation-steps": "--accumulate",
    "warmup-ratio": "--warmup",
    "lr": "--learning-rate",
    "max-prompt-length": "--max-length, of prompt and answer together",
    "use-peft": "--lora RANK",
    "lora-r": "--lora RANK",
    "torch-dtype": "--dtype",
    "save-steps": "--save-every",
    "use-cpu": "--cpu",
}
"""Other names of what there is."""

THEIRS = {
    "deepspeed", "ddp-timeout", "eval-on-start", "eval-steps", "eval-strategy", "fsdp", "fsdp-config",
    "greater-is-better", "hub-model-id", "load-best-model-at-end", "logging-dir", "logging-steps", "lr-scheduler-type",
    "max-grad-norm", "metric-for-best-model", "optim", "per-device-eval-batch-size", "push-to-hub", "report-to",
    "run-name", "save-strategy", "save-total-limit", "tf32", "warmup-steps", "weight-decay",
}  # fmt: skip
"""Arguments of transformers that go through --training."""


def name_here(name: str) -> str | None:
    """What another tool's option is here, or None.

    Args:
        name: without the dashes before it.

    >>> name_here("num_train_epochs"), name_here("report_to"), name_here("haste")
    ('--epochs', '--training report_to=VALUE', None)
    """
    dashed = name.replace("_", "-")
    if dashed in THEIRS:
        return f"--training {dashed.replace('-', '_')}=VALUE"
    return HERE.get(dashed)
