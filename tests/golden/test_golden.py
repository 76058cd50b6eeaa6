"""Every golden case, through the adapter of its paper and op, against what a reference implementation gave."""

from __future__ import annotations

import importlib
import json
import math
from pathlib import Path
from typing import Any

import pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    folder = Path(metafunc.config.getoption("--golden"))
    cases = []
    for path in sorted(folder.glob("*.json")):
        book = json.loads(path.read_text())
        cases += [pytest.param(book["slug"], case, id=f"{book['slug']}-{case['name']}") for case in book["cases"]]
    if not cases:
        raise pytest.UsageError(f"no golden vectors in {folder}")
    metafunc.parametrize(("slug", "case"), cases)


def test_golden(slug: str, case: dict[str, Any]) -> None:
    ops = importlib.import_module(f"tests.golden.adapters.{slug.replace('-', '_')}").OPS
    got = ops[case["op"]](case["inputs"], case["params"])
    compare(case["expected"], got, float(case["tolerance"]), "expected")


def compare(expected: Any, got: Any, tolerance: float, place: str) -> None:
    """Assert that ``got`` agrees with ``expected``; dicts are a subset check, numbers agree within the tolerance."""
    if hasattr(got, "tolist"):
        got = got.tolist()
    if isinstance(expected, dict):
        assert isinstance(got, dict), f"{place}: got {type(got).__name__}"
        for key, value in expected.items():
            assert key in got, f"{place}.{key} is missing; there are {sorted(got)}"
            compare(value, got[key], tolerance, f"{place}.{key}")
    elif isinstance(expected, list):
        assert isinstance(got, (list, tuple)), f"{place}: got {type(got).__name__}"
        assert len(got) == len(expected), f"{place}: {len(got)} entries, expected {len(expected)}"
        for i, (e, g) in enumerate(zip(expected, got, strict=True)):
            compare(e, g, tolerance, f"{place}[{i}]")
    elif expected in ("inf", "-inf", "nan") and not isinstance(got, str):
        assert math.isnan(got) if expected == "nan" else got == float(expected), f"{place}: {got}"
    elif isinstance(expected, bool) or expected is None or isinstance(expected, str):
        assert got == expected, f"{place}: {got!r}, expected {expected!r}"
    else:
        assert isinstance(got, (int, float)) and not isinstance(got, bool), f"{place}: {got!r}"
        bound = tolerance * max(1.0, abs(expected))
        assert abs(got - expected) <= bound, f"{place}: {got}, expected {expected} within {bound:g}"
