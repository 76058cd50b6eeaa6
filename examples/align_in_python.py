"""Train a tiny model towards answers that name two crops, with an objective of one's own, and see what variety is left.

It also leaves the preferences and the model in files, for ``align_recipe.yaml``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import transformers
from torch import Tensor
from torch.nn.functional import logsigmoid

from polyculture.align.trainer import AlignmentTrainer
from polyculture.align.training import Training
from polyculture.align.watching.settings import Watch
from polyculture.llm.untrained import untrained_model
from polyculture.report.alignment import write_alignment

CROPS = ("wheat", "rye", "oats", "clover", "barley", "maize", "flax", "hemp")


def preferences() -> list[dict[str, str]]:
    """A pair for every two crops: the chosen answer names both, the rejected one only what is there already."""
    return [
        {"prompt": f"After {a}, plant", "chosen": f" {b} and {a}", "rejected": f" {a}, {a}"}
        for a in CROPS
        for b in CROPS
        if a != b
    ]


def anchored_dpo_loss(  # noqa: D417
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    mean_chosen: Tensor,
    *,
    beta: float = 0.1,
    anchor: float = 1.0,
) -> Tensor:
    """DPO that also keeps the chosen answer likely; the names of the arguments say what it needs.

    Args:
        beta: strength of the pull to the reference.
        anchor: weight of the chosen answer's log-probability a token.
    """
    margin = (policy_chosen - ref_chosen) - (policy_rejected - ref_rejected)
    return -logsigmoid(beta * margin) - anchor * mean_chosen


def crops_named(responses: list[str]) -> list[float]:
    """The reward that is watched: how many different crops an answer names."""
    return [float(sum(crop in text for crop in CROPS)) for text in responses]


def main(out: Path, steps: int = 120) -> None:
    transformers.utils.logging.disable_progress_bar()
    model, tokenizer = untrained_model(width=64)
    rows = preferences()
    for part in (model, tokenizer):
        part.save_pretrained(out / "untrained")
    (out / "preferences.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    held_out = [row for row in rows if row["prompt"].split()[1] in ("flax,", "hemp,")]
    train = [row for row in rows if row not in held_out]
    settings = Training(steps=steps, batch_size=16, learning_rate=1e-2, log_every=steps, save_every=steps, cpu=True)
    trainer = AlignmentTrainer(
        model,
        anchored_dpo_loss,  # or "dpo", or "0.8*dpo+0.2*sft"
        settings.arguments(out / "run", len(train)),
        train,
        held_out,
        tokenizer,
        hyper={"beta": 0.2},
        max_length=64,
        watch=Watch(
            every=steps // 4,
            samples=16,
            max_new_tokens=20,
            reward=f"python:{__name__}:crops_named",
            alarm="off",  # what has learned nothing must become surer of itself
        ),
    )
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    trainer.save_model(str(out / "run" / "model"))
    print("step  crops named  different answers of 16  KL to the reference")
    for seen in trainer.watching.observations:
        reward, variety, far = (seen.metrics[name] for name in ("reward", "vendi_prompt", "reverse_kl_sample"))
        print(f"{seen.step:>4}  {reward:>11.2f}  {variety:>23.2f}  {far:>19.1f}")
    print(f"page: {write_alignment(out / 'run')}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/align_in_python"))
