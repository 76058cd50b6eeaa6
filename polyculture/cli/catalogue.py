"""``polyculture methods`` and ``polyculture papers``: what there is."""

from __future__ import annotations

import inspect
import re
from typing import Annotated, Any

import typer

from polyculture.cli import options
from polyculture.cli.console import print_json, print_table
from polyculture.errors import unknown


def methods(
    name: Annotated[str | None, typer.Argument(help="One method, by its name or stage.name.")] = None,
    stage: Annotated[str | None, typer.Option(help="Only this stage.")] = None,
    json: options.Json = False,
) -> None:
    """List every method, or one with its hyper-parameters."""
    from polyculture.methods import STAGES, table

    if stage is not None and stage not in STAGES:
        raise unknown("stage", stage, STAGES)
    stages = [stage] if stage else list(STAGES)
    everything = [(s, n) for s in stages for n in table(s)]
    if name is None:
        described = [describe(s, n) for s, n in everything]
        if json:
            print_json(described)
            return
        rows = [[d["stage"], d["name"], ", ".join(d["papers"]), d["summary"]] for d in described]
        print_table(f"{len(rows)} methods", ["stage", "method", "paper", "what it does"], rows)
        return
    wanted = [(s, n) for s, n in everything if name in (n, f"{s}.{n}")]
    if not wanted:
        raise unknown("method", name, [n for _, n in everything])
    for s, n in wanted:
        described_one = describe(s, n)
        if json:
            print_json(described_one)
        else:
            _print_method(described_one)


def describe(stage: str, name: str) -> dict[str, Any]:
    """One method as JSON-able values, derived from its signature, its docstring and the papers' catalogue."""
    from polyculture.errors import MissingExtra
    from polyculture.methods import parameters, table
    from polyculture.papers import catalogue

    papers = [paper.slug for paper in catalogue().values() if f"{stage}.{name}" in paper.methods]
    try:
        method = table(stage)[name]
    except MissingExtra as error:
        return {"stage": stage, "name": name, "papers": papers, "summary": str(error), "parameters": []}
    doc = _plain(inspect.getdoc(method) or "")
    return {
        "stage": stage,
        "name": name,
        "papers": papers,
        "summary": " ".join(doc.split("\n\n")[0].split()),
        "where": f"{method.__module__}.{method.__qualname__}",
        "documentation": doc,
        "parameters": [
            {
                "name": p.name,
                "type": p.type_name,
                "default": None if p.required else _shown(p.default),
                "required": p.required,
                "help": _plain(p.help),
            }
            for p in parameters(method).values()
        ],
    }


def _plain(documentation: str) -> str:
    """Names without the roles that Sphinx would link them by."""
    return re.sub(r":(?:func|class|meth|mod|attr):`", "`", documentation)


def _shown(default: Any) -> Any:
    if default is None or isinstance(default, (bool, int, float, str)):
        return default
    if isinstance(default, (list, tuple)):
        return [_shown(entry) for entry in default]
    return getattr(default, "__name__", repr(default))


def _print_method(method: dict[str, Any]) -> None:
    from polyculture.papers import catalogue

    print(f"{method['stage']}.{method['name']}  ({method.get('where', 'not installed')})\n")
    print(method.get("documentation", method["summary"]))
    for slug in method["papers"]:
        paper = catalogue()[slug]
        print(f"\n{paper.title} ({paper.year}, arXiv {paper.arxiv}); polyculture reproduce {slug}")
    rows = [
        [p["name"], p["type"], "required" if p["required"] else str(p["default"]), p["help"]]
        for p in method["parameters"]
    ]
    if rows:
        print_table("\nHyper-parameters", ["name", "type", "default", "meaning"], rows)


def papers(
    stage: Annotated[str | None, typer.Option(help="Only this stage.")] = None,
    json: options.Json = False,
) -> None:
    """List the papers: implemented or planned, and their reproductions."""
    from polyculture.methods import STAGES
    from polyculture.papers import catalogue

    if stage is not None and stage not in STAGES:
        raise unknown("stage", stage, STAGES)
    listed = [paper for paper in catalogue().values() if stage in (None, paper.stage)]
    held = [
        {
            "slug": paper.slug,
            "title": paper.title,
            "year": paper.year,
            "arxiv": paper.arxiv,
            "stage": paper.stage,
            "methods": list(paper.methods),
            "implemented": paper.implemented,
            "reproduction": paper.reproduction,
        }
        for paper in listed
    ]
    if json:
        print_json(held)
        return
    rows: list[list[str]] = [
        [
            str(p["stage"]),
            str(p["slug"]),
            "implemented" if p["implemented"] else "planned",
            "yes" if p["reproduction"] else "",
            f"{p['title']} ({p['year']})",
        ]
        for p in held
    ]
    done = sum(bool(p["implemented"]) for p in held)
    print_table(f"{len(held)} papers, {done} implemented", ["stage", "paper", "status", "reproduction", "title"], rows)
