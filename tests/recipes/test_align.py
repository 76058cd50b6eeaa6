"""The stage ``align``: what it trains on, what it leaves, when it trains again, and how it goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from polyculture.errors import BadInput, UnknownMethod
from polyculture.recipes.reading import parse_recipe
from polyculture.recipes.recipe import Recipe
from polyculture.recipes.run import RunResult, run_recipe
from polyculture.recipes.stages import schema
from tests.align.stops import Stopped, stop_at
from tests.tiny_models import tiny_llama

CROPS = ("wheat", "rye", "oats", "clover", "barley", "maize")
TRAINING = {"steps": 4, "batch_size": 4, "learning_rate": "1e-2", "max_length": 64, "save_every": 1, "cpu": True}
WATCH = {"every": 2, "prompts": 2, "samples": 2, "max_new_tokens": 4}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("tiny"), context=256)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    rows = [
        {"prompt": f"{i}. What after {CROPS[i % 6]}?", "chosen": f" {CROPS[(i + 1) % 6]}.", "rejected": " Nothing."}
        for i in range(24)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def written(model: Path, pairs: Path, /, *, select: bool = True, **align: Any) -> dict[str, Any]:
    settings = {"model": str(model), "training": TRAINING, "watch": None, "held_out": 0.0, **align}
    stages: list[Any] = [{"select": {"method": "random", "k": 12}}] if select else []
    pool = {"source": str(pairs), "text": "prompt, chosen"}
    return {"data": pool, "embedder": "tfidf", "stages": [*stages, {"align": settings}]}


def recipe(model: Path, pairs: Path, /, **align: Any) -> Recipe:
    return parse_recipe(written(model, pairs, **align), "test")


def weights(result: RunResult) -> torch.Tensor:
    held = load_file(result.models[0] / "model.safetensors")
    return torch.cat([held[name].flatten() for name in sorted(held)])


def statuses(result: RunResult) -> list[str]:
    return [step.status for step in result.steps]


def test_it_trains_on_the_rows_that_are_left(model: Path, data: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    held = written(model, data, objective={"name": "ipo", "beta": 0.5}, watch=WATCH, held_out=0.25)
    held["stages"].append("report")
    result = run_recipe(parse_recipe(held, "test"), tmp_path / "run")
    folder = tmp_path / "run" / "02-align"
    assert result.models == (folder / "model",)
    AutoModelForCausalLM.from_pretrained(folder / "model")
    AutoTokenizer.from_pretrained(folder / "model")
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["objective"], summary["hyper"]["beta"], summary["steps"]) == ("ipo", 0.5, 4)
    assert summary["rows"] + summary["held_out"] == 12 and summary["held_out"] == 3
    assert [json.loads(line)["step"] for line in (folder / "watch.jsonl").read_text().splitlines()] == [0, 2, 4]
    assert json.loads((folder / "settings.json").read_text())["training"]["seed"] == 0
    assert "was trained with ipo" in (folder / "report.html").read_text()
    assert result.report is not None and 'href="02-align/report.html"' in result.report.read_text()
    assert result.chosen is not None and len(result.chosen.read_text().splitlines()) == 12
    assert not list((tmp_path / "run").glob("*.work-*"))


def test_a_page_that_is_rendered_again_elsewhere_finds_the_trainings(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from polyculture.cli.recipes import report

    held = written(model, data, select=False)
    held["stages"].insert(0, "report")
    run_recipe(parse_recipe(held, "test"), tmp_path / "run")
    assert 'href="02-align/report.html"' in (tmp_path / "run" / "report.html").read_text()
    report(tmp_path / "run", tmp_path / "pages" / "mine.html")
    assert 'href="../run/02-align/report.html"' in (tmp_path / "pages" / "mine.html").read_text()
    capsys.readouterr()


def test_it_can_train_on_other_rows(model: Path, data: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text("".join(data.read_text().splitlines(keepends=True)[:5]))
    result = run_recipe(recipe(model, data, data=str(other)), tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "02-align" / "summary.json").read_text())
    assert summary["rows"] == 5 and summary["data"] == str(other)
    other.write_text("".join(data.read_text().splitlines(keepends=True)[:6]))
    assert statuses(run_recipe(recipe(model, data, data=str(other)), tmp_path / "run")) == ["kept", "kept", "done"]
    assert statuses(result) == ["done"] * 3


def test_it_trains_again_when_rows_settings_or_the_models_weights_change(
    model: Path, data: Path, tmp_path: Path
) -> None:
    import shutil

    mine = tmp_path / "mine"
    shutil.copytree(model, mine)
    first = run_recipe(recipe(mine, data), tmp_path / "run")
    before = weights(first)
    assert statuses(run_recipe(recipe(mine, data), tmp_path / "run")) == ["kept"] * 3
    changed = run_recipe(recipe(mine, data, objective={"name": "dpo", "beta": 0.9}), tmp_path / "run")
    assert statuses(changed) == ["kept", "kept", "done"]
    trained = weights(changed)
    assert not torch.equal(trained, before)
    tiny_llama(mine, seed=1, context=256)
    again = run_recipe(recipe(mine, data, objective={"name": "dpo", "beta": 0.9}), tmp_path / "run")
    assert statuses(again) == ["kept", "kept", "done"] and not torch.equal(weights(again), trained)
    fewer = written(mine, data)
    fewer["stages"][0]["select"]["k"] = 8
    assert statuses(run_recipe(parse_recipe(fewer, "test"), tmp_path / "run")) == ["kept", "done", "done"]


def test_stages_of_a_training_know_each_other_where_they_come_to_lie(model: Path, data: Path, tmp_path: Path) -> None:
    training = {**TRAINING, "steps": 1, "lora": 2}
    objective = {"name": "curry-dpo", "iterations": 2}
    run_recipe(recipe(model, data, objective=objective, training=training), tmp_path / "run")
    folder = tmp_path / "run" / "02-align"
    adapter = json.loads((folder / "stage-2" / "model" / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == str(folder / "stage-1" / "merged")
    naming = [path for path in folder.rglob("*.*") if path.suffix in (".json", ".md", ".html")]
    assert [path for path in naming if ".work-" in path.read_text()] == []


def test_a_stopped_training_goes_on_to_the_same_weights(model: Path, data: Path, tmp_path: Path) -> None:
    whole = run_recipe(recipe(model, data), tmp_path / "whole")
    with pytest.raises(Stopped):
        run_recipe(recipe(model, data), tmp_path / "cut", progress=stop_at(3))
    assert not (tmp_path / "cut" / "02-align").exists()
    (work,) = (tmp_path / "cut").glob("02-align.work-*")
    assert (work / "checkpoint-2").exists()
    steps: list[int] = []
    again = run_recipe(
        recipe(model, data),
        tmp_path / "cut",
        progress=lambda what, done, total: steps.append(done) if what == "training" else None,
    )
    assert statuses(again) == ["kept", "kept", "done"] and 1 not in steps
    assert torch.equal(weights(again), weights(whole))
    assert not work.exists()


def test_what_was_done_on_other_inputs_is_not_gone_on_with(model: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        run_recipe(recipe(model, data), tmp_path / "run", progress=stop_at(3))
    (work,) = (tmp_path / "run").glob("02-align.work-*")
    with pytest.raises(Stopped):
        run_recipe(recipe(model, data, objective="ipo"), tmp_path / "run", progress=stop_at(3))
    (other,) = (tmp_path / "run").glob("02-align.work-*")
    assert other != work and json.loads((other / "settings.json").read_text())["objective"] == "ipo"
    # The recipe has no such stage any more: what is left of it goes when the run is done.
    held = written(model, data)
    held["stages"].pop()
    run_recipe(parse_recipe(held, "test"), tmp_path / "run")
    assert not list((tmp_path / "run").glob("*.work-*"))


def test_earlier_artefacts_stay_until_new_ones_are_whole(model: Path, data: Path, tmp_path: Path) -> None:
    before = weights(run_recipe(recipe(model, data), tmp_path / "run"))
    with pytest.raises(Stopped):
        run_recipe(recipe(model, data, objective="ipo"), tmp_path / "run", progress=stop_at(3))
    assert json.loads((tmp_path / "run" / "02-align" / "summary.json").read_text())["objective"] == "dpo"
    kept = run_recipe(recipe(model, data), tmp_path / "run")
    assert statuses(kept) == ["kept"] * 3 and torch.equal(weights(kept), before)


WRONG: dict[str, tuple[dict[str, Any], type[Exception]]] = {
    "align: model: Field required": ({"model": None}, BadInput),
    "no parameter of stage align 'objectiv'; did you mean 'objective'": ({"objectiv": "dpo"}, UnknownMethod),
    "no parameter of stage align.training 'step'; did you mean 'steps'": ({"training": {"step": 3}}, UnknownMethod),
    "no parameter of stage align.watch 'sample'; did you mean 'samples'": ({"watch": {"sample": 3}}, UnknownMethod),
    "no align method 'dppo'; did you mean 'dpo'": ({"objective": "dppo"}, UnknownMethod),
    "did you mean 'beta'": ({"objective": {"name": "dpo", "betta": 1}}, UnknownMethod),
    "did you mean 'iterations'": ({"objective": {"name": "curry-dpo", "iteration": 1}}, UnknownMethod),
    "objective needs a name": ({"objective": {"beta": 1}}, BadInput),
    "align: training.steps: .*valid integer": ({"training": {"steps": "many"}}, BadInput),
    "training: steps should be at least 1": ({"training": {"steps": 0}}, BadInput),
    "watch: samples should be at least 1": ({"watch": {"samples": 0}}, BadInput),
    "align: on_bad_row: Input should be 'error' or 'skip'": ({"on_bad_row": "ignore"}, BadInput),
    "no divergence 'jss'": ({"divergence": "jss"}, UnknownMethod),
    "did you mean 'heuristic'": ({"watch": {"reward": "heuristics"}}, UnknownMethod),
}


@pytest.mark.parametrize("message", WRONG)
def test_a_wrong_stage_is_refused_before_any_work(message: str) -> None:
    given, kind = WRONG[message]
    params = {name: value for name, value in {"model": "m", **given}.items() if value is not None}
    with pytest.raises(kind, match=message):
        parse_recipe({"data": {"source": "d.jsonl"}, "stages": [{"align": params}]}, "r.yaml")


def test_what_yaml_makes_of_numbers_is_understood() -> None:
    from polyculture.recipes.aligning import Align

    text = """
      model: m
      objective: {name: modpo, w: [1, 0.1]}
      columns: {margin: 1.5}
      refresh: [0.6, 512]
      training: {learning_rate: 1e-6, more: {optim: adafactor}}
      watch: {every: 7}
    """
    job = Align().job(yaml.safe_load(text), [], Path("out"), seed=3)
    assert job.training.learning_rate == 1e-6 and job.training.seed == 3 and job.training.more["optim"] == "adafactor"
    assert job.hyper == {"w": (1, 0.1)} and job.columns == {"margin": "1.5"} and job.refresh == (0.6, 512)
    assert job.watch_every == 7 and job.held_out == 0.05
    assert Align().job({"model": "m", "watch": None, "training": {"seed": 1}}, [], Path("out"), 3).training.seed == 1


def test_the_schema_tells_its_parameters() -> None:
    found = schema()
    properties = found["parameters"]["align"]["properties"]
    assert {"model", "objective", "data", "training", "watch", "divergence"} <= set(properties)
    assert not {"out", "fresh", "cache", "hyper", "watch_every"} & set(properties)
    assert properties["model"]["description"] == "a folder or hub id of a causal language model."
    steps = found["parameters"]["align"]["$defs"]["Training"]["properties"]["steps"]
    assert steps["description"].startswith("optimiser steps")
    assert found["methods"]["align"]["dpo"]["beta"]["default"] == 0.1
    assert "align" in found["stages"]


def test_a_dry_run_tells_what_would_train(model: Path, data: Path, tmp_path: Path) -> None:
    result = run_recipe(recipe(model, data), tmp_path / "run", dry_run=True)
    assert [(s.name, s.status) for s in result.steps][2] == ("02-align", "would run")
    assert not (tmp_path / "run").exists()
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(BadInput, match="there is no model in it"):
        run_recipe(recipe(empty, data), tmp_path / "run", dry_run=True)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_training_goes_on_from_its_checkpoint(
    model: Path, data: Path, tmp_path: Path, how: signal.Signals
) -> None:
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(written(model, data)))
    # A training that waits at its third step can be stopped there, whatever the machine's speed.
    code = (
        "import pathlib, time, polyculture.align.stopping as s\n"
        "inner = s.StepProgress.on_step_end\n"
        "def slow(self, args, state, control, **more):\n"
        "    inner(self, args, state, control, **more)\n"
        "    if state.global_step == 3: pathlib.Path('waiting').touch()\n"
        "    while state.global_step == 3 and not pathlib.Path('go').exists(): time.sleep(0.05)\n"
        "s.StepProgress.on_step_end = slow\n"
        "from polyculture.cli.app import main; main()"
    )
    words = ["run", "r.yaml", "-o", "run", "--no-cache"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        cwd=tmp_path,
        env=dict(os.environ),
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "waiting").exists():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1]
        time.sleep(0.05)
    process.send_signal(how)
    if how == signal.SIGINT:
        (tmp_path / "go").touch()
    _, errors = process.communicate(timeout=60)
    if how == signal.SIGINT:
        assert process.returncode == 130 and b"goes on from there" in errors
    else:
        assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "run" / "02-align").exists()
    (work,) = (tmp_path / "run").glob("02-align.work-*")
    assert (work / "checkpoint-2").exists()
    again = run_recipe(recipe(model, data), tmp_path / "run")
    assert statuses(again) == ["kept", "kept", "done"]
    assert torch.equal(weights(again), weights(run_recipe(recipe(model, data), tmp_path / "whole")))
