"""A run in its folder: held-out prompts, resuming, refusing other settings, stages, and every objective."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from polyculture.align.data.columns import with_columns
from polyculture.align.data.examples import PlacedRow
from polyculture.align.job import Alignment
from polyculture.align.run import align, read_rows
from polyculture.align.run_folder import last_checkpoint
from polyculture.align.training import Training
from polyculture.align.watching.settings import Watch
from polyculture.errors import BadInput, UnknownMethod
from tests.align.stops import Stopped, stop_at

Rows = list[dict[str, Any]]
SHORT = Training(steps=4, batch_size=4, learning_rate=1e-2, max_length=64, save_every=2, cpu=True)


def job(model: str, rows: Any, out: Path, **given: Any) -> Alignment:
    return Alignment(data=rows, model=model, out=out, **{"watch": None, "training": SHORT, "held_out": 0.0, **given})


def weights(folder: Path) -> torch.Tensor:
    file = next(folder.glob("*.safetensors"))
    held = load_file(file)
    return torch.cat([held[name].flatten() for name in sorted(held)])


def test_a_run_leaves_a_model_settings_and_a_summary(tiny_model: str, preferences: Rows, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    bad = [*preferences, {**preferences[0], "chosen": ""}]
    run = align(job(tiny_model, bad, tmp_path / "out", hyper={"beta": "0.5"}))
    AutoModelForCausalLM.from_pretrained(run.model)
    AutoTokenizer.from_pretrained(run.model)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["objective"] == "dpo" and summary["hyper"] == {"beta": 0.5} and summary["steps"] == 4
    assert (summary["rows"], summary["examples"], summary["rejected"]) == (25, 24, 1)
    (aside,) = (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()
    assert json.loads(aside)["reason"] == "a completion is empty (chosen)"
    assert align(job(tiny_model, bad, tmp_path / "out", hyper={"beta": "0.5"})).resumed == "finished before"


def test_a_stopped_run_goes_on_to_the_same_result(tiny_model: str, preferences: Rows, tmp_path: Path) -> None:
    watch = Watch(prompts=2, samples=2, max_new_tokens=8)
    settings = {"watch": watch, "watch_every": 1, "held_out": 0.2}
    whole = align(job(tiny_model, preferences, tmp_path / "whole", **settings))
    with pytest.raises(Stopped):
        align(job(tiny_model, preferences, tmp_path / "cut", **settings), stop_at(3))
    assert not (tmp_path / "cut" / "summary.json").exists()
    again = align(job(tiny_model, preferences, tmp_path / "cut", **settings))
    assert again.resumed == "checkpoint-2"
    assert torch.equal(weights(again.model), weights(whole.model))
    seen = [(run.out / "watch.jsonl").read_text().splitlines() for run in (whole, again)]
    for a, b in zip(*seen, strict=True):
        one, other = json.loads(a), json.loads(b)
        assert one["step"] == other["step"] and one["metrics"] == other["metrics"]


def test_a_checkpoint_that_was_not_written_to_its_end_is_passed_over(tmp_path: Path) -> None:
    for step, whole in ((2, True), (4, True), (6, False)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"")
        (folder / "trainer_state.json").write_text("{}" if whole else '{"epo')
    with pytest.warns(UserWarning, match="checkpoint-6 was not written to its end"):
        assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-4"
    assert not (tmp_path / "checkpoint-6").exists()
    assert last_checkpoint(tmp_path / "none") is None


def test_another_run_is_not_overwritten(tiny_model: str, preferences: Rows, tmp_path: Path) -> None:
    first = job(tiny_model, preferences, tmp_path / "out")
    align(first)
    with pytest.raises(BadInput, match=r"a run with other settings: objective was \"dpo\" and is now \"ipo\""):
        align(dataclasses.replace(first, objective="ipo"))
    longer = dataclasses.replace(first, training=dataclasses.replace(first.training, steps=99))
    with pytest.raises(BadInput, match=r"other settings: steps was \d+ and is now 99; choose"):
        align(longer)
    with pytest.raises(BadInput, match="data_hash was"):
        align(dataclasses.replace(first, data=preferences[1:]))
    run = align(dataclasses.replace(first, objective="ipo", fresh=True))
    assert run.summary["objective"] == "ipo" and not run.resumed
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(BadInput, match="holds no alignment run"):
        align(dataclasses.replace(first, out=tmp_path / "mine", fresh=True))
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_held_out_prompts_are_not_trained_on(preferences: Rows, tmp_path: Path) -> None:
    doubled = preferences + [{**row, "chosen": row["chosen"] + " Then rest."} for row in preferences]
    train, held_out = read_rows(job("m", doubled, tmp_path, held_out=0.25))
    assert len(held_out) == 12 and len(train) == 36
    assert not {row["prompt"] for row in train} & {row["prompt"] for row in held_out}
    file = tmp_path / "held.jsonl"
    file.write_text(json.dumps(preferences[0]) + "\n")
    train, held_out = read_rows(job("m", preferences[1:], tmp_path, held_out=str(file)))
    assert len(train) == 23 and held_out == preferences[:1]
    with pytest.raises(BadInput, match="should lie in"):
        read_rows(job("m", preferences, tmp_path, held_out=1.5))
    with pytest.raises(BadInput, match="leaves none to train on"):
        read_rows(job("m", preferences[:1], tmp_path, held_out=0.9))


def length_of_a(row: dict[str, Any]) -> int:
    return len(row["a"])


def test_rows_are_named_by_their_place_in_the_data_not_in_their_part(preferences: Rows, tmp_path: Path) -> None:
    train, held_out = read_rows(job("m", preferences, tmp_path, held_out=0.25))
    for row in (*train, *held_out):
        assert isinstance(row, PlacedRow) and row.place == f"rows row {preferences.index(row) + 1}"


def test_data_that_do_not_fit_are_found_before_the_model_is_looked_for(preferences: Rows, tmp_path: Path) -> None:
    run = job("no such model", [{"question": "q", "answer": "a"}], tmp_path / "run")
    with pytest.raises(BadInput, match="needs the columns prompt, chosen, rejected"):
        align(run)
    held = tmp_path / "held.jsonl"
    held.write_text(json.dumps({"question": "q"}) + "\n")
    with pytest.raises(BadInput, match=r"held.jsonl: objective 'dpo' needs the columns"):
        align(
            dataclasses.replace(run, data=preferences, held_out=str(held))
        )  # nothing was trained: settings may change


def test_a_run_of_labels_holds_out_a_single_prompt(tiny_model: str, preferences: Rows, tmp_path: Path) -> None:
    labels = [
        {"prompt": r["prompt"], "completion": r["chosen"], "label": i % 2 == 0} for i, r in enumerate(preferences)
    ]
    run = align(job(tiny_model, labels, tmp_path, objective="kto", held_out=1 / len(labels)))
    assert run.summary["held_out"] == 1 and run.summary["examples"] == len(labels) - 1


def test_stages_say_what_they_set_aside_in_one_file(tiny_model: str, preferences: Rows, tmp_path: Path) -> None:
    rows = [{**row, "margin": 1.0 + i} for i, row in enumerate(preferences)]
    rows[2] = {**rows[2], "chosen": " "}
    run = align(job(tiny_model, rows, tmp_path, objective="curry-dpo", hyper={"iterations": "2"}))
    kept = [json.loads(line) for line in (tmp_path / "rejected.jsonl").read_text().splitlines()]
    assert len(kept) == run.summary["rejected"] == 1 and "empty" in kept[0]["reason"]


def test_columns_are_computed(preferences: Rows) -> None:
    made = with_columns([{"a": 1.0}], {"b": "2.5", "c": "column:a"})
    assert made == [{"a": 1.0, "b": 2.5, "c": 1.0}]
    made = with_columns([{"a": 1.0}], {"n": "python:builtins:len"})
    assert made[0]["n"] == 1
    with pytest.raises(UnknownMethod, match="no column 'aa'; did you mean 'a'"):
        with_columns([{"a": 1.0}], {"b": "column:aa"})
    with pytest.raises(BadInput, match="give a number, column:NAME"):
        with_columns([{"a": 1.0}], {"b": "high"})
    with pytest.raises(BadInput, match="d row 1: the source of column 'b' fails: TypeError: object of type 'float'"):
        with_columns([{"a": 1.0}], {"b": "python:tests.align.test_run:length_of_a"}, "d")
    with pytest.raises(BadInput, match="d row 1: the source of column 'b' gives 'text', which is no number"):
        with_columns([{"a": "text"}], {"b": "column:a"}, "d")
    asked = [{"question": "Why?", "a": [{"role": "assistant", "content": "So."}]}]
    (renamed,) = with_columns(asked, {"prompt": "column:question", "chosen": "column:a"}, "d")
    assert renamed["prompt"] == "Why?" and renamed["chosen"] == asked[0]["a"]


def test_settings_of_the_training_are_checked(tmp_path: Path) -> None:
    made = Training(cpu=True, more={"optim": "adafactor", "weight_decay": "0.1"}).arguments(tmp_path, 100)
    assert made.weight_decay == 0.1 and made.optim == "adafactor" and made.save_steps == 2
    assert Training(batch_size=4, accumulate=2, epochs=2).steps_of(20) == 6
    for wrong in ({"batch_size": 0}, {"epochs": 0}, {"learning_rate": -1.0}, {"warmup": 2.0}, {"lora": 0}):
        with pytest.raises(BadInput, match="training: "):
            Training(**wrong)  # type: ignore[arg-type]
    with pytest.raises(UnknownMethod, match="did you mean 'optim'"):
        Training(more={"optimm": "x"}).arguments(tmp_path, 8)
    with pytest.raises(BadInput, match="weight_decay should be float, not 'much'"):
        Training(more={"weight_decay": "much"}).arguments(tmp_path, 8)
    with pytest.raises(BadInput, match="transformers refuses"):
        Training(cpu=True, more={"optim": "gradient-ascent"}).arguments(tmp_path, 8)
    assert Training(cpu=True, more={"report_to": "none"}).arguments(tmp_path, 8).report_to == []
    with pytest.raises(BadInput, match=r"transformers refuses the training arguments: .*telepathy"):
        Training(cpu=True, more={"report_to": "telepathy"}).arguments(tmp_path, 8)
    with pytest.raises(BadInput, match="given with -o"):
        Training(more={"output_dir": "x"}).arguments(tmp_path, 8)
    with pytest.raises(BadInput, match="max_steps is steps here, an option of its own: --steps"):
        Training(more={"max_steps": "4"}).arguments(tmp_path, 8)


def test_a_curriculum_trains_stage_by_stage_and_goes_on(tiny_model: str, preferences: Rows, tmp_path: Path) -> None:
    hyper = {"iterations": "2", "beta": "0.2"}
    whole = align(job(tiny_model, preferences, tmp_path / "whole", objective="curry-dpo", hyper=hyper))
    assert len(whole.summary["stages"]) == 2 and whole.summary["steps"] == 8
    with pytest.raises(Stopped):
        align(
            job(tiny_model, preferences, tmp_path / "cut", objective="curry-dpo", hyper=hyper), stop_in_stage(2, step=3)
        )
    again = align(job(tiny_model, preferences, tmp_path / "cut", objective="curry-dpo", hyper=hyper))
    assert [stage["status"] for stage in again.summary["stages"]] == ["kept", "done"]
    assert torch.equal(weights(again.model), weights(whole.model))


def stop_in_stage(stage: int, *, step: int) -> Any:
    begun = 0

    def progress(what: str, done: int, total: int) -> None:
        nonlocal begun
        begun = done + 1 if what == "stages" else begun
        if what == "training" and begun == stage and done == step:
            raise Stopped

    return progress


def test_held_out_pairs_are_judged_at_the_end(tiny_model: str, preferences: Rows, tmp_path: Path) -> None:
    run = align(job(tiny_model, preferences, tmp_path / "out", held_out=0.25))
    last = run.summary["log"][-1]
    assert last["step"] == 4 and 0 <= last["eval_rewards/accuracies"] <= 1 and last["eval_loss"] > 0
    often = dataclasses.replace(SHORT, more={"eval_strategy": "steps", "eval_steps": "2"})
    run = align(job(tiny_model, preferences, tmp_path / "often", held_out=0.25, training=often))
    judged = [row for row in run.summary["log"] if "eval_loss" in row]
    assert [row["step"] for row in judged] == [2, 4]
    assert judged[-1]["eval_loss"] == pytest.approx(last["eval_loss"], rel=1e-5)


def test_an_adapter_on_an_adapter_keeps_both(tiny_model: str, preferences: Rows, tmp_path: Path) -> None:
    from polyculture.llm.loading import load

    lora = dataclasses.replace(SHORT, lora=2, learning_rate=0.1)
    first = align(job(tiny_model, preferences, tmp_path / "sft", objective="sft", training=lora))
    slow = dataclasses.replace(lora, learning_rate=1e-9)
    second = align(job(str(first.model), preferences, tmp_path / "dpo", training=slow))
    assert (second.model / "adapter_config.json").exists()

    def logits(folder: str | Path) -> torch.Tensor:
        model, tokenizer = load(str(folder), None, "float32")
        with torch.no_grad():
            return model(**tokenizer("What grows here?", return_tensors="pt")).logits

    torch.testing.assert_close(logits(second.model), logits(first.model), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(logits(second.model), logits(tiny_model), atol=1e-2)


def test_pairs_without_a_prompt_are_said(tiny_model: str, preferences: Rows, tmp_path: Path) -> None:
    asked = [{"question": row["prompt"], "chosen": f"Yes {row['chosen']}", "rejected": "No."} for row in preferences]
    with pytest.warns(UserWarning, match=r"no prompt in 24 of 24 rows: .* columns are question, chosen, rejected"):
        read_rows(job(tiny_model, asked, tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows, _ = read_rows(job(tiny_model, asked, tmp_path, columns={"prompt": "column:question"}))
    assert rows[0]["prompt"] == preferences[0]["prompt"]


def test_a_divergence_and_a_margin_reward(tiny_model: str, preferences: Rows, tmp_path: Path) -> None:
    js = align(job(tiny_model, preferences, tmp_path / "js", divergence="js"))
    assert js.summary["objective"] == "dpo under js"
    both = align(
        job(tiny_model, preferences, tmp_path / "mo", objective="modpo", hyper={"w": "1,0.1"}, margin_rewards="length")
    )
    assert both.summary["objective"] == "modpo"
    with pytest.raises(BadInput, match="--margin-rewards goes with --objective modpo"):
        align(job(tiny_model, preferences, tmp_path / "no", margin_rewards="length"))
    with pytest.raises(BadInput, match="should read NAME or alpha:NUMBER"):
        align(job(tiny_model, preferences, tmp_path / "no2", divergence="alpha:much"))


@pytest.mark.parametrize("step", [2, 4])
def test_a_training_that_is_asked_to_stop_does_in_its_last_step_too(
    tiny_model: str, preferences: Rows, tmp_path: Path, step: int
) -> None:
    def ask(what: str, done: int, total: int) -> None:
        if what == "training" and done == step:
            os.kill(os.getpid(), signal.SIGINT)

    whole = align(job(tiny_model, preferences, tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        align(job(tiny_model, preferences, tmp_path / "cut"), ask)
    assert not (tmp_path / "cut" / "summary.json").exists()
    again = align(job(tiny_model, preferences, tmp_path / "cut"))
    assert again.resumed == f"checkpoint-{step}" and again.summary["loss"] == whole.summary["loss"]
    assert torch.equal(weights(again.model), weights(whole.model))
