"""Two real processes: they train to what one trains to, with replicas and in shards, and are caught when unjoined."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


def launched(arguments: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2]), **environment}
    return subprocess.run([*LAUNCH, *arguments], env=env, capture_output=True, text=True, timeout=150, check=False)


def test_two_processes_train_to_the_same_loss_as_one(
    tiny_model: str, preferences: list[dict[str, Any]], tmp_path: Path, cache: Path
) -> None:
    """13 pairs make a step of 8 and one of 5, which accelerate fills up with three that have been: they don't count."""
    data = tmp_path / "d.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in preferences[:19]))
    line = [
        "align", str(data), "--model", tiny_model, "--objective", "0.5*dpo+1*sft", "--steps", "3",
        "--learning-rate", "1e-2", "--max-length", "64", "--watch-prompts", "4", "--watch-tokens", "8",
        "--held-out", "0.3333", "--cpu",
    ]  # fmt: skip
    both = launched(["-m", "polyculture", *line, "--batch-size", "4", "-o", str(tmp_path / "both"), "--json"])
    assert both.returncode == 0, both.stderr[-2000:]
    shown = json.loads(both.stdout)  # the first process alone prints
    assert shown["processes"] == 2
    from typer.testing import CliRunner

    from polyculture.cli.app import app

    alone = CliRunner().invoke(app, [*line, "--batch-size", "8", "-o", str(tmp_path / "one"), "--json"])
    assert alone.exit_code == 0, alone.output
    one = json.loads(alone.stdout)
    assert one["examples"] == 13 and one["processes"] == 1 and shown["loss"] == pytest.approx(one["loss"], abs=1e-5)
    a, b = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("both", "one"))
    for name, weights in a.items():
        torch.testing.assert_close(weights, b[name], atol=2e-4, rtol=0)
    seen = [
        [json.loads(row)["metrics"] for row in (tmp_path / name / "watch.jsonl").read_text().splitlines()]
        for name in ("both", "one")
    ]
    assert seen[0][0]["entropy"] == pytest.approx(seen[1][0]["entropy"], abs=1e-4)


SHARDED = """
import sys, torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from transformers import AutoModelForCausalLM
from polyculture.align.data.encoding import Encoded
from polyculture.align.log_probs.forward import probe, score_batch
from polyculture.align.data.layout import Layout

dist.init_process_group("gloo")
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
batch = Layout(2)([(0, Encoded([5, 6, 7], ([8, 9, 1], [10, 1]), {}), {})])
abilities = probe(model, 300)
assert abilities.replace_head and abilities.share_prompts
whole = score_batch(model, batch, abilities).log_probs
whole.sum().backward()
wanted = {name: p.grad.clone() for name, p in model.named_parameters()}
model.zero_grad()
mesh = init_device_mesh("cpu", (2,))
for layer in model.model.layers:
    fully_shard(layer, mesh=mesh)
fully_shard(model, mesh=mesh)
shards = score_batch(model, batch, abilities).log_probs
shards.sum().backward()
torch.testing.assert_close(shards, whole)
for name, p in model.named_parameters():
    torch.testing.assert_close(p.grad.full_tensor(), wanted[name], atol=1e-4, rtol=1e-4)
dist.destroy_process_group()
"""

JUDGED = """
import json, os, sys
from pathlib import Path
from transformers import TrainingArguments
from polyculture.align.trainer import AlignmentTrainer

model, data, folder, size = sys.argv[1:]
rows, out, rank, size = json.loads(Path(data).read_text()), Path(folder), int(os.environ.get("RANK", "0")), int(size)
arguments = TrainingArguments(
    output_dir=out, report_to=[], use_cpu=True, per_device_eval_batch_size=size, disable_tqdm=True
)
for cache in ("shared", f"disk-{rank}", f"disk-{rank}"):  # one that all see; machines with a disk each, twice
    trainer = AlignmentTrainer(
        model, "0.5*dpo+1*sft", arguments, rows, rows, max_length=64, reference_cache=out / cache
    )
found = trainer.evaluate()
if rank == 0:
    print("FOUND " + json.dumps(found))
"""

UNJOINED = """
import sys
from transformers import TrainingArguments
from polyculture.align.trainer import AlignmentTrainer

rows = [{"prompt": "a", "chosen": "b", "rejected": "c"}] * 4
arguments = TrainingArguments(output_dir=sys.argv[2], report_to=[])
AlignmentTrainer(sys.argv[1], "dpo", arguments, rows, max_length=32)
"""


