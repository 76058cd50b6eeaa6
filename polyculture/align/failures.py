"""What is told, and kept, when a training can't go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from polyculture.align.data.encoding import Encoded
from polyculture.errors import BadInput
from polyculture.files import write_json


def not_finite(loss: float, rows: Sequence[Encoded], step: int, folder: Path, decode: Callable[[Any], str]) -> BadInput:
    """The error of a loss that is no number; the batch is kept in ``bad-batch-step-N.json``.

    Args:
        loss: what it is.
        rows: the batch.
        step: of training.
        folder: where the batch is kept.
        decode: a tokenizer's.
    """
    path = folder / f"bad-batch-step-{step}.json"
    shown = [
        {"place": row.place, "prompt": decode(row.prompt), "completions": [decode(one) for one in row.completions]}
        for row in rows
    ]
    write_json(path, {"step": step, "reason": "the loss is not finite", "rows": shown})
    places = ", ".join(row.place for row in rows[:3]) + (", ..." if len(rows) > 3 else "")
    return BadInput(
        f"the loss is {loss} at step {step} ({places}); the batch is saved in {path}; lower the learning rate, or look "
        "at those rows; the last checkpoint is as it was"
    )
