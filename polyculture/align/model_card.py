"""The card of a trained model: ``README.md`` beside its weights, as model hubs show it."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from polyculture.align.mixture import parse_objective
from polyculture.align.objective import Objective
from polyculture.errors import PolycultureError
from polyculture.files import atomic
from polyculture.methods import parameters, table
from polyculture.wording import counted

FILE = "README.md"

MEASURES = {
    "watch/reward": "reward of sampled answers",
    "watch/vendi_prompt": "Vendi score of the answers to one prompt",
    "watch/vendi_across": "Vendi score of one answer to each prompt",
    "watch/top_k_entropy": "entropy of the likeliest next tokens, bits",
    "watch/reverse_kl_sample": "KL to the reference, nats an answer",
    "watch/length": "tokens of a sampled answer",
}
"""What the table of before and after shows, from the log."""

TRAINING = (
    "epochs",
    "batch_size",
    "accumulate",
    "learning_rate",
    "warmup",
    "max_length",
    "lora",
    "dtype",
    "bf16",
    "gradient_checkpointing",
    "seed",
)
SETTINGS = ("divergence", "ld_alpha", "wpo", "refresh", "margin_rewards")
PLAIN = {"ld_alpha": 1.0, "wpo": False, "gradient_checkpointing": False}
"""Values that need not be told."""


def write_model_card(folder: Path, summary: Mapping[str, Any], settings: Mapping[str, Any]) -> Path:
    """Write a model's card, over one that a library may have left.

    Args:
        folder: of the model.
        summary: see :func:`model_card`.
        settings: see :func:`model_card`.

    Raises:
        BadInput: the folder can't be written.
    """
    path = folder / FILE
    with atomic(path) as file:
        file.write(model_card(summary, settings))
    return path


def model_card(summary: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """A card in Markdown, its front matter in YAML. Folders are told by their last name, not by their path.

    Args:
        summary: of a run, as in ``summary.json``.
        settings: of the run, as in ``settings.json``.
    """
    parts = _parts(str(settings["objective"]))
    adapter = _is_adapter(summary, settings)
    front = yaml.safe_dump(_front(settings, parts, adapter), sort_keys=False, allow_unicode=True)
    sections = [
        f"---\n{front}---",
        f"# {escaped(_name(settings['model']))} trained with {escaped(str(summary['objective']))}",
        _lead(summary, settings),
        _alarm(summary),
        "## Objective\n\n" + "\n".join(_described(part) for part in parts),
        _table(("setting", "value"), _settings(summary, settings, parts)),
        "## Data\n\n" + _data(summary),
        _result(summary, settings),
        "## Use\n\n" + _use(adapter),
        "## Versions\n\n" + ", ".join(f"{name} {number}" for name, number in (summary.get("versions") or {}).items()),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


@dataclass(frozen=True)
class Source:
    """The paper that a method is from."""

    title: str
    year: int
    arxiv: str | None

    def __str__(self) -> str:
        title = escaped(self.title)
        return (
            f"[{title}](https://arxiv.org/abs/{self.arxiv}) ({self.year})" if self.arxiv else f"{title} ({self.year})"
        )


CITED = re.compile(
    r'(?:^|[".:] )?"?([A-Z][^."]{15,}?)"? \((20\d\d)(?:, arXiv:(\d{4}\.\d{4,5}))?\)(?:, arXiv (\d{4}\.\d{4,5}))?'
)


def source_of(method: Callable[..., Any]) -> Source | None:
    """The paper that a method's documentation, or its module's, names with title and year; arXiv ids come first.

    Where the documentation begins with a citation by authors, that is the source, and other papers are mentioned only.

    Args:
        method: a loss, or a class.

    >>> from polyculture.align.objectives.tdpo import tdpo_loss
    >>> source_of(tdpo_loss).arxiv
    '2404.11999'
    """
    module = importlib.import_module(method.__module__)
    docs = [inspect.cleandoc(one.__doc__ or "") for one in (method, module)]
    if "et al." in docs[0].split("\n\n")[0]:
        return None
    paragraphs = [" ".join(part.split()).removeprefix("Source: ") for doc in docs for part in doc.split("\n\n")]
    found = [
        Source(match[1].rpartition("Source: ")[2], int(match[2]), match[3] or match[4])
        for part in paragraphs
        for match in CITED.finditer(part)
    ]
    return next((one for one in found if one.arxiv), found[0] if found else None)


def escaped(text: str) -> str:
    r"""Text that Markdown shows as it is.

    >>> print(escaped("a_w * <b>"))
    a\_w \* \<b\>
    """
    return re.sub(r"([\\`*_<>|\[\]])", r"\\\1", text)


@dataclass(frozen=True)
class _Part:
    """One objective of a sum: what it is called, what it is, and what is set."""

    name: str
    weight: float
    method: Callable[..., Any] | None
    hyper: Mapping[str, Any]


def _parts(objective: str) -> list[_Part]:
    name = objective.strip()
    if name in table("align") and isinstance(table("align")[name], type):
        return [_Part(name, 1.0, table("align")[name], {})]
    try:
        found = parse_objective(name)
    except PolycultureError:  # a function that can't be found from here, or one that was handed in
        return [_Part(name, 1.0, None, {})]
    parts = [(1.0, found)] if isinstance(found, Objective) else found.parts
    return [_Part(part.name, weight, part.loss, part.hyper) for weight, part in parts]


def _front(settings: Mapping[str, Any], parts: Sequence[_Part], adapter: bool) -> dict[str, Any]:
    front: dict[str, Any] = {}
    if _on_hub(settings["model"]):
        front["base_model"] = settings["model"]
    front |= {"library_name": "peft" if adapter else "transformers", "pipeline_tag": "text-generation"}
    front["tags"] = list(dict.fromkeys(["polyculture", "alignment", *(part.name for part in parts)]))
    if settings.get("data_hash") is None and _on_hub(settings.get("data")):
        front["datasets"] = [settings["data"]]
    return front


def _lead(summary: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    stages = f" in {counted(len(summary['stages']), 'stage')}" if summary.get("stages") else ""
    return (
        f"{escaped(_name(settings['model']))} was trained with {escaped(str(summary['objective']))} on "
        f"{counted(summary['examples'], 'example')} of {escaped(_name(settings['data']))}{stages}, for "
        f"{counted(summary['steps'], 'step')}, by polyculture."
    )


def _alarm(summary: Mapping[str, Any]) -> str:
    alarm = summary.get("alarm")
    if not alarm:
        return ""
    return (
        f"> **A sign of over-optimisation** ({alarm['reason']}) was seen at step {alarm['step']}: compare this model "
        f"with that of step {alarm['stop_at']} before you use it."
    )


def _described(part: _Part) -> str:
    name = f"{part.weight:g} × `{part.name}`" if part.weight != 1 else f"`{part.name}`"
    if part.method is None:
        return f"- {name}"
    told = " ".join((inspect.getdoc(part.method) or "").split("\n\n")[0].split()).replace("``", "")
    source = source_of(part.method)
    return f"- {name}" + (f": {escaped(told)}" if told else "") + (f" From {source}." if source else "")


def _settings(
    summary: Mapping[str, Any], settings: Mapping[str, Any], parts: Sequence[_Part]
) -> Iterator[tuple[str, Any]]:
    given = {name.replace("-", "_"): value for name, value in settings.get("hyper", {}).items()}
    given |= {**(summary.get("hyper") or {}), **(summary.get("curriculum") or {})}
    names: set[str] = set()
    for part in parts:
        own = given if part.method is None else {name: one.default for name, one in parameters(part.method).items()}
        for name, default in own.items():
            value = given.get(f"{part.name}.{name}", given.get(name, default))
            names.add(name)
            if value is not None:
                yield f"{part.name}: {name}" if len(parts) > 1 else name, value
    yield "reference", _name(summary.get("reference"))
    told = {name: settings.get(name) for name in SETTINGS if name not in names} | {
        name: settings["training"].get(name) for name in TRAINING
    }
    if settings["training"].get("steps"):
        told.pop("epochs")
    if told["learning_rate"] is None:
        told["learning_rate"] = 1e-6 if told["lora"] is None else 1e-5
    yield from ((name, value) for name, value in told.items() if value is not None and value != PLAIN.get(name))
    yield from (settings["training"].get("more") or {}).items()
    yield "processes", summary.get("processes", 1)


def _data(summary: Mapping[str, Any]) -> str:
    cuts = str(summary.get("cuts") or "")
    told = [
        f"{counted(summary['rows'], 'row')} gave {counted(summary['examples'], 'example')} to train on. Set aside as "
        "unusable: "
        f"{summary['rejected']:,}. Held out: {summary['held_out']:,}.",
        cuts[:1].upper() + cuts[1:] + "." if cuts else "",
    ]
    return " ".join(filter(None, told))


def _result(summary: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    rows: list[tuple[str, str, str]] = []
    if not summary.get("stages"):  # the log of stages is that of the last one
        log = summary.get("log") or ()
        for key, name in MEASURES.items():
            values = [row[key] for row in log if key in row]
            if len(values) > 1:
                rows.append((name, _number(values[0]), _number(values[-1])))
    lines = [f"## Result\n\nThe mean loss was {_number(summary['loss'])}."]
    if rows:
        watch = settings.get("watch") or {}
        lines.append(
            f"Answers were sampled to held-out prompts before training and after ({watch.get('samples')} to each of "
            f"{watch.get('prompts')} prompts at most, {watch.get('max_new_tokens')} tokens at most; the reward is "
            f"{escaped(str(watch.get('reward')))}, the Vendi scores are of {escaped(str(watch.get('embedder')))})."
        )
        lines.append(_table(("", "before", "after"), rows))
    stages = [
        f"- Stage {stage['number']}: {counted(stage['rows'], 'row')}, loss {_number(stage['metrics'].get('loss'))}"
        + (f", {_number(far)} nats an answer from the first model" if (far := stage.get("kl_to_base")) else "")
        for stage in summary.get("stages") or ()
    ]
    if stages:
        lines.append("\n".join(stages))
    return "\n\n".join(lines)


def _use(adapter: bool) -> str:
    library, kind = ("peft", "AutoPeftModelForCausalLM") if adapter else ("transformers", "AutoModelForCausalLM")
    imports = {library: [kind], "transformers": [*([] if adapter else [kind]), "AutoTokenizer"]}
    lines = [f"from {name} import {', '.join(names)}" for name, names in imports.items()]
    return "\n".join(
        [
            "```python",
            *lines,
            "",
            'here = "."  # this folder, or where it was pushed to',
            "tokenizer = AutoTokenizer.from_pretrained(here)",
            f"model = {kind}.from_pretrained(here)",
            "```",
        ]
    )


def _table(head: Sequence[str], rows: Any) -> str:
    lines = [head, ["---"] * len(head), *([escaped(str(cell)) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, (int, float)) else "unknown"


def _is_adapter(summary: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Stages hand on whole models, so the last one is whole as well."""
    return settings["training"].get("lora") is not None and not summary.get("stages")


def _on_hub(name: Any) -> bool:
    return isinstance(name, str) and bool(re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name)) and not Path(name).exists()


def _name(place: Any) -> str:
    """A hub id as it is, a path by its last part."""
    text = str(place)
    return text if _on_hub(text) or "/" not in text else Path(text).name
