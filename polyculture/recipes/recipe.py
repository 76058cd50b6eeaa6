"""A recipe: where the data are, what tells them apart, and which stages to run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator

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
