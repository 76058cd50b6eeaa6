from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.llm.scripted import ScriptedLLM
from polyculture.synthesize.copy_paste import Annotated
from polyculture.synthesize.instances import SUFFIX, CopyPaste, clean, object_mask, orders, varied_prompts


def test_prompts_are_different_and_keep_the_background() -> None:
    replies = [
        f"1. A red teapot\n- a red teapot.\nA glass teapot, {SUFFIX}\n\n",
        "An ink drawing of a teapot\nA tin teapot",
    ]
    asked: list[str] = []

    def reply(prompt: object, sample: int, random: object) -> str:
        asked.append(str(prompt))
        return replies[len(asked) - 1]

    found = varied_prompts(ScriptedLLM(reply), "teapot", "a pot for tea", 3)
    assert found == [f"A red teapot, {SUFFIX}", f"A glass teapot, {SUFFIX}", f"An ink drawing of a teapot, {SUFFIX}"]
    assert "Write 3 different" in asked[0] and "Write 1 different" in asked[1]
    with pytest.raises(BadInput, match="1 or more"):
        varied_prompts(ScriptedLLM(reply), "teapot", "", 0)


def test_orders_are_shared_evenly() -> None:
    held = list(orders({"cat": ["c1", "c2"], "dog": ["d1"]}, ["sd", "if"], 16))
    assert Counter(o.category for o in held) == {"cat": 8, "dog": 8}
    assert set(Counter((o.category, o.generator) for o in held).values()) == {4}
    assert Counter((o.generator, o.prompt) for o in held if o.category == "cat")["sd", "c2"] == 2
    assert len({o.seed for o in held}) == 16
    with pytest.raises(BadInput, match=r"without a prompt: \['dog'\]"):
        list(orders({"cat": ["c"], "dog": []}, ["sd"], 2))


def test_corners_are_background() -> None:
    image = np.zeros((3, 6, 9))

    def segment(image: np.ndarray, points: np.ndarray) -> np.ndarray:
        assert sorted(points.tolist()) == [[0, 0], [0, 5], [8, 0], [8, 5]], "points are (x, y)"
        background = np.ones((6, 9))
        background[2:4, 3:7] = 0
        return np.stack([np.zeros((6, 9)), np.zeros((6, 9)), background])

    assert object_mask(image, segment).sum() == 8


def test_clean_takes_the_largest_part() -> None:
    alpha = np.zeros((8, 8))
    alpha[1:4, 2:6] = 255
    alpha[6, 6] = 255
    alpha[7, 0] = 100
    cut = clean(np.full((3, 8, 8), 7, dtype=np.uint8), alpha)
    assert cut is not None and cut.shape == (4, 3, 4) and (cut[3] == 255).all() and cut.dtype == np.uint8
    assert clean(np.zeros((3, 8, 8)), np.zeros((8, 8))) is None
    line = np.zeros((8, 8))
    line[2] = 255
    assert clean(np.zeros((3, 8, 8)), line) is None


def test_pastes_categories_evenly() -> None:
    cut = np.full((4, 6, 6), 255, dtype=np.uint8)
    paster = CopyPaste({0: [cut] * 50, 1: [cut], 2: []}, areas={1: (0.2, 0.02)}, min_area=-1)
    empty = Annotated(
        np.zeros((3, 60, 80), dtype=np.uint8), np.zeros((0, 60, 80), dtype=np.int64), np.zeros(0, dtype=np.int64)
    )
    labels: list[int] = []
    for seed in range(40):
        found = paster(empty, seed)
        labels += found.labels.tolist()
        assert len(found.labels) == len(found.masks) <= 19
        assert found.image.dtype == np.uint8
    counts = Counter(labels)
    assert set(counts) == {0, 1} and 0.6 < counts[0] / counts[1] < 1.6
    assert CopyPaste({0: [cut]}, most=0)(empty, 0) is empty
    with pytest.raises(BadInput, match="no instance"):
        CopyPaste({0: []})(empty)
