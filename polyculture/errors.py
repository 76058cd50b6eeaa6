"""What can go wrong, named so that a caller can tell whose move is next."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType


class PolycultureError(Exception):
    """Base of every error polyculture raises on purpose. The command line prints it in one line and exits with 2."""


class BadInput(PolycultureError, ValueError):
    """The data or an argument can't be used as it is; the message names the place and the remedy."""


class UnknownMethod(PolycultureError, KeyError):
    """No method, paper or option of that name; the message suggests the nearest one."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would print the message in quotes


class MissingExtra(PolycultureError, ImportError):
    """An optional dependency is not installed; the message says which extra brings it."""


class BudgetExceeded(PolycultureError, RuntimeError):
    """A limit on calls, tokens or money is used up; what was done so far is kept."""


class RunLocked(PolycultureError, RuntimeError):
    """Another process is writing to this run folder."""


class ModelFailure(PolycultureError, RuntimeError):
    """A language model or endpoint did not answer, after every retry it was allowed."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UnknownMethod:
    """The error for a mistyped name, with the nearest known name as a suggestion.

    >>> str(unknown("method", "kmk", ["kmq", "random"]))
    "no method 'kmk'; did you mean 'kmq'?"
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    remedy = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(names)}"
    return UnknownMethod(f"no {kind} '{name}'; {remedy}")


def need(module: str, extra: str) -> ModuleType:
    """Import an optional dependency, or say which extra installs it.

    Args:
        module: dotted module name, e.g. ``"river"``.
        extra: the extra of this package that brings it, e.g. ``"stream"``.

    Raises:
        MissingExtra: the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise MissingExtra(
            f"{module} is not installed: this needs polyculture[{extra}] (pip install 'polyculture[{extra}]')"
        ) from error
