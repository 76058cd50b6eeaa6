"""Running a recipe: stage after stage, skipping what has finished on the same inputs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from polyculture.engine.base import Engine
from polyculture.errors import BadInput, unknown
from polyculture.files import atomic, fingerprint, locked
from polyculture.progress import Progress, silent
from polyculture.recipes.folder import RunFolder, files_named
from polyculture.recipes.recipe import Recipe, Stage
from polyculture.recipes.stages import STAGES, LongStage
from polyculture.recipes.state import POOL, State


@dataclass(frozen=True)
class Step:
    """One stage of a run and what became of it, or would."""

    name: str
    kind: str
    status: Literal["done", "kept", "would run", "would keep"]
    seconds: float


@dataclass(frozen=True)
class RunResult:
    """What a run left.

    Args:
        folder: the run folder.
        steps: its stages in order.
        chosen: the file of chosen records, or None when nothing was selected.
        rejected: the file of rejected records with reasons, or None.
        report: the page, or None when the recipe has no report.
        models: the folders of the trained models, in order.
        measures: the measures of each measure stage, in order.
        bad_rows: how many rows were set aside as unreadable.
    """

    folder: Path
    steps: tuple[Step, ...]
    chosen: Path | None
    rejected: Path | None
    report: Path | None
    models: tuple[Path, ...]
    measures: tuple[dict[str, Any], ...]
    bad_rows: int

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON-able values."""
        import dataclasses

        from polyculture.files import plain

        return plain(dataclasses.asdict(self))


def stage_names(recipe: Recipe) -> list[str]:
    """The folder of each stage: its place and its kind."""
    return [POOL, *(f"{i:02d}-{stage.kind}" for i, stage in enumerate(recipe.stages, 1))]


def run_recipe(
    recipe: Recipe,
    folder: Path,
    *,
    start_from: str | None = None,
    dry_run: bool = False,
    engine: Engine | None = None,
    cache: Path | None = None,
    progress: Progress = silent,
) -> RunResult:
    """Run a recipe into a folder; started again, it does only what is not done.

    Args:
        recipe: what to run.
        folder: the run folder; made if it is not there.
        start_from: run this stage ("select", or "02-select") and all after it even if they have finished.
        dry_run: change nothing, and say what would run.
        engine: where embedding and scoring run; None is this process.
        cache: the folder of cached embeddings; None embeds without a cache.
        progress: told what is being done.

    Raises:
        RunLocked: another process is running in this folder.
        BadInput: something in the data or the folder can't be used.
    """
    names = stage_names(recipe)
    forced = names.index(_stage_named(start_from, names)) if start_from else len(names)
    run = RunFolder(Path(folder))
    state = State(recipe, run, engine, cache, progress, parameters=recipe.model_dump())
    if dry_run:
        return _result(run, recipe, list(_plan(state, names, forced)))
    steps = []
    with locked(run.path):
        with atomic(run.path / "recipe.yaml") as file:
            file.write(recipe.to_yaml())
        inputs = state.pool_inputs()
        for i, name in enumerate(names):
            if i > 0:
                inputs = _stage_inputs(inputs, recipe.stages[i - 1], recipe.seed)
            kind = name.partition("-")[2]
            if run.finished(name, inputs) and i < forced:
                steps.append(Step(name, kind, "kept", 0.0))
            else:
                forced = min(forced, i)  # what stands on a stage that ran again runs again
                params = {} if i == 0 else dict(recipe.stages[i - 1].params)
                long = i > 0 and isinstance(STAGES[kind], LongStage)
                with run.writing(name, inputs, resumes=long, params=params) as fresh:
                    if i == 0:
                        state.make_pool(fresh)
                    else:
                        STAGES[kind].run(state, params, fresh)
                manifest = run.manifest(name) or {}
                steps.append(Step(name, kind, "done", manifest["seconds"]))
            state.after(name)
        _write_outputs(state, names)
        run.clear_work()
    return _result(run, recipe, steps)


