from __future__ import annotations

import pytest

from polyculture.errors import UnknownMethod
from polyculture.methods import STAGES, table
from polyculture.papers import catalogue, paper


def test_papers_have_known_stages_titles_and_years() -> None:
    assert catalogue()
    assert {entry.stage for entry in catalogue().values()} <= set(STAGES)
    assert all(entry.title and 2000 < entry.year < 2030 for entry in catalogue().values())


def test_implemented_is_derived_from_what_imports() -> None:
    assert paper("vendi").implemented
    assert paper("vendi").reproduction == "polyculture.reproductions.vendi"
    assert not paper("metasynth").implemented  # its measures are there, its method is not


def test_every_implemented_paper_has_a_reproduction_and_every_reproduction_a_paper() -> None:
    assert [p.slug for p in catalogue().values() if p.implemented and not p.reproduction] == []


def test_methods_that_are_named_sit_in_a_table_or_are_planned() -> None:
    planned = [
        f"{p.slug}: {method}"
        for p in catalogue().values()
        if p.implemented
        for method in p.methods
        if method.partition(".")[2] not in table(method.partition(".")[0])
    ]
    assert planned == []


def test_a_mistyped_slug_gets_a_suggestion() -> None:
    with pytest.raises(UnknownMethod, match="did you mean 'vendi'"):
        paper("vend")
