from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.select.distilled import Distilled
from polyculture.select.teacher import Images


def test_a_set_is_made_and_judged(run: Callable[..., Any], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(80) % 2
    X = rng.random((80, 8, 8)) + y[:, None, None]
    np.savez(tmp_path / "d.npz", X=X, y=np.array(["a", "b"])[y])
    quick = ("--iterations", 5, "--epochs", 3, "--lessons", 5)
    found = run("distill", "d.npz", "-k", 2, "--method", "dwa", *quick, "--json").json
    assert found["images"] == 4 and found["classes"] == 2
    assert Distilled.load(tmp_path / "distilled.safetensors").X.shape == (4, 1, 8, 8)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.ones((3, 8)), [0, 1, 0], r"images should be"),
        (-np.ones((2, 8, 8)), [0, 1], "0 or more"),
        (np.ones((2, 8, 8)), [1, 1], "one class only"),
    ],
)
def test_images_that_cannot_be_used(X: Any, y: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Images.of(X, np.asarray(y))


def test_a_file_that_is_not_there_or_no_archive(run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_text("no")
    assert "no such file" in run("distill", "nowhere.npz", "-k", 1).err
    assert "should be an .npz file" in run("distill", "x.npz", "-k", 1).err
