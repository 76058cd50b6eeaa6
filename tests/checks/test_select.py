"""Every selector through every check."""

from __future__ import annotations

import inspect
import socket
from typing import Any

import pytest

from polyculture.methods import table
from tests.checks.select_checks import CHECKS, maker


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", list(table("select")))
def test_selector(name: str, check: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a selector should run offline")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    make = maker(name)
    if "name" in inspect.signature(check).parameters:
        check(make, name)
    else:
        check(make)
