"""Buckets, their names, their penalties, and reading records."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from polyculture.errors import BadInput
from polyculture.privacy.columns import Column, encode, learn_columns, read_columns
from polyculture.privacy.generalisation import Generalisation, Groups, Intervals, renumber

AGE = Column("age", None, 20.0, 60.0)
JOB = Column("job", (None, "clerk", "cook"))


def test_intervals() -> None:
    part = Intervals(AGE, (30.0, 45.0))
    assert part.buckets(np.array([-5, 29.9, 30, 44, 45, 99])).tolist() == [0, 0, 1, 1, 2, 2]
    assert part.labels() == ["< 30", "[30, 45)", ">= 45"]
    assert part.ncp().tolist() == [0.25, 0.375, 0.375]
    assert Intervals(AGE).labels() == ["any"] and Intervals(AGE).ncp().tolist() == [1]
    assert Intervals(Column("flat", None, 3.0, 3.0)).ncp().tolist() == [1]
    assert Intervals(AGE, (10.0,)).ncp().tolist() == [0, 1], "a border outside the range bounds nothing"
    with pytest.raises(BadInput, match="ascend"):
        Intervals(AGE, (45.0, 30.0))


def test_groups() -> None:
    part = Groups(JOB, (0, 1, 0), usual=1)
    assert part.buckets(np.array([0, 1, 2, -1])).tolist() == [0, 1, 0, 1]
    assert part.labels() == ["(missing) | cook", "clerk"]
    assert part.ncp().tolist() == pytest.approx([2 / 3, 1 / 3])
    assert Groups(JOB, (0, 0, 0)).labels() == ["any"] and Groups(Column("c", ("x",)), (0,)).labels() == ["x"]
    with pytest.raises(BadInput, match="one bucket for each category"):
        Groups(JOB, (0, 1))
    with pytest.raises(BadInput, match="without gaps"):
        Groups(JOB, (0, 2, 0))


def test_statistics_and_one_hot() -> None:
    found = Generalisation((Intervals(AGE, (30.0,)), Groups(JOB, (0, 1, 1))))
    buckets = found.buckets(np.array([[20, 0], [25, 0], [40, 1], [40, 2]]))
    assert found.one_hot(buckets).tolist() == [[1, 0, 1, 0], [1, 0, 1, 0], [0, 1, 0, 1], [0, 1, 0, 1]]
    statistics = found.statistics(buckets)
    assert statistics.n_distinct == 2 and statistics.class_sizes == (2, 2) and statistics.used_fraction == 0.5
    assert statistics.gcp == pytest.approx(2 * (0.25 + 1 / 3) + 2 * (0.75 + 2 / 3))
    assert found.names() == ["age=< 30", "age=>= 30", "job=(missing)", "job=clerk | cook"]


def test_json() -> None:
    found = Generalisation((Intervals(AGE, (30.0,)), Groups(JOB, (0, 1, 1), 1)))
    assert Generalisation.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    with pytest.raises(BadInput, match="neither borders nor a mapping"):
        Generalisation.from_dict({"attributes": [{"name": "age"}]})


def test_renumber() -> None:
    assert renumber([]) == () and renumber(np.array([5, 5, 2])) == (0, 0, 1)


def test_reading() -> None:
    frame = pd.DataFrame({"age": [30, 40], "job": ["cook", None], "old": [True, False]})
    columns = learn_columns(frame)
    assert [c.continuous for c in columns] == [True, False, False]
    assert columns[1].categories == (None, "cook") and columns[2].categories == (False, True)
    assert encode(frame, columns).tolist() == [[30, 1, 1], [40, 0, 0]]
    assert [c.continuous for c in learn_columns([["a", 1.0], ["b", 2.0]])] == [False, True]
    whole = learn_columns(np.array([[1.0], [2.0]]), categorical=("x0",))
    assert whole[0].categories == (1, 2) and encode([[2]], whole).tolist() == [[1]]
    assert learn_columns(frame.astype({"job": "category"}))[1].categories == (None, "cook")


def test_every_kind_of_nothing() -> None:
    frame = pd.DataFrame({"n": pd.array([1, None], dtype="Int64"), "s": pd.array(["a", None], dtype="string")})
    with pytest.raises(BadInput, match="column 'n' row 1: a missing value among numbers"):
        learn_columns(frame)
    assert learn_columns(frame[["s"]])[0].categories == (None, "a")
    assert learn_columns(pd.DataFrame({"o": [None, float("nan"), "x"]}, dtype=object))[0].categories == (None, "x")


def test_bad_tables() -> None:
    for X, message in (
        (csr_matrix(np.eye(2)), "sparse"),
        (np.zeros(3), "two dimensions"),
        (np.zeros((0, 2)), "no rows"),
        (np.zeros((2, 0)), "no columns"),
        (pd.DataFrame(np.zeros((1, 2)), columns=["a", "a"]), "two columns are named 'a'"),
    ):
        with pytest.raises(BadInput, match=message):
            read_columns(X)
    columns = learn_columns(np.array([[1.0], [2.0]]))
    with pytest.raises(BadInput, match="column 'x0' row 1: 'many' is not a number"):
        encode(np.array([[1.0], ["many"]], dtype=object), columns)
