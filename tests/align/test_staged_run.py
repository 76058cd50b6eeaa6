"""A curriculum from data to model, through the run that the command line makes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from polyculture.align.job import Alignment
from polyculture.align.run import align
from polyculture.align.training import Training
from polyculture.errors import BadInput
from tests.align.stops import Stopped, stop_in_the_second
from tests.tiny_models import tiny_llama

ROWS = [
    {
        "prompt": f"What is {i} + {j}?",
        "responses": [f" It is {i + j}.", f" {i + j + 1}", f" I think {i * j} maybe", " no idea at all"],
        "scores": [4, 3, 2, 1],
    }
    for i in range(2)
    for j in range(4)
]
FAST = Training(batch_size=4, learning_rate=1e-3, cpu=True, max_length=64)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("models") / "base")


def job(base, out, **more):
    settings = {"data": ROWS, "objective": "curry-dpo", "training": FAST, "held_out": 0.2, "watch": None}
    return Alignment(model=str(base), out=Path(out), **settings | more)


def test_ranked_answers_train_in_stages_that_hand_over_their_model(base, tmp_path):
    run = align(job(base, tmp_path / "out", hyper={"beta": "0.2", "iterations": "2"}))
    stages = run.summary["stages"]
    assert [stage["rows"] for stage in stages] == [6, 6] and run.summary["steps"] == 4
    assert stages[1]["reference"] == stages[1]["began_with"] == str(tmp_path / "out" / "stage-1" / "model")
    assert all(stage["kl_to_base"] > 0 for stage in stages)
    assert run.summary["curriculum"]["criterion"] == "rating" and run.summary["curriculum"]["beta"] == 0.2
    rows = [json.loads(line) for line in (tmp_path / "out" / "stage-2" / "rows.jsonl").read_text().splitlines()]
    assert {row["stage"] for row in rows} == {2} and {row["margin"] for row in rows} == {2.0}
    final, last = (load_file(f / "model.safetensors") for f in (run.model, tmp_path / "out" / "stage-2" / "model"))
    assert all(torch.equal(final[name], last[name]) for name in final)
    assert align(job(base, tmp_path / "out", hyper={"beta": "0.2", "iterations": "2"})).resumed == "finished before"


def test_a_run_that_stopped_keeps_its_finished_stage(base, tmp_path, monkeypatch):
    calls = stop_in_the_second(monkeypatch)
    wanted = job(base, tmp_path / "out", hyper={"iterations": 2})
    with pytest.raises(Stopped):
        align(wanted)
    run = align(wanted)
    assert calls == ["stage-1", "stage-2", "stage-2"]
    assert [stage["status"] for stage in run.summary["stages"]] == ["kept", "done"]


def test_unrated_pairs_are_staged_by_the_reference(base, tmp_path):
    pairs = [{"chosen": f"\n\nHuman: {i}?\n\nAssistant: yes {i}", "rejected": f"\n\nHuman: {i}?\n\nAssistant: no"}
             for i in range(6)]  # fmt: skip
    run = align(job(base, tmp_path / "out", data=pairs, held_out=0.0, hyper={"iterations": 2}, divergence="js"))
    assert run.summary["curriculum"]["criterion"] == "reference" and run.summary["curriculum"]["mode"] == "global"
    ease = [
        json.loads(line)["ease"]
        for t in (1, 2)
        for line in (tmp_path / "out" / f"stage-{t}" / "rows.jsonl").read_text().splitlines()
    ]
    assert len(ease) == 6 and ease == sorted(ease, reverse=True)


@pytest.mark.slow
def test_an_adapter_is_merged_before_the_next_stage_puts_its_own_on(base, tmp_path):
    training = Training(batch_size=4, learning_rate=1e-2, cpu=True, max_length=64, lora=2)
    run = align(job(base, tmp_path / "out", training=training, held_out=0.0, hyper={"iterations": 2}))
    name = "model.layers.0.self_attn.q_proj"
    whole = [load_file(tmp_path / "out" / f"stage-{t}" / "merged" / "model.safetensors") for t in (1, 2)]
    adapter = load_file(tmp_path / "out" / "stage-2" / "model" / "adapter_model.safetensors")
    a, b = (adapter[f"base_model.model.{name}.lora_{side}.weight"] for side in "AB")
    assert torch.allclose(whole[1][f"{name}.weight"] - whole[0][f"{name}.weight"], 2 * b @ a, atol=1e-5)
    assert (b @ a).abs().max() > 1e-4
    assert torch.equal(load_file(run.model / "model.safetensors")[f"{name}.weight"], whole[1][f"{name}.weight"])


def test_options_that_a_curriculum_has_not_are_named(base, tmp_path):
    with pytest.raises(BadInput, match="iterations should be 1 or more"):
        align(job(base, tmp_path / "out", hyper={"iterations": "0"}))
    with pytest.raises(BadInput, match="--margin-rewards goes with --objective modpo, not curry-dpo"):
        align(job(base, tmp_path / "other", margin_rewards="length"))


@pytest.mark.slow
def test_two_processes_train_the_stages_of_one_run(base, tmp_path):
    data = tmp_path / "answers.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    line = ["-m", "polyculture", "align", str(data), "--model", str(base), "--objective", "curry-dpo", "--cpu"]
    line += ["--iterations", "2", "--batch-size", "2", "--held-out", "0", "-o", str(tmp_path / "out"), "--json"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([*launch, *line], env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["processes"] == 2 and [stage["status"] for stage in summary["stages"]] == ["done", "done"]
    assert [stage["metrics"]["steps"] for stage in summary["stages"]] == [2, 2]
