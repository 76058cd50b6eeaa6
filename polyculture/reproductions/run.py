"""Running reproductions: one, several or all, each finding kept on disk as soon as it is there."""

from __future__ import annotations

import contextlib
import importlib
import json
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from polyculture.errors import BadInput, PolycultureError
from polyculture.files import write_json
from polyculture.papers import catalogue, paper
from polyculture.progress import Progress, silent
from polyculture.reproductions.finding import Finding, Scale


def reproducible() -> tuple[str, ...]:
    """The slugs of every paper that has a reproduction."""
    return tuple(slug for slug, entry in catalogue().items() if entry.reproduction)


def reproduce(slug: str, *, scale: Scale = "full", seed: int = 0) -> Finding:
    """Run one paper's reproduction on one torch thread, with its wall time.

    Raises:
        UnknownMethod: no such paper.
        BadInput: the paper has no reproduction yet, or the scale is not known.
    """
    if scale not in ("smoke", "full"):
        raise BadInput(f"scale should be 'smoke' or 'full', not '{scale}'")
    module = paper(slug).reproduction
    if module is None:
        raise BadInput(f"{slug} has no reproduction yet; these have: {', '.join(reproducible())}")
    run: Callable[..., Finding] = importlib.import_module(module).reproduce
    with one_thread():
        start = time.perf_counter()
        finding = run(scale=scale, seed=seed)
        return replace(finding, seconds=time.perf_counter() - start)


def reproduce_all(
    slugs: Sequence[str], *, scale: Scale, seed: int, keep: Path | None = None, progress: Progress = silent
) -> Iterator[Finding | Failure]:
    """Run several; a reproduction that fails is reported and does not stop the others.

    Args:
        slugs: which papers.
        scale: "smoke" or "full".
        seed: the first seed of each.
        keep: a folder where each finding is written as it comes; one that is there already, of the same scale, seed and
            version, is read instead of run again.
        progress: told how many are done.
    """
    for done, slug in enumerate(slugs):
        progress(f"reproducing {slug}", done, len(slugs))
        kept = None if keep is None else keep / f"{slug}.json"
        asked = {"scale": scale, "seed": seed, "version": _version()}
        if kept is not None and kept.exists():
            held = json.loads(kept.read_text(encoding="utf-8"))
            if held["asked"] == asked:
                yield Finding.from_dict(held["finding"])
                continue
        try:
            finding = reproduce(slug, scale=scale, seed=seed)
        except PolycultureError as error:
            yield Failure(slug, str(error))
            continue
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            yield Failure(slug, f"{type(error).__name__}: {error} ({Path(last.filename).name} line {last.lineno})")
            continue
        if kept is not None:
            write_json(kept, {"asked": asked, "finding": finding.to_dict()})
        yield finding
    progress("reproducing", len(slugs), len(slugs))


def _version() -> str:
    from polyculture import __version__

    return __version__


class Failure:
    """A reproduction that could not be run to its end, and why. It neither holds nor fails to hold."""

    holds = None

    def __init__(self, slug: str, reason: str) -> None:
        self.slug = slug
        self.reason = reason

    def to_dict(self) -> dict[str, Any]:
        """Its slug and reason, with ``holds`` null."""
        return {"slug": self.slug, "holds": None, "error": self.reason}


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run torch, BLAS and OpenMP on one thread inside the block: on small arrays two threads only get in the way."""
    import torch
    from threadpoolctl import threadpool_limits

    # Each of them brings thread pools of its own, and only pools that are loaded can be limited.
    for library in ("scipy.linalg", "sklearn.utils"):
        importlib.import_module(library)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)
