"""The papers, what implements them, and where each one's reproduction is."""

from __future__ import annotations

import functools
import importlib.util
import tomllib
from dataclasses import dataclass
from pathlib import Path

from polyculture.errors import unknown
from polyculture.methods import table


@dataclass(frozen=True)
class Paper:
    """One paper of the catalogue.

    Args:
        slug: its short name, used everywhere.
        title: its title.
        year: when it first appeared.
        arxiv: its arXiv id.
        stage: where it belongs.
        methods: what implements it, as "stage.name" entries of the stages' tables.
    """

    slug: str
    title: str
    year: int
    arxiv: str
    stage: str
    methods: tuple[str, ...]

    @property
    def implemented(self) -> bool:
        """Whether it names methods and every one of them imports."""
        return bool(self.methods) and all(_imports(method) for method in self.methods)

    @property
    def reproduction(self) -> str | None:
        """The module of its reproduction, or None when there is none."""
        module = f"polyculture.reproductions.{self.slug.replace('-', '_')}"
        return module if importlib.util.find_spec(module) is not None else None


def _imports(method: str) -> bool:
    stage, _, name = method.partition(".")
    try:
        table(stage)[name]
    except (KeyError, ImportError, AttributeError):
        return False
    return True


@functools.cache
def catalogue() -> dict[str, Paper]:
    """Every paper by its slug, sorted by stage and slug."""
    text = (Path(__file__).parent / "papers.toml").read_text(encoding="utf-8")
    papers = [Paper(**{**entry, "methods": tuple(entry["methods"])}) for entry in tomllib.loads(text)["paper"]]
    return {paper.slug: paper for paper in sorted(papers, key=lambda paper: (paper.stage, paper.slug))}


def paper(slug: str) -> Paper:
    """One paper.

    Raises:
        UnknownMethod: there is none of that slug; the message suggests the nearest.
    """
    if slug not in catalogue():
        raise unknown("paper", slug, catalogue())
    return catalogue()[slug]
