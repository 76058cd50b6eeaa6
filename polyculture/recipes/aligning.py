"""The recipe stage ``align``: a model trained towards what is preferred, on the rows that are left."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from polyculture.errors import BadInput, unknown
from polyculture.files import atomic, content_hash
from polyculture.functions import PREFIX
from polyculture.methods import build, parameters, table
from polyculture.recipes.state import State

if TYPE_CHECKING:
    from polyculture.align.job import Alignment


@dataclass(frozen=True)
class Align:
    """Train a model on the rows that are left, and watch what it does to the diversity of its answers.

    Parameters: ``model``; ``objective``, a name, or a mapping with ``name`` and its hyper-parameters; ``data``, other
    rows than those that are left; ``training`` and ``watch``, mappings (``watch: null`` does not watch); and what else
    ``polyculture.align.job.Alignment`` has.
    """

    def check(self, params: Mapping[str, Any]) -> None:
        """Check every name and type, the objective with its hyper-parameters, and the reward of the samples."""
        job = self.job(params, [], Path(), 0)
        check_objective(job)
        reward = "none" if job.watch is None else job.watch.reward
        if reward != "none" and not reward.startswith(PREFIX):
            table("quality").target(reward)

    def stands_on(self, params: Mapping[str, Any]) -> dict[str, str]:
        """The models in folders that parameters name, and folders of data, by their content."""
        from polyculture.align.staged.stages import model_identity

        named = {key: str(params[key]) for key in ("model", "reference", "data", "held_out") if params.get(key)}
        identity = {"model": model_identity, "reference": model_identity}
        return {
            key: identity[key](value) if key in identity else content_hash(Path(value))
            for key, value in named.items()
            if Path(value).is_dir()
        }

    def run(self, state: State, params: Mapping[str, Any], folder: Path) -> None:
        """Leave what ``polyculture align`` leaves in its folder: ``model``, ``summary.json``, ``report.html``, ..."""
        from polyculture.align.run import align
        from polyculture.report.alignment import write_alignment

        data: Any = params.get("data")
        if data is None:
            records = state.pool.records.take(state.rows)
            data = [row for block in records.blocks() for row in block]
        align(self.job(params, data, folder, state.seed, state.cache), state.progress)
        _renamed(folder, folder.with_name(folder.name.partition(".work-")[0]))
        write_alignment(folder)

    def job(self, params: Mapping[str, Any], data: Any, out: Path, seed: int, cache: Path | None = None) -> Alignment:
        """The training that the parameters describe.

        Args:
            params: of the stage.
            data: rows, or where they are.
            out: folder of the training.
            seed: where the parameters name none.
            cache: of the reference's log-probabilities: in a folder in it.

        Raises:
            BadInput: a value is missing or can't be used.
            UnknownMethod: there is no parameter of that name.
        """
        from polyculture.align.job import Alignment
        from polyculture.align.training import Training
        from polyculture.align.watching.settings import Watch

        given = _validated(params).model_dump()
        objective = given.pop("objective")
        hyper = {} if isinstance(objective, str) else dict(objective)
        name = objective if isinstance(objective, str) else hyper.pop("name", None)
        if not isinstance(name, str):
            raise BadInput("align: a mapping for objective needs a name: {name: dpo, beta: 0.1}")
        training, watch = given.pop("training"), given.pop("watch")
        every = None if watch is None else watch.pop("every")
        given["training"] = Training(**{**training, "seed": seed if training["seed"] is None else training["seed"]})
        given["watch"] = None if watch is None else Watch(**watch)
        given["watch_every"] = every or None
        given["cache"] = None if cache is None else cache / "reference"
        hyper = {key: tuple(value) if isinstance(value, list) else value for key, value in hyper.items()}
        given.pop("data")
        return Alignment(data=data, out=out, objective=name, hyper=hyper, **given)


def _renamed(folder: Path, later: Path) -> None:
    """Have files that name the folder they are in, such as an adapter's of a stage, name the one they will be in."""
    for path in folder.rglob("*"):
        if path.name in ("adapter_config.json", "README.md", "manifest.json", "stages.json", "summary.json"):
            text = path.read_text(encoding="utf-8")
            if str(folder) in text:
                with atomic(path) as file:
                    file.write(text.replace(str(folder), str(later)))


def check_objective(job: Alignment) -> None:
    """Check an objective, its hyper-parameters and its divergence, without a model.

    Raises:
        UnknownMethod: there is no such objective, hyper-parameter or divergence.
        BadInput: a value can't be read.
    """
    from polyculture.align.job import objective_of
    from polyculture.align.mixture import parse_objective
    from polyculture.align.sampled.settings import Sampled

    name = job.objective.strip()
    if name in table("align") and isinstance(table("align")[name], type):
        build("align", name, **job.hyper)
    elif name.startswith(PREFIX) and parse_objective(name).kind == "samples":
        objective_of(dataclasses.replace(job, hyper=Sampled.out_of(job.hyper)[1]))
    else:
        objective_of(job)


@functools.cache
def settings_model() -> type[BaseModel]:
    """What the stage's parameters may be, from the settings of an alignment run."""
    from polyculture.align.job import Alignment
    from polyculture.align.training import Training
    from polyculture.align.watching.settings import Watch

    seed = (int | None, Field(None, ge=0, description="of everything random; null is the recipe's"))
    training = _typed(Training, (), seed=seed)
    watch = _typed(Watch, ("seed",))
    return _typed(
        Alignment,
        ("out", "cache", "fresh", "hyper", "watch_every"),
        data=(
            str | None,
            Field(None, description="a file, a folder or a hub id, in place of the rows that are left"),
        ),
        objective=(
            str | dict[str, Any],
            Field("dpo", description="a name, python:module:function, a sum, or {name: NAME, its hyper-parameters}"),
        ),
        training=(training, Field(default_factory=training, description="how long, how fast, on what")),
        watch=(watch | None, Field(default_factory=watch, description="how it is watched; null does not watch")),
    )


def _typed(kind: Any, without: tuple[str, ...], **instead: Any) -> type[BaseModel]:
    """A model with a dataclass's fields and their explanations, some left out and some replaced."""
    explained = parameters(kind)
    fields: dict[str, Any] = {}
    for f in dataclasses.fields(kind):
        if f.name in without:
            continue
        about: dict[str, Any] = {"description": explained[f.name].help}
        if f.default_factory is not dataclasses.MISSING:
            about["default_factory"] = f.default_factory
        elif f.default is not dataclasses.MISSING:
            about["default"] = f.default
        fields[f.name] = (explained[f.name].annotation, Field(**about))
    strict = ConfigDict(extra="forbid", coerce_numbers_to_str=True)
    made: type[BaseModel] = create_model(kind.__name__, __config__=strict, **{**fields, **instead})
    return made


def _validated(params: Mapping[str, Any]) -> BaseModel:
    try:
        return settings_model().model_validate(dict(params))
    except ValidationError as error:
        first = error.errors()[0]
        where = [str(part) for part in first["loc"]]
        if first["type"] == "extra_forbidden":
            inside = settings_model() if len(where) == 1 else _inner(where[0])
            raise unknown(
                f"parameter of {'.'.join(['stage align', *where[:-1]])}", where[-1], inside.model_fields
            ) from error
        raise BadInput(f"align: {'.'.join(where)}: {first['msg']}") from error


def _inner(name: str) -> type[BaseModel]:
    made: type[BaseModel] = settings_model().model_fields[name].default_factory  # type: ignore[assignment]
    return made
