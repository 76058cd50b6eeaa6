"""Files that are whole or absent: atomic writes, content hashes, and a lock for a folder."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from polyculture.errors import BadInput, RunLocked


@contextlib.contextmanager
def atomic(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file beside ``path``; rename it into place when the block ends, remove it if it raises.

    Args:
        path: the file to write; its folder is made if it is not there.
        mode: "w" (UTF-8 text) or "wb".

    Raises:
        BadInput: the folder can't be written (read-only, or the disk is full), with the path.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        with os.fdopen(descriptor, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        raise BadInput(f"can't write {path}: {error.strerror or error}; choose another folder with -o") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically; numpy numbers and arrays are understood, NaN becomes null."""
    with atomic(path) as file:
        json.dump(plain(value), file, indent=2, ensure_ascii=False)
        file.write("\n")


def plain(value: Any) -> Any:
    """``value`` in JSON's own types: numpy to Python, NaN to None, infinities to "inf" and "-inf", paths to text."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None if np.isnan(value) else ("inf" if value > 0 else "-inf")
    if isinstance(value, Path):
        return str(value)
    return value


def fingerprint(*parts: Any) -> str:
    """A hash of JSON-able values: equal values give equal fingerprints on every machine."""
    text = json.dumps(plain(list(parts)), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def content_hash(path: Path) -> str:
    """A 128-bit hash of a file's bytes, or of a folder's names and bytes, as hex, streaming."""
    import xxhash

    digest = xxhash.xxh3_128()
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        digest.update(str(file.relative_to(path) if path.is_dir() else "").encode())
        with file.open("rb") as handle:
            while block := handle.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for this process; the lock ends with the process, however it ends.

    Raises:
        RunLocked: another process holds it.
        BadInput: the folder can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = (folder / ".lock").open("a+")
    except OSError as error:
        raise BadInput(f"can't write to {folder}: {error.strerror}; choose another folder with -o") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            handle.seek(0)
            holder = handle.read().strip()
            raise RunLocked(
                f"{folder} is in use by process {holder or 'unknown'}; wait for it, or choose another folder with -o"
            ) from error
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield
