"""Runs and benefits from files and arrays, and what is wrong with bad ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from polyculture.errors import BadInput, UnknownMethod
from polyculture.mix.benefits import Benefits
from polyculture.mix.runs import Runs

GOOD = """run,mixture,progress,w:web,w:code,accuracy,loss:code,seconds,note
a1,m1,0.5,0.25,0.75,60,1.5,3,first
a2,m1,1.0,0.25,0.75,70,1.25,3,
b1,m2,1.0,1,0,50,2,3,
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "runs.csv"
    path.write_text(text)
    return path


def test_columns_by_their_names(tmp_path: Path) -> None:
    runs = Runs.read(write(tmp_path, GOOD))
    assert runs.groups == ("web", "code") and runs.scores == ("accuracy", "loss:code")
    assert runs.minimise.tolist() == [False, True] and runs.n_mixtures == 2
    assert runs.progress.tolist() == [0.5, 1, 1] and runs.mixture.tolist() == [0, 0, 1]
    assert runs.gains[0].tolist() == [60, -1.5]
    assert runs.take([2]).weights.tolist() == [[1, 0]]


def test_columns_that_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, "web,code,err\n.5,.5,3\n1,0,4\n")
    runs = Runs.read(path, weights=["web", "code"], minimise=["err"])
    assert runs.scores == ("err",) and runs.minimise.tolist() == [True]
    assert runs.mixture.tolist() == [0, 1] and runs.progress.tolist() == [1, 1]
    assert Runs.read(path, weights=["web", "code"], scores=["code"]).scores == ("code",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a,b\n1,2\n", "no weight columns.*--weights.*a, b"),
        ("w:a,w:b\n1,0\n", "no score columns.*--scores"),
        ("w:a,w:b,s\n", "no score columns"),
        ("w:a,w:a,s\n1,0,1\n", "column 'w:a' is there twice"),
        ("w:a,w:b,s\n1,0\n", "line 2: 2 fields, the header names 3"),
        ("w:a,w:b,s\n1,0,1\n1,x,1\n", r"line 3: 'w:b' should be a number, not 'x'.*--on-bad-row skip"),
        ("w:a,w:b,s\n1,0,1\n1,0,\n", "line 3: 's' is missing"),
        ("w:a,w:b,s\n1,0,1\n0,1,nan\n", "line 3: 's' should be a number, not 'nan'"),
        ("w:a,w:b,s\n1.5,-.5,1\n", "a weight is negative in row 1"),
        ("w:a,w:b,s\n0,0,1\n", "every weight is 0 in row 1"),
        ("w:a,w:b,progress,s\n1,0,0,1\n", "progress should be"),
        ("mixture,w:a,w:b,s\nm,1,0,1\nm,0,1,1\n", "same mixture label have different weights"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Runs.read(write(tmp_path, text))


def test_a_missing_file_and_mistyped_columns(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="can't read"):
        Runs.read(tmp_path / "none.csv")
    path = write(tmp_path, GOOD)
    with pytest.raises(UnknownMethod, match="did you mean 'accuracy'"):
        Runs.read(path, scores=["acuracy"])
    with pytest.raises(UnknownMethod, match="no score 'note'"):
        Runs.read(path, minimise=["note"])


def test_bad_rows_can_be_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, "w:a,w:b,s\n1,0,1\n1,0,nan\n0,1,3\n")
    with pytest.warns(UserWarning, match="left out 1 bad rows"):
        assert Runs.read(path, on_bad_row="skip").values.ravel().tolist() == [1, 3]


def test_sums_other_than_one_are_divided_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="sum to 100 instead of 1 in row 1, 2"):
        runs = Runs.from_arrays([[25, 75], [50, 50]], [1, 2])
    np.testing.assert_allclose(runs.weights, [[0.25, 0.75], [0.5, 0.5]])


def test_bad_arrays() -> None:
    for weights, values, message in (
        ([[1, 0]], [1, 2], r"\(n, m\) and scores \(n, k\)"),
        (np.empty((0, 2)), [], "there are no runs"),
        ([[1, 0]], [[np.inf]], "NaN or infinite in row 1"),
        ([[1, np.nan]], [1], "NaN or infinite in row 1"),
        ([[1, 0]], np.empty((1, 0)), "no scores"),
    ):
        with pytest.raises(BadInput, match=message):
            Runs.from_arrays(weights, values)
    with pytest.raises(BadInput, match="1 group and 1 score names"):
        Runs.from_arrays([[1, 0]], [1], groups=["a"])


def test_benefits_and_their_file(tmp_path: Path) -> None:
    held = Benefits.of([[1, -0.1], [0.3, 2]], groups=["web", "code"], tasks=["qa", "maths"])
    held.write(tmp_path / "b.csv")
    again = Benefits.read(tmp_path / "b.csv")
    assert again.groups == held.groups and again.tasks == held.tasks
    np.testing.assert_array_equal(again.values, held.values)
    assert Benefits.read(tmp_path / "b.csv", weights=["code"]).groups == ("code",)
    with pytest.raises(BadInput, match="group 'code' for task 'task0' is NaN"):
        Benefits.of([[1, np.nan]], groups=["web", "code"])
    with pytest.raises(BadInput, match="at least one of each"):
        Benefits.of([])
    (tmp_path / "bad.csv").write_text("task,web\nqa,many\n")
    with pytest.raises(BadInput, match=r"line 2.*numbers"):
        Benefits.read(tmp_path / "bad.csv")
