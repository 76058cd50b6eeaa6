"""A run folder: one sub-folder a stage, whole or absent, each with a manifest that says what made it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polyculture.errors import BadInput
from polyculture.files import content_hash, write_json
from polyculture.versions import versions


def files_named(params: Any) -> dict[str, str]:
    """The content of every file that parameters name: a stage depends on what its files hold, not on their names."""
    if isinstance(params, Mapping):
        return {k: v for entry in params.values() for k, v in files_named(entry).items()}
    if isinstance(params, str) and params and len(params) < 1024 and Path(params).is_file():
        return {params: content_hash(Path(params))}
    return {}


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run."""

    path: Path

    def stage(self, name: str) -> Path:
        """Where a stage's artefacts are."""
        return self.path / name

    def manifest(self, name: str) -> dict[str, Any] | None:
        """A finished stage's manifest, or None when the stage has not finished."""
        file = self.stage(name) / "manifest.json"
        if not file.exists():
            return None
        try:
            held: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise BadInput(f"{file}: is damaged ({error}); remove {self.stage(name)} to run the stage again") from error
        return held

    def finished(self, name: str, inputs: str) -> bool:
        """Whether a stage has finished on these very inputs."""
        manifest = self.manifest(name)
        return manifest is not None and manifest["inputs"] == inputs

    def work(self, name: str, inputs: str) -> Path:
        """Where a stage that can go on from what it has done does it; its name tells the inputs it is done on."""
        return self.path / f"{name}.work-{inputs[:12]}"

    def clear_work(self, name: str = "[0-9][0-9]-*", *, but: Path | None = None) -> None:
        """Remove unfinished work: of a stage, or of all."""
        for left in self.path.glob(f"{name}.work-*"):
            if left != but:
                shutil.rmtree(left, ignore_errors=True)

    @contextmanager
    def writing(self, name: str, inputs: str, *, resumes: bool = False, **about: Any) -> Iterator[Path]:
        """A fresh folder for a stage's artefacts, put in place whole, with its manifest, when the block ends.

        A block that raises, or a process that is killed, leaves the earlier artefacts as they were.

        Args:
            name: of the stage.
            inputs: the fingerprint of what it works on.
            resumes: the stage goes on from what it has done: where the block raised, or the process was killed, the
                folder is kept and given again for the same inputs.
            about: what else the manifest says.
        """
        target = self.stage(name)
        fresh = self.work(name, inputs) if resumes else self.path / f".{name}.tmp"
        started = time.time()
        try:
            if resumes:
                self.clear_work(name, but=fresh)
            else:
                shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(parents=True, exist_ok=True)
            yield fresh
            about |= {"inputs": inputs, "versions": versions(), "seconds": round(time.time() - started, 3)}
            write_json(fresh / "manifest.json", {"stage": name, **about})
            if target.exists():
                stale = self.path / f".{name}.old"
                shutil.rmtree(stale, ignore_errors=True)
                target.rename(stale)
                fresh.rename(target)
                shutil.rmtree(stale, ignore_errors=True)
            else:
                fresh.rename(target)
        except OSError as error:
            raise BadInput(
                f"can't write {target}: {error.strerror or error}; free space, or choose another folder"
            ) from error
        finally:
            if not resumes:
                shutil.rmtree(fresh, ignore_errors=True)
