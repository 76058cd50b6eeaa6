"""The examples run, and what they configure exists."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from polyculture.recipes.reading import load_recipe

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_each_is_told_of() -> None:
    text = (EXAMPLES / "README.md").read_text()
    names = {path.name for path in EXAMPLES.iterdir() if path.is_file()} - {"README.md"}
    assert {name for name in names if f"| `{name}` |" not in text} == set()


@pytest.mark.parametrize("name", ["recipe.yaml", "align_recipe.yaml"])
def test_recipes_are_sound(name: str) -> None:
    assert load_recipe(EXAMPLES / name).stages


def test_the_configuration_of_shards_is_what_accelerate_reads() -> None:
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import launch_command_parser
    from accelerate.utils import FullyShardedDataParallelPlugin

    config = load_config_from_file(str(EXAMPLES / "fsdp.yaml"))
    assert config.distributed_type == "FSDP" and config.mixed_precision == "bf16"
    known = {action.dest for action in launch_command_parser()._actions}
    assert set(yaml.safe_load((EXAMPLES / "fsdp.yaml").read_text())["fsdp_config"]) <= known
    assert config.fsdp_config["fsdp_version"] == 2
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy=config.fsdp_config["fsdp_auto_wrap_policy"].lower(),
        state_dict_type=config.fsdp_config["fsdp_state_dict_type"],
        reshard_after_forward=config.fsdp_config["fsdp_reshard_after_forward"],
    )
    assert plugin.fsdp_version == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["curate_in_python.py", "own_method.py"])
def test_scripts_run(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / name],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and done.stdout, done.stderr


def test_the_training_learns_and_leaves_what_its_recipe_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location("align_in_python", EXAMPLES / "align_in_python.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "align_in_python", module)
    spec.loader.exec_module(module)
    module.main(tmp_path, steps=16)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:6]] == ["0", "4", "8", "12", "16"]
    assert float(lines[5].split()[-1]) > float(lines[1].split()[-1])
    for name in ("preferences.jsonl", "untrained/model.safetensors", "run/model/model.safetensors", "run/report.html"):
        assert (tmp_path / name).exists()
    recipe = (EXAMPLES / "align_recipe.yaml").read_text()
    assert "runs/align_in_python/preferences.jsonl" in recipe and "runs/align_in_python/untrained" in recipe
