"""``polyculture align --dry-run``: what the model would see, token for token, before any of it is trained on."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyculture.cli.console import print_json, print_table
from polyculture.errors import BadInput
from polyculture.progress import Progress, silent

if TYPE_CHECKING:
    from polyculture.align.job import Alignment

SHOWN = 3
SIDES: dict[str, tuple[str, ...]] = {"pairs": ("chosen", "rejected")}


def preview(job: Alignment, as_json: bool, progress: Progress = silent) -> None:
    """Print what there is to train on and the first examples, decoded from their tokens. Nothing is written.

    Args:
        job: what would be done.
        as_json: print one JSON object.
        progress: told the rows and examples.

    Raises:
        BadInput: as the training would, of the data, the objective and the tokenizer.
    """
    from polyculture.align.data.encoding import Encoder
    from polyculture.align.data.examples import read_examples
    from polyculture.align.run import needed, read_rows

    name = Path(str(job.data)).name
    with tempfile.TemporaryDirectory() as folder:
        rows, held_out = read_rows(dataclasses.replace(job, out=Path(folder)), progress)
    kind, columns = needed(job)
    stages = job.objective.strip() in ("curry-dpo", "dno-prct")
    examples, unusable = read_examples(rows, kind, columns=columns, source=name, name=job.objective)
    tokenizer = _tokenizer(job.model)
    encoder = Encoder(tokenizer, min(job.training.max_length, _window(job.model)))
    encoded, same, cuts = encoder.encode(examples, progress)
    sides = SIDES.get(kind, ())
    shown = []
    for example in [encoded[i] for i in range(min(SHOWN, len(encoded)))]:
        parts = {"prompt": example.prompt}
        for k, ids in enumerate(example.completions):
            parts[sides[k] if sides else "completion" if len(example.completions) == 1 else f"{k + 1}."] = ids
        shown.append(
            {
                "place": example.place,
                **({"label": example.desirable} if kind == "labels" else {}),
                **({"numbers": dict(example.numbers)} if example.numbers else {}),
                "tokens": {part: len(ids) for part, ids in parts.items()},
                "text": {part: tokenizer.decode(ids) for part, ids in parts.items()},
            }
        )
    found = {
        "data": str(job.data),
        "objective": job.objective,
        "kind": kind,
        "rows": len(rows),
        "held_out": len(held_out),
        "examples": len(encoded),
        "rejected": [{"place": one.place, "reason": one.reason} for one in (*unusable, *same)],
        "cuts": str(cuts),
        "steps": None if stages else job.training.steps_of(len(encoded)),
        "shown": shown,
    }
    if as_json:
        print_json(found)
    else:
        _show(found)


def _show(found: dict[str, Any]) -> None:
    joined = "of" if found["examples"] <= found["rows"] else "from"
    lines = [["examples", f"{found['examples']:,} {joined} {found['rows']:,} rows, as {found['kind']}"]]
    lines.append(["held out", f"{found['held_out']:,}"])
    if found["rejected"]:
        first = found["rejected"][0]
        lines.append(["set aside", f"{len(found['rejected']):,}; {first['place']}: {first['reason']}"])
    lines.append(["cut", found["cuts"]])
    if found["steps"]:
        lines.append(["steps", f"{found['steps']:,}"])
    print_table(f"{found['objective']} on {Path(found['data']).name}, not trained", ["", ""], lines)
    for one in found["shown"]:
        more = "".join(f", {name} {value}" for name, value in one.items() if name in ("label", "numbers"))
        print(f"{one['place']}{more}")
        for part, text in one["text"].items():
            print(f"  {part}, {one['tokens'][part]} tokens: {text!r}")


def _tokenizer(model: str) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(model)
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"can't load a tokenizer from '{model}': {str(error).strip().splitlines()[0]}") from error


def _window(model: str) -> int:
    from transformers import AutoConfig

    try:
        window = getattr(AutoConfig.from_pretrained(model).get_text_config(), "max_position_embeddings", None)
    except (OSError, ValueError):  # an adapter; its base says
        window = None
    return window if isinstance(window, int) else 2**31
