from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from polyculture import methods
from polyculture.errors import BadInput, MissingExtra, UnknownMethod, need, unknown
from polyculture.methods import MethodTable, argument_docs, build, inputs, parameters, parse, table


@dataclass
class Example:
    """An example.

    Args:
        alpha: how much,
            told over two lines.
        kind: which kind.
    """

    alpha: float = 0.5
    kind: Literal["a", "b"] = "a"


def test_a_duplicate_name_is_an_error() -> None:
    with pytest.raises(ValueError, match="two select methods are named 'x'"):
        MethodTable("select", ("x", "a:B"), ("x", "c:D"))


def test_listing_imports_nothing() -> None:
    held = MethodTable("select", ("x", "no.such.module:B"))
    assert list(held) == ["x"] and "x" in held and len(held) == 1
    with pytest.raises(ModuleNotFoundError):
        held["x"]


def test_a_mistyped_name_gets_a_suggestion() -> None:
    with pytest.raises(UnknownMethod, match=r"no select method 'rondom'; did you mean 'random'\?"):
        table("select")["rondom"]
    with pytest.raises(UnknownMethod, match="did you mean 'select'"):
        table("selekt")


def test_every_stage_has_a_table() -> None:
    for stage in methods.STAGES:
        assert table(stage).stage == stage


def test_entry_points_add_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        name, value = "select.mine", f"{__name__}:Example"

    monkeypatch.setattr(
        "importlib.metadata.entry_points", lambda group: [Point] if group == "polyculture.methods" else []
    )
    table.cache_clear()
    try:
        assert build("select", "mine", alpha="0.25").alpha == 0.25
    finally:
        table.cache_clear()


def test_hyper_parameters_come_from_signature_and_docstring() -> None:
    found = parameters(Example)
    assert list(found) == ["alpha", "kind"]
    assert found["alpha"].default == 0.5 and found["alpha"].type_name == "float"
    assert found["alpha"].help == "how much, told over two lines."

    def measure(X: list[float], *, q: float = 1.0) -> float:
        return q

    assert inputs(measure) == ("X",)
    assert list(parameters(measure)) == ["q"]


def test_argument_docs_stop_at_the_next_section() -> None:
    assert argument_docs("One.\n\nArgs:\n    a: first.\n    b (int): second.\n\nReturns:\n    c: no.") == {
        "a": "first.",
        "b": "second.",
    }


@pytest.mark.parametrize(
    ("text", "annotation", "value"),
    [
        ("3", int, 3),
        ("0.5", float, 0.5),
        ("inf", float, float("inf")),
        ("yes", bool, True),
        ("False", bool, False),
        ("none", int | None, None),
        ("4", int | None, 4),
        ("b", Literal["a", "b"], "b"),
        ("1,2", tuple[int, ...], (1, 2)),
        ("1,2", list[float], [1.0, 2.0]),
        ("a,b", Sequence[str], ("a", "b")),
        ("word", Any, "word"),
        ("x", float | str, "x"),
    ],
)
def test_strings_are_read_as_the_annotated_type(text: str, annotation: Any, value: Any) -> None:
    assert parse(text, annotation, "here") == value


@pytest.mark.parametrize(("text", "annotation"), [("x", int), ("maybe", bool), ("c", Literal["a", "b"])])
def test_a_value_of_the_wrong_kind_is_named(text: str, annotation: Any) -> None:
    with pytest.raises(BadInput, match=f"here should be .*, not '{text}'"):
        parse(text, annotation, "here")


def test_a_mistyped_option_gets_a_suggestion() -> None:
    with pytest.raises(UnknownMethod, match="did you mean 'n_clusters'"):
        build("select", "kmq", n_cluster=3)


def test_a_missing_dependency_names_its_extra() -> None:
    with pytest.raises(MissingExtra, match=r"polyculture\[stream\]"):
        need("no_such_module", "stream")


def test_unknown_lists_what_there_is_when_nothing_is_near() -> None:
    assert str(unknown("stage", "zzz", ["a", "b"])) == "no stage 'zzz'; known: a, b"


def test_a_meaning_is_one_sentence_without_markup() -> None:
    assert methods.meaning("measure", "distinct").startswith("The mean of distinct_n over n")
    assert all("`" not in methods.meaning("measure", name) for name in table("measure"))
