"""Every measure through the whole list of measure_checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from polyculture.methods import table
from tests.checks import measure_checks


@pytest.mark.parametrize("check", list(measure_checks.checks()), ids=lambda c: c.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", measure_checks.measures())
def test_measure(name: str, check: Callable[[str, Any], None]) -> None:
    check(name, table("measure")[name])


def test_the_exceptions_are_measures() -> None:
    assert set(table("measure")) >= measure_checks.ORDERED
