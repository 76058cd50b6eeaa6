"""Functions named on a command line: ``python:module:function``."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from polyculture.errors import BadInput, unknown

PREFIX = "python:"


def named_function(spec: str) -> Callable[..., Any]:
    """The function that ``python:module:function`` names; the working directory is searched after installed modules.

    Raises:
        BadInput: the spec is not of that form, the module can't be imported, or what it names can't be called.
        UnknownMethod: the module has nothing of that name.
    """
    module, _, name = spec.removeprefix(PREFIX).rpartition(":")
    if not spec.startswith(PREFIX) or not module or not name:
        raise BadInput(f"'{spec}' should read python:module:function, such as python:scorers:brevity")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise BadInput(
            f"{spec}: can't import '{error.name}'; run in the folder that holds it, or put that on PYTHONPATH"
        ) from error
    if not hasattr(found, name):
        raise unknown(f"function in {module}", name, (n for n in vars(found) if not n.startswith("_")))
    function = getattr(found, name)
    if not callable(function):
        raise BadInput(f"{spec} is {type(function).__name__}, which can't be called")
    return function
