"""Which part of the package may import which, read off the source without importing it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import polyculture

ROOT = Path(polyculture.__file__).parent
STAGES = {"select", "mix", "decode", "privacy", "align", "synthesize"}
"""Each a kind of method, which knows no other kind."""

MEASURE = "measure"
"""What every stage and the roof may ask how diverse something is."""

ROOF = {"cli", "report", "recipes", "reproductions", "studies", "papers", "__main__"}
"""What puts stages together; everything else is the ground floor."""

NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "misc", "tools", "base_utils"}
LONGEST = 400


def sources() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def room(path: Path) -> str:
    """The sub-package, or the module itself where it stands in none."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and room of every import of this package, those inside functions and under TYPE_CHECKING too."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} line {node.lineno}: imports should be absolute"
            if node.module == "polyculture":
                yield from ((node.lineno, name.name) for name in node.names)
            elif (node.module or "").startswith("polyculture."):
                yield node.lineno, str(node.module).split(".")[1]
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, n.name.split(".")[1]) for n in node.names if n.name.startswith("polyculture."))


def crossings(of: set[str], into: set[str]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)} line {line} imports {target}"
        for path in sources()
        if room(path) in of
        for line, target in imported(path)
        if target in into and target != room(path)
    ]


def ground_floor() -> set[str]:
    return {room(path) for path in sources()} - STAGES - ROOF - {MEASURE, "__init__"}


def test_the_rooms_are_those_named_here() -> None:
    rooms = {room(path) for path in sources()}
    assert rooms >= STAGES | ROOF | {MEASURE}
    assert {"errors", "pool", "space", "quality", "llm", "engine", "surrogate"} <= ground_floor()


def test_a_crossing_is_seen() -> None:
    assert any(line.startswith("reproductions/quadmix.py") for line in crossings({"reproductions"}, {"select"}))
    assert any(line.startswith("cli/mix.py") for line in crossings({"cli"}, {"mix"})), "inside functions too"


def test_the_ground_floor_imports_no_stage_no_measure_and_no_roof() -> None:
    assert crossings(ground_floor(), STAGES | ROOF | {MEASURE}) == []


def test_a_stage_imports_no_other_stage_and_no_roof() -> None:
    assert crossings(STAGES, STAGES | ROOF) == []


def test_measures_import_the_ground_floor_alone() -> None:
    assert crossings({MEASURE}, STAGES | ROOF) == []


def test_only_the_command_line_imports_the_command_line() -> None:
    assert crossings({room(path) for path in sources()} - {"__main__"}, {"cli"}) == []


def test_files_are_short() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in sources()}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_modules_are_named_after_what_they_are() -> None:
    assert [
        path for path in sources() if NAMES_THAT_SAY_NOTHING & set(path.relative_to(ROOT).with_suffix("").parts)
    ] == []


def test_only_the_command_line_prints() -> None:
    printing = [
        f"{path.relative_to(ROOT)} line {node.lineno}"
        for path in sources()
        if room(path) != "cli"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert printing == []
