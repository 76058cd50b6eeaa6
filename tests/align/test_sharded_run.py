"""A model in shards over two processes (FSDP2): it is saved whole, and a stopped run goes on to the same weights.

accelerate shards over GPUs only; here it is told that two processes on a CPU are as good.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

SHARDED_ON_CPU = """
import accelerate.state as state

inner = state.AcceleratorState.__init__

def init(self, *arguments, fsdp_plugin=None, **more):
    inner(self, *arguments, fsdp_plugin=fsdp_plugin, **more)
    if fsdp_plugin is not None:
        self.distributed_type = state.PartialState._shared_state["distributed_type"] = state.DistributedType.FSDP
        self.fsdp_plugin = fsdp_plugin

state.AcceleratorState.__init__ = init
from polyculture.cli.app import main

main()
"""
SETTINGS = {
    "ACCELERATE_USE_CPU": "true",
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "OMP_NUM_THREADS": "1",
}


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model" / "model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["FULL_STATE_DICT", "SHARDED_STATE_DICT"])
def test_it_is_saved_whole_and_goes_on(
    kind: str, tiny_model: str, preferences: list[dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in preferences))
    (tmp_path / "sharded.py").write_text(SHARDED_ON_CPU)
    line = [
        "align", "d.jsonl", "--model", tiny_model, "--steps", "4", "--save-every", "2", "--learning-rate", "1e-3",
        "--max-length", "64", "--watch-prompts", "2", "--watch-tokens", "4", "--no-cache", "--cpu", "--json",
    ]  # fmt: skip

    def launched(out: str, *more: str, processes: int = 2) -> dict[str, Any]:
        script = [str(tmp_path / "sharded.py")] if processes > 1 else ["-m", "polyculture"]
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"] if processes > 1 else []
        done = subprocess.run(
            [sys.executable, *launcher, *script, *line, "-o", out, *more],
            cwd=tmp_path,
            env={**os.environ, **(SETTINGS if processes > 1 else {}), "FSDP_STATE_DICT_TYPE": kind}
            | {"PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            timeout=150,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        shown: dict[str, Any] = json.loads(done.stdout)
        return shown

    summary = launched("whole", "--batch-size", "4")
    assert summary["sharded"] and summary["processes"] == 2
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    for left in ("model", "checkpoint-4"):
        shutil.rmtree(tmp_path / "cut" / left)
    (tmp_path / "cut" / "summary.json").unlink()
    assert launched("cut", "--batch-size", "4")["resumed"] == "checkpoint-2"
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    before = load_file(Path(tiny_model) / "model.safetensors")
    assert whole.keys() == before.keys() and not all(torch.equal(whole[name], before[name]) for name in before)
