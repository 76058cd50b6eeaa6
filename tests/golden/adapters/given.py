"""Options as the public functions name them, of a case's parameters: an absent one leaves the function's default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def given(params: Mapping[str, Any], *same: str, **renamed: str) -> dict[str, Any]:
    """The parameters that are there and not null: those of the same name, and option = name of the parameter."""
    names = {name: name for name in same} | renamed
    return {option: params[name] for option, name in names.items() if params.get(name) is not None}
