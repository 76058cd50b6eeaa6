from __future__ import annotations

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.pool import Pool
from polyculture.quality.columns import label_columns, numbers, with_columns
from polyculture.reading import read_pool


@pytest.fixture
def pool() -> Pool:
    return with_columns(Pool.from_arrays(texts=["a", "b", "c"], source="s.jsonl"), x=[1, 2, 3], y=np.array([0.5, 1, 2]))


def test_numbers_in_the_order_asked_for(pool: Pool) -> None:
    assert numbers(pool, ["y", "x"]).tolist() == [[0.5, 1], [1, 2], [2, 3]]
    assert numbers(pool.take([2, 0]), ["x"]).tolist() == [[3], [1]]
    assert numbers(pool.take([]), ["x"]).shape == (0, 1)


def test_numbers_of_a_file(tmp_path: object) -> None:
    path = f"{tmp_path}/rows.jsonl"
    with open(path, "w") as file:
        file.write('{"text": "a", "score": 2}\n{"text": "b", "score": null}\n')
    held = read_pool(path)
    assert numbers(held, ["score"], allow_nan=True)[0, 0] == 2
    assert np.isnan(numbers(held, ["score"], allow_nan=True)[1, 0])
    with pytest.raises(BadInput, match=r"row 2: column 'score' is None.*number"):
        numbers(held, ["score"])


def test_labels_are_told_apart_together(pool: Pool) -> None:
    held = with_columns(pool, maker=["m", "m", "n"], prompt=["p", "q", "p"])
    assert label_columns(held, ["maker"], option="within").tolist() == [0, 0, 1]
    assert label_columns(held, ["maker", "prompt"], option="within").tolist() == [0, 1, 2]
    with pytest.raises(BadInput, match="no row has the column 'model' that within names"):
        label_columns(held, ["model"], option="within")


def test_a_column_is_replaced(pool: Pool) -> None:
    assert numbers(with_columns(pool, x=[7, 8, 9]), ["x"]).ravel().tolist() == [7, 8, 9]


def test_refuses(pool: Pool) -> None:
    with pytest.raises(BadInput, match=r"row 1: column 'xx', named by margin, is missing \(did you mean 'x'"):
        numbers(pool, ["xx"], option="margin")
    with pytest.raises(BadInput, match="has no columns"):
        numbers(Pool.from_arrays(quality=[1.0]), ["x"])
    with pytest.raises(BadInput, match="has 2 rows, the pool has 3"):
        with_columns(pool, z=[1, 2])
    with pytest.raises(BadInput, match="should be finite"):
        numbers(with_columns(pool, x=[1.0, np.inf, 2.0]), ["x"], allow_nan=True)
