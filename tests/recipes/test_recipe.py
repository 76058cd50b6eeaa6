from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from polyculture.errors import BadInput, UnknownMethod
from polyculture.recipes.reading import default_select, load_recipe, parse_recipe

DATA: dict[str, Any] = {"source": "d.jsonl", "text": "prompt, response"}


def test_short_forms_and_defaults() -> None:
    recipe = parse_recipe({"data": DATA, "stages": ["measure", {"select": {"method": "random", "k": 3}}]}, "r")
    assert recipe.data.text == ["prompt", "response"]
    assert [stage.kind for stage in recipe.stages] == ["measure", "select"]
    assert recipe.embedder == "minilm" and recipe.seed == 0


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    recipe = parse_recipe({"data": DATA, "stages": [{"select": {"method": "kmq", "k": 3, "n_clusters": 2}}]}, "r")
    (tmp_path / "r.yaml").write_text(recipe.to_yaml())
    assert load_recipe(tmp_path / "r.yaml") == recipe


WRONG: dict[str, tuple[Any, type[Exception]]] = {
    "should be a mapping": ([], BadInput),
    "data: Field required": ({"stages": ["measure"]}, BadInput),
    "did you mean 'embedder'": ({"data": DATA, "embeder": "tfidf", "stages": ["measure"]}, UnknownMethod),
    "did you mean 'source'": ({"data": {"sources": "x"} | DATA, "stages": ["measure"]}, UnknownMethod),
    "did you mean 'measure'": ({"data": DATA, "stages": ["mesure"]}, UnknownMethod),
    "select needs a method": ({"data": DATA, "stages": ["select"]}, BadInput),
    "needs k": ({"data": DATA, "stages": [{"select": {"method": "random"}}]}, BadInput),
    "k should be a whole number": ({"data": DATA, "stages": [{"select": {"method": "random", "k": 0}}]}, BadInput),
    "did you mean 'kmq'": ({"data": DATA, "stages": [{"select": {"method": "kmk", "k": 3}}]}, UnknownMethod),
    "did you mean 'n_clusters'": (
        {"data": DATA, "stages": [{"select": {"method": "kmq", "k": 3, "n_cluster": 3}}]},
        UnknownMethod,
    ),
    "did you mean 'vendi'": ({"data": DATA, "stages": [{"measure": {"measures": ["vendy"]}}]}, UnknownMethod),
    "no parameter of stage report": ({"data": DATA, "stages": [{"report": {"titel": "x"}}]}, UnknownMethod),
    "stages: .* at least 1": ({"data": DATA, "stages": []}, BadInput),
}


@pytest.mark.parametrize("message", WRONG)
def test_a_wrong_recipe_is_refused_before_any_work(message: str) -> None:
    held, kind = WRONG[message]
    with pytest.raises(kind, match=message):
        parse_recipe(held, "r.yaml")


def test_a_file_that_is_no_yaml(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("a: [")
    with pytest.raises(BadInput, match="is not YAML"):
        load_recipe(tmp_path / "r.yaml")


def test_a_filter_may_leave_k_out() -> None:
    parse_recipe({"data": DATA, "stages": [{"select": {"method": "near-duplicates"}}]}, "r")


def test_the_default_choice_fits_the_pool() -> None:
    assert default_select(groups=False, quality=True) == {"method": "determinantal", "alpha": 1.0}
    assert default_select(groups=True, quality=False)["options"] == {"alpha": 0.0}
