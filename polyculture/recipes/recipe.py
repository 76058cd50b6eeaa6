"""A recipe: where the data are, what tells them apart, and which stages to run. YAML in, checked before any work."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from polyculture.errors import BadInput, unknown
from polyculture.recipes.pools import Data


class Stage(BaseModel):
    """One stage: its kind and its parameters."""

    model_config = ConfigDict(extra="forbid")

    kind: str
    params: dict[str, Any] = Field(default_factory=dict)


class Recipe(BaseModel):
    """A whole run."""

    model_config = ConfigDict(extra="forbid")

    data: Data
    embedder: str | None = Field(
        "minilm", description="minilm, tfidf, a sentence-transformers id, python:MODULE:FUNCTION, column:NAME, or null"
    )
    seed: int = Field(0, ge=0, description="the seed of everything random")
    stages: list[Stage] = Field(
        min_length=1, description="measure, select, mix, minimize, align, report, in the order they run"
    )

    @field_validator("stages", mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        if not isinstance(value, list):
            raise ValueError("stages should be a list")
        return [_stage(entry) for entry in value]

    def to_yaml(self) -> str:
        """The recipe with every default filled in, as YAML that ``load`` reads."""
        held = self.model_dump(exclude={"stages"})
        held["stages"] = [{stage.kind: stage.params} if stage.params else stage.kind for stage in self.stages]
        return yaml.safe_dump(held, sort_keys=False, allow_unicode=True)


def _stage(entry: Any) -> Any:
    """``measure`` or ``select: {method: kmq, k: 100}`` as kind and parameters."""
    if isinstance(entry, str):
        return {"kind": entry}
    if isinstance(entry, Mapping) and len(entry) == 1 and "kind" not in entry:
        ((kind, params),) = entry.items()
        return {"kind": kind, "params": params or {}}
    return entry


def parse_recipe(held: Any, place: str) -> Recipe:
    """A recipe from plain values.

    Raises:
        BadInput: something is missing or not as it should be; the message names where.
        UnknownMethod: a stage, method or option has a name that nothing has.
    """
    from polyculture.recipes.stages import STAGES

    if not isinstance(held, Mapping):
        raise BadInput(f"{place}: a recipe should be a mapping with data and stages")
    try:
        recipe = Recipe.model_validate(held)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = Data.model_fields if where.startswith("data.") else Recipe.model_fields
            raise unknown("recipe key", str(first["loc"][-1]), known) from error
        raise BadInput(f"{place}: {where}: {first['msg']}") from error
    recipe.data.check()
    for stage in recipe.stages:
        if stage.kind not in STAGES:
            raise unknown("recipe stage", stage.kind, STAGES)
        STAGES[stage.kind].check(stage.params)
    return recipe


def load_recipe(path: Path) -> Recipe:
    """Read a recipe file.

    Raises:
        BadInput: it can't be read, is not YAML, or is not a recipe.
    """
    try:
        held = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: can't be read: {error}") from error
    except yaml.YAMLError as error:
        raise BadInput(f"{path}: is not YAML: {str(error).replace(chr(10), ' ')}") from error
    return parse_recipe(held, str(path))


def curate_recipe(
    data: Data, *, embedder: str | None, seed: int, select: dict[str, Any], measures: list[str]
) -> Recipe:
    """The built-in recipe: measure, select, measure again, report."""
    measure: dict[str, Any] = {"measure": {"measures": measures}} if measures else {"measure": {}}
    held = {
        "data": data.model_dump(),
        "embedder": embedder,
        "seed": seed,
        "stages": [measure, {"select": select}, measure, "report"],
    }
    return parse_recipe(held, "curate")


def default_select(*, groups: bool, quality: bool) -> dict[str, Any]:
    """How to choose when nothing was said: good rows that span the space, from each group where there are groups.

    The determinantal choice weighs quality and diversity alike; inside groups whose shares lie halfway between their
    sizes and equal ones, no small group is lost.
    """
    alpha = 1.0 if quality else 0.0
    if groups:
        return {"method": "stratified", "inner": "determinantal", "tempering": 0.5, "options": {"alpha": alpha}}
    return {"method": "determinantal", "alpha": alpha}