def _stage_inputs(before: str, stage: Stage, seed: int) -> str:
    """The fingerprint of what a stage works on: all that came before, its parameters, and what they name."""
    kind = STAGES[stage.kind]
    named = files_named(stage.params) | (kind.stands_on(stage.params) if isinstance(kind, LongStage) else {})
    return fingerprint(before, stage.kind, stage.params, named, seed)


def _plan(state: State, names: list[str], forced: int) -> Iterator[Step]:
    inputs = state.pool_inputs()
    for i, name in enumerate(names):
        if i > 0:
            inputs = _stage_inputs(inputs, state.recipe.stages[i - 1], state.seed)
        keep = i < forced and state.folder.finished(name, inputs)
        forced = forced if keep else min(forced, i)
        yield Step(name, name.partition("-")[2], "would keep" if keep else "would run", 0.0)


def _stage_named(wanted: str, names: list[str]) -> str:
    for name in names:
        if wanted in (name, name.partition("-")[2]):
            return name
    raise unknown("stage in this recipe", wanted, [name.partition("-")[2] for name in names])


def _write_outputs(state: State, names: list[str]) -> None:
    """The chosen and rejected records and the page, at the top of the run folder where a person looks."""
    folder = state.folder
    selects = [name for name in names if (folder.stage(name) / "chosen.json").exists()]
    chosen = folder.path / "chosen.jsonl"
    newest = max((folder.stage(name) / "manifest.json").stat().st_mtime for name in names)
    current = chosen.exists() and chosen.stat().st_mtime >= newest
    if selects and not current:
        rejected = [line for name in selects for line in _lines(folder.stage(name) / "rejected.jsonl")]
        with atomic(folder.path / "rejected.jsonl") as file:
            for line in rejected:
                held = json.loads(line)
                file.write(
                    json.dumps({**held, "record": state.pool.records.row(held["row"])}, ensure_ascii=False, default=str)
                    + "\n"
                )
        with atomic(chosen) as file:
            file.writelines(line + "\n" for line in state.pool.records.take(state.rows).lines())
    reports = [path for name in names if (path := folder.stage(name) / "report.json").exists()]
    for report in reports:
        pages = [page for name in names if (page := folder.stage(name) / "report.html").exists()]
        render_report(report, folder.path / "report.html", pages)
    # What an earlier recipe left in this folder is not this one's result.
    stale = ["chosen.jsonl", "rejected.jsonl"] * (not selects) + ["report.html"] * (not reports)
    for left in stale:
        (folder.path / left).unlink(missing_ok=True)


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        yield from file


def render_report(report: Path, page: Path, pages: Sequence[Path] = ()) -> None:
    """Render a run's ``report.json`` as a page.

    Args:
        report: the file.
        page: where it goes.
        pages: of the run's trainings; the page links them.
    """
    from polyculture.report.content import CurationReport
    from polyculture.report.page import render

    try:
        held = json.loads(report.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise BadInput(f"{report}: can't be read as a report: {error}") from error
    with atomic(page) as file:
        file.write(render(CurationReport.from_dict(held), links=_links(pages, page.parent)))


def _links(pages: Sequence[Path], start: Path) -> dict[str, str]:
    """The title of each page, and the way to it from a folder."""
    return {f"the training of {p.parent.name}": Path(os.path.relpath(p, start)).as_posix() for p in pages}


def _result(run: RunFolder, recipe: Recipe, steps: list[Step]) -> RunResult:
    def there(name: str) -> Path | None:
        return run.path / name if (run.path / name).exists() else None

    measured = []
    for step in steps:
        file = run.stage(step.name) / "measures.json"
        if file.exists():
            measured.append(json.loads(file.read_text(encoding="utf-8")))
    aside = run.stage(POOL) / "rejects.jsonl"
    return RunResult(
        folder=run.path,
        steps=tuple(steps),
        chosen=there("chosen.jsonl"),
        rejected=there("rejected.jsonl"),
        report=there("report.html"),
        models=tuple(model for step in steps if (model := run.stage(step.name) / "model").is_dir()),
        measures=tuple(measured),
        bad_rows=sum(1 for _ in _lines(aside)) if aside.exists() else 0,
    )
