"""An environment for the ``diversity`` package, which wants transformers < 5 and so can't share ours."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from benchmarks.harness import Unavailable

FOLDER = Path("~/.cache/polyculture/bench-diversity").expanduser()
# Named one by one because diversity imports spacy and openai without asking for them.
PACKAGES = ("diversity==0.3.1", "spacy", "openai")
MINUTES = 10


def python(*, make: bool = True) -> str:
    """The environment's interpreter; the environment is made at the first call, which takes minutes and the network.

    Raises:
        Unavailable: it is not there and can't be made.
    """
    interpreter = FOLDER / "bin" / "python"
    if not (FOLDER / "made").exists():
        if not make:
            raise Unavailable(f"{FOLDER} has not been made; a run without --quick makes it")
        torch = metadata.version("torch").split("+")[0]
        install = [str(interpreter), "-m", "pip", "install", "-q"]
        print(f"making {FOLDER} for the diversity package (once)", file=sys.stderr)
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(FOLDER)],
            [*install, f"torch=={torch}"],
            [*install, *PACKAGES],
            [str(interpreter), "-c", "import diversity"],
        ):
            _run(command)
        (FOLDER / "made").touch()
    return str(interpreter)


def _run(command: list[str]) -> None:
    try:
        run = subprocess.run(
            command, capture_output=True, text=True, timeout=60 * MINUTES, env=os.environ | {"HF_HUB_OFFLINE": "1"}
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"its environment could not be made: {error}") from error
    if run.returncode:
        lines = (run.stderr or run.stdout).strip().splitlines() or ["no reason given"]
        raise Unavailable(f"its environment could not be made: {lines[-1]}")
