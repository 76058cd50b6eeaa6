"""Every objective through the whole list of align_checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from polyculture.methods import table
from tests.checks import align_checks


@pytest.mark.parametrize("check", list(align_checks.checks()), ids=lambda c: c.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", align_checks.losses())
def test_align(name: str, check: Callable[[str, Any], None]) -> None:
    check(name, table("align")[name])


def test_the_exceptions_are_losses() -> None:
    assert set(align_checks.losses()) >= set(align_checks.FIXED)