PATIENT = """
import json, os, sys, time
from datetime import timedelta
from pathlib import Path
import torch.distributed as dist
from polyculture.align.staged.stages import TrainedStage, train_stages

dist.init_process_group("gloo", timeout=timedelta(seconds=2))
out, rank = Path(sys.argv[1]), dist.get_rank()

def sampled(number, model):
    time.sleep(5)  # longer than the processes wait for each other in training
    return [{"prompt": "a"}]

def train_one(rows, model, reference, folder):
    if rank == 0:
        (folder / "model").mkdir()
        (folder / "model" / "config.json").write_text("{}")
    return TrainedStage(folder / "model")

if rank == 0:
    (out / "base").mkdir(parents=True)
    (out / "base" / "config.json").write_text("{}")
dist.barrier()
print("ROWS", train_stages(sampled, train_one, out / "run", model=out / "base", iterations=1).stages[0].rows)
"""


@pytest.mark.slow
def test_processes_wait_for_the_one_that_makes_the_rows(tmp_path: Path) -> None:
    script = tmp_path / "patient.py"
    script.write_text(PATIENT)
    done = launched([str(script), str(tmp_path / "out")])
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("ROWS 1") == 2


@pytest.mark.slow
def test_a_sharded_model_gives_the_same_scores_and_gradients(tiny_model: str, tmp_path: Path) -> None:
    script = tmp_path / "sharded.py"
    script.write_text(SHARDED)
    done = launched([str(script), tiny_model])
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
def test_two_processes_judge_as_one_does(tiny_model: str, preferences: list[dict[str, Any]], tmp_path: Path) -> None:
    """Of 13 rows in batches of 2 by 2 the last are accelerate's repetitions, which don't count."""
    rows, script = tmp_path / "rows.json", tmp_path / "judged.py"
    rows.write_text(
        json.dumps([{**row, "chosen": row["chosen"] + " and rye" * i} for i, row in enumerate(preferences[:13])])
    )
    script.write_text(JUDGED)
    both = launched([str(script), tiny_model, str(rows), str(tmp_path / "both"), "2"])
    assert both.returncode == 0, both.stderr[-2000:]
    alone = subprocess.run(
        [sys.executable, str(script), tiny_model, str(rows), str(tmp_path / "one"), "4"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=100,
    )
    a, b = (json.loads(done.stdout.split("FOUND ")[1].splitlines()[0]) for done in (both, alone))
    for name in ("eval_loss", "eval_logps/chosen", "eval_rewards/accuracies", "eval_logps_per_token/rejected"):
        assert a[name] == pytest.approx(b[name], rel=1e-5), name


SEEING = """
import json, sys
from pathlib import Path
import torch
from transformers import AutoTokenizer, Gemma3Config, Gemma3ForConditionalGeneration, TrainingArguments
from polyculture.align.trainer import AlignmentTrainer

tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
text = dict(
    vocab_size=400, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2, head_dim=16,
    num_key_value_heads=1, max_position_embeddings=256, bos_token_id=0, eos_token_id=1, pad_token_id=2,
)
eyes = dict(
    hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
)
torch.manual_seed(0)
model = Gemma3ForConditionalGeneration(
    Gemma3Config(
        text_config=text, vision_config=eyes, mm_tokens_per_image=4, boi_token_index=390, eoi_token_index=391,
        image_token_index=392,
    )
)
arguments = TrainingArguments(
    sys.argv[3], report_to=[], use_cpu=True, max_steps=3, per_device_train_batch_size=2, logging_steps=1,
    learning_rate=1e-2, save_strategy="no", ddp_find_unused_parameters=False, activation_checkpointing=True,
)
rows = json.loads(Path(sys.argv[2]).read_text())
trainer = AlignmentTrainer(model, "dpo", arguments, rows, processing_class=tokenizer, max_length=64)
trainer.train()
losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
assert abs(losses[0] - 0.693147) < 1e-5 and losses[-1] < losses[0], losses
"""


@pytest.mark.slow
def test_a_model_that_sees_is_trained_on_text_by_several_processes(
    tiny_model: str, preferences: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Its vision tower has no gradient, which DDP does not take unless told."""
    rows, script = tmp_path / "rows.json", tmp_path / "seeing.py"
    rows.write_text(json.dumps(preferences[:8]))
    script.write_text(SEEING)
    done = launched([str(script), tiny_model, str(rows), str(tmp_path / "out")])
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
def test_processes_that_do_not_join_are_an_error(tiny_model: str, tmp_path: Path) -> None:
    script = tmp_path / "unjoined.py"
    script.write_text(UNJOINED)
    done = launched([str(script), tiny_model, str(tmp_path / "out")], CUDA_VISIBLE_DEVICES="")
    assert done.returncode != 0 and "they have not joined" in done.stderr
