"""Recipes read from YAML or plain values, and checked before any work; the built-in ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from polyculture.errors import BadInput, unknown
from polyculture.recipes.pools import Data
from polyculture.recipes.recipe import Recipe
from polyculture.recipes.stages import STAGES


def parse_recipe(held: Any, place: str) -> Recipe:
    """A recipe from plain values.

    Raises:
        BadInput: something is missing or not as it should be; the message names where.
        UnknownMethod: a stage, method or option has a name that nothing has.
    """
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
