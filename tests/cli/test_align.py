"""``polyculture align`` from the command line: what it prints, what it refuses, and that Ctrl-C loses nothing."""

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
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

from polyculture.cli.app import app
from tests.tiny_models import tiny_llama

OWN_LOSS = '''
"""A loss of one's own."""
from torch.nn.functional import logsigmoid


def eager_loss(policy_chosen, policy_rejected, *, haste: float = 1.0):
    """Likes the chosen answer.

    Args:
        haste: how much.
    """
    return -logsigmoid(haste * (policy_chosen - policy_rejected))
'''


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_llama(tmp_path_factory.mktemp("tiny"), context=256))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [
        {"prompt": f"{i}. What grows here?", "chosen": f" Rye and oats, {i}.", "rejected": " Wheat, wheat, wheat."}
        for i in range(20)
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYCULTURE_CACHE", str(tmp_path / "cache"))


def line(data: Path, model: str, out: Path, *more: str, steps: int = 2) -> list[str]:
    return [
        "align", str(data), "--model", model, "-o", str(out), "--steps", str(steps), "--batch-size", "4",
        "--learning-rate", "1e-2", "--max-length", "64", "--cpu", "--watch-prompts", "0", *more,
    ]  # fmt: skip


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_a_run_prints_what_changed_and_writes_its_page(data: Path, model: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    watched = [w for w in line(data, model, out) if w != "0"]
    watched[watched.index("--watch-prompts") : watched.index("--watch-prompts") + 1] = ["--watch-prompts", "2"]
    found = run(*watched, "--watch-samples", "2", "--watch-tokens", "8", "--beta", "0.3", "--held-out", "0.2")
    assert found.exit_code == 0, found.output
    for word in (
        "examples",
        "16 of 16 rows",
        "accuracy in training",
        "accuracy, held out",
        "Vendi of a prompt's samples",
        "KL to the reference",
    ):
        assert word in found.output
    page = (out / "report.html").read_text()
    assert "<html" in page and "dpo" in page
    assert json.loads((out / "summary.json").read_text())["hyper"] == {"beta": 0.3}
    assert "finished before" in run(*watched, "--watch-samples", "2", "--watch-tokens", "8", "--beta", "0.3",
                                    "--held-out", "0.2").output  # fmt: skip


def test_json_is_one_object(data: Path, model: str, tmp_path: Path) -> None:
    found = json.loads(run(*line(data, model, tmp_path / "out", "--objective", "0.5*dpo+1*sft", "--json")).stdout)
    assert found["objective"] == "0.5*dpo+1*sft" and found["steps"] == 2 and found["head"]


def test_a_loss_of_ones_own_brings_its_options(
    data: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_losses.py").write_text(OWN_LOSS)
    monkeypatch.syspath_prepend(str(tmp_path))
    own = "python:my_losses:eager_loss"
    found = run(*line(data, model, tmp_path / "out", "--objective", own, "--haste", "0.5", "--json"))
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["hyper"] == {"haste": 0.5}
    wrong = run(*line(data, model, tmp_path / "no", "--objective", own, "--hast", "0.5"))
    assert wrong.exit_code == 2 and "did you mean 'haste'" in wrong.stderr


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--objective", "dpoo"], "did you mean 'dpo'"),
        (["--beta", "0"], "beta of"),
        (["--betta", "1"], "did you mean 'beta'"),
        (["--objective", "odpo"], "--column margin=SOURCE"),
        (["--reference", "nowhere"], "can't load the model 'nowhere'"),
        (["--refresh", "often"], "--refresh should read ALPHA,STEPS"),
        (["--training", "optimm=x"], "did you mean 'optim'"),
        (["--training", "optim"], "--training should read NAME=VALUE"),
        (["--training", "learning_rate=1"], "learning_rate is learning_rate here, an option of its own"),
        (["--num-train-epochs", "3"], "--num-train-epochs is --epochs here"),
        (["--report_to", "wandb"], "--report_to is --training report_to=VALUE here"),
        (["--warmup", "2"], "warmup in [0, 1)"),
        (["--divergence", "tv"], "the divergence 'tv' can't be used"),
        (["--objective", "sft", "--divergence", "js"], "can't be put under js"),
        (["--objective", "kto", "--wpo"], "LD and WPO are of pairs"),
        (["--held-out", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--watch-prompts", "2", "--alarm", "loud", "--held-out", "0.2"], "'warn', 'stop' or 'off'"),
        (["--max-length", "1"], "leave room"),
    ],
)
def test_mistakes_are_one_line(data: Path, model: str, tmp_path: Path, more: list[str], message: str) -> None:
    found = run(*line(data, model, tmp_path / "out", *more))
    assert found.exit_code == 2, found.output
    said = [row for row in found.stderr.splitlines() if row.startswith("polyculture: ") and "warning" not in row]
    assert len(said) == 1 and message in said[0]


def test_columns_that_do_not_fit_name_the_objectives_that_do(model: str, tmp_path: Path) -> None:
    data = tmp_path / "labels.jsonl"
    data.write_text(json.dumps({"prompt": "p", "completion": "c", "label": True}) + "\n")
    found = run(*line(data, model, tmp_path / "out"))
    assert found.exit_code == 2 and "which fit" in found.stderr and "kto" in found.stderr


def test_a_dry_run_shows_what_the_model_would_see(model: str, tmp_path: Path) -> None:
    data, out = tmp_path / "chats.jsonl", tmp_path / "out"
    rows: list[dict[str, Any]] = [
        {
            "prompt": [{"role": "user", "content": f"Oats, {i}?"}],
            "chosen": [{"role": "assistant", "content": "Yes."}],
            "rejected": [{"role": "assistant", "content": "No."}],
        }
        for i in range(8)
    ]
    rows[3]["rejected"] = rows[3]["chosen"]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = run(*line(data, model, out, "--held-out", "0", "--dry-run"))
    assert found.exit_code == 0, found.output
    assert "7 of 8 rows, as pairs" in found.stdout and "chosen and rejected are the same" in found.stdout
    assert "'<|user|>Oats, 0?<|end|><|assistant|>'" in found.stdout and "'Yes.<|end|></s>'" in found.stdout
    assert not out.exists()
    told = json.loads(run(*line(data, model, out, "--held-out", "0", "--dry-run", "--json", "-O", "kto")).stdout)
    assert told["kind"] == "labels" and [one["label"] for one in told["shown"]] == [True, False, True]
    assert told["rejected"] == [{"place": "chats.jsonl row 4", "reason": "chosen and rejected are the same"}]
    wrong = run(*line(data, str(tmp_path / "nothing"), out, "--dry-run"))
    assert wrong.exit_code == 2 and "can't load a tokenizer from" in wrong.stderr


def test_columns_of_other_names_are_told(model: str, tmp_path: Path) -> None:
    data = tmp_path / "answers.csv"
    data.write_text("question,answer,good\n" + "".join(f"What is {i}?,It is {i}.,{i % 2 == 0}\n" for i in range(8)))
    to_labels = ["--objective", "bco", "--column", "prompt=column:question", "--column", "completion=column:answer"]
    found = run(*line(data, model, tmp_path / "out", *to_labels, "--column", "label=column:good", "--json"))
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["examples"] == 8
    wrong = run(*line(data, model, tmp_path / "no", "--column", "prompt=column:questoin"))
    assert wrong.exit_code == 2 and "did you mean 'question'" in wrong.stderr


def test_bad_rows_stop_or_are_set_aside(data: Path, model: str, tmp_path: Path) -> None:
    with data.open("a") as file:
        file.write("{not json\n")
        file.write('{"prompt": "p", "chosen": 7, "rejected": "r"}\n')
    found = run(*line(data, model, tmp_path / "a"))
    assert found.exit_code == 2 and "line 21" in found.stderr
    found = run(*line(data, model, tmp_path / "b", "--on-bad-row", "skip"))
    assert found.exit_code == 0, found.output
    assert "2, see" in found.stdout
    reasons = [json.loads(row)["place"] for row in (tmp_path / "b" / "rejected.jsonl").read_text().splitlines()]
    assert reasons == [f"{data.name} line 21", f"{data.name} row 21"]


def test_a_curriculum_names_bad_rows_as_others_do(data: Path, model: str, tmp_path: Path) -> None:
    with data.open("a") as file:
        file.write('{"chosen": null, "rejected": "r"}\n')
    curriculum = ["--objective", "curry-dpo", "--iterations", "2"]
    found = run(*line(data, model, tmp_path / "a", *curriculum))
    assert found.exit_code == 2 and f"{data.name} row 21: column 'chosen' is missing or null" in found.stderr
    found = run(*line(data, model, tmp_path / "b", *curriculum, "--on-bad-row", "skip"))
    assert found.exit_code == 0, found.output
    assert json.loads((tmp_path / "b" / "rejected.jsonl").read_text())["place"] == f"{data.name} row 21"


def test_help_shows_the_objectives_options() -> None:
    found = run("align", "--objective", "simpo", "--help")
    assert found.exit_code == 0 and "--gamma" in found.output


def weights(out: Path) -> torch.Tensor:
    held = load_file(out / "model" / "model.safetensors")
    return torch.cat([held[name].flatten() for name in sorted(held)])


@pytest.mark.slow
def test_ctrl_c_saves_a_checkpoint_and_the_same_command_goes_on(data: Path, model: str, tmp_path: Path) -> None:
    whole = run(*line(data, model, tmp_path / "whole", "--save-every", "50", steps=300))
    assert whole.exit_code == 0, whole.output
    arguments = line(data, model, tmp_path / "cut", "--save-every", "50", steps=300)
    command = [sys.executable, "-m", "polyculture", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (tmp_path / "cut" / "checkpoint-50").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130 and "goes on from there" in said
    saved = [int(folder.name.partition("-")[2]) for folder in (tmp_path / "cut").glob("checkpoint-*")]
    assert any(step % 50 for step in saved)  # one that was not due
    assert not (tmp_path / "cut" / "summary.json").exists()
    again = run(*arguments)
    assert again.exit_code == 0 and "checkpoint-" in again.output
    assert torch.equal(weights(tmp_path / "cut"), weights(tmp_path / "whole"))


def test_batches_and_accumulation_are_the_same_through_the_command_line(data: Path, model: str, tmp_path: Path) -> None:
    outs: list[Any] = []
    for size, times in (("8", "1"), ("1", "8")):
        arguments = line(data, model, tmp_path / size, "--accumulate", times)
        arguments[arguments.index("--batch-size") + 1] = size
        found = run(*arguments, "--held-out", "0.2", "--json")
        assert found.exit_code == 0, found.output
        outs.append(json.loads(found.stdout))
    assert outs[0]["loss"] == pytest.approx(outs[1]["loss"], abs=1e-5)
    torch.testing.assert_close(weights(tmp_path / "8"), weights(tmp_path / "1"), atol=2e-4, rtol=0)
