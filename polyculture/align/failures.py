"""What is told, and kept, when a training can't go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from polyculture.align.data.dataset import EncodedDataset
from polyculture.errors import BadInput
from polyculture.files import write_json


def check_loss(
    loss: torch.Tensor, batch: Mapping[str, Any], data: Any, *, step: int, folder: Path, decode: Callable[[Any], str]
) -> None:
    """Check that a loss is a number; if not, its batch is kept in ``bad-batch-step-N.json``.

    Args:
        loss: a scalar.
        batch: that it is of.
        data: the data set of the batch.
        step: of training.
        folder: where the batch is kept.
        decode: a tokenizer's.

    Raises:
        BadInput: it is not finite.
    """
    if bool(torch.isfinite(loss)):
        return
    rows = [data.examples[i] for i in batch["index"].tolist()] if isinstance(data, EncodedDataset) else []
    path = folder / f"bad-batch-step-{step}.json"
    shown = [
        {"place": row.place, "prompt": decode(row.prompt), "completions": [decode(one) for one in row.completions]}
        for row in rows
    ]
    write_json(path, {"step": step, "reason": "the loss is not finite", "rows": shown})
    places = ", ".join(row.place for row in rows[:3]) + (", ..." if len(rows) > 3 else "")
    raise BadInput(
        f"the loss is {float(loss.detach())} at step {step} ({places}); the batch is saved in {path}; lower the "
        "learning rate, or look at those rows; the last checkpoint is as it was"
    )


def check_gradient(norm: Any, step: int) -> None:
    """Check that a gradient is a number.

    Args:
        norm: of it; None where it is not known.
        step: of training.

    Raises:
        BadInput: it is not finite.
    """
    if norm is not None and not bool(torch.isfinite(torch.as_tensor(norm))):
        raise BadInput(
            f"the gradient is not finite at step {step}, though the loss is; lower the learning rate or train in a "
            "wider type; the last checkpoint is as it was"
        )
