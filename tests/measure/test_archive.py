import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.measure.archive import grid_archive

UNIT = [(0.0, 1.0)] * 2


def test_the_best_of_a_cell_is_kept():
    points = [[0.1, 0.1], [0.2, 0.2], [0.9, 0.9]]
    found = grid_archive(points, [1.0, 3.0, -1.0], cells=2, ranges=UNIT)
    assert found == {"coverage": 0.5, "qd_score": 2.0, "num_elites": 2, "obj_max": 3.0}


def test_the_offset_keeps_a_filled_cell_from_costing():
    points = [[0.1, 0.1], [0.9, 0.9]]
    assert grid_archive(points, [1.0, -1.0], cells=2, ranges=UNIT, offset=-1.0)["qd_score"] == 2.0


def test_the_range_of_the_data_may_be_flat():
    assert grid_archive([[0.0, 5.0], [1.0, 5.0]], [1.0, 1.0], cells=2)["num_elites"] == 2


def test_bad_input():
    with pytest.raises(BadInput, match="measures is empty"):
        grid_archive(np.zeros((0, 2)), [])
    with pytest.raises(BadInput, match="2 finite numbers"):
        grid_archive([[0.0], [1.0]], [1.0, np.nan])
    with pytest.raises(BadInput, match="2 measures, but 3 numbers of cells"):
        grid_archive([[0.0, 1.0]], [1.0], cells=[2, 2, 2])
    with pytest.raises(BadInput, match="low end"):
        grid_archive([[0.0]], [1.0], ranges=[(1.0, 1.0)])
