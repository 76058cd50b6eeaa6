from __future__ import annotations

import numpy as np
import pytest

from polyculture.errors import BadInput, UnknownMethod
from polyculture.synthesize.copy_paste import Annotated, boxes_of, paste


def square(y: int, x: int, side: int) -> np.ndarray:
    mask = np.zeros((10, 12), dtype=np.int64)
    mask[y : y + side, x : x + side] = 1
    return mask


def scene(*masks: np.ndarray, value: int = 0, channels: int = 3) -> Annotated:
    stacked = np.stack(masks) if masks else np.zeros((0, 10, 12), dtype=np.int64)
    return Annotated(np.full((channels, 10, 12), value), stacked, np.arange(len(masks)))


def test_boxes() -> None:
    masks = np.stack([square(2, 3, 4), np.zeros((10, 12), dtype=np.int64)])
    assert boxes_of(masks).tolist() == [[3, 2, 7, 6], [0, 0, 0, 0]]


def test_what_is_covered_loses_its_pixels_or_goes() -> None:
    below = scene(square(0, 0, 4), square(5, 5, 4), square(1, 8, 3))
    found = paste(below, scene(square(5, 5, 3), value=9), max_shift=0, min_area=6)
    assert found.labels.tolist() == [0, 1, 2, 0]
    assert found.areas.tolist() == [16, 7, 9, 9]
    assert found.image.sum() == 3 * 9 * 9 and found.boxes[1].tolist() == [5, 5, 9, 9]
    whole = paste(below, scene(square(4, 4, 6)), max_shift=1, min_area=6)
    assert whole.labels.tolist() == [0, 2, 0], "nothing is left of the second"


def test_a_small_object_in_the_corner_goes_when_nothing_is_left_of_it() -> None:
    below, above = scene(square(0, 0, 2)), scene(square(0, 0, 3))
    assert len(paste(below, above).labels) == 1
    assert len(paste(below, above, drop_covered=False).labels) == 2


def test_nothing_to_paste_changes_nothing() -> None:
    below = scene(square(0, 0, 2), value=7)
    assert paste(below, scene(value=3)) is below
    alone = paste(scene(), scene(square(1, 1, 2), value=3))
    assert alone.labels.tolist() == [0] and alone.image.max() == 3


def test_blends() -> None:
    below, above = scene(value=100), scene(square(2, 2, 5), value=200)
    seen = Annotated(np.concatenate([above.image, np.full((1, 10, 12), 128)]), above.masks, above.labels)
    assert (paste(below, seen, blend="alpha").image == int(100 * (1 - 128 / 255) + 200 * 128 / 255)).all()
    soft = paste(below, above, blend="gaussian").image
    assert soft[0, 4, 4] > soft[0, 2, 2] > soft[0, 0, 0] >= 100
    # A flat source has no gradients: the destination closes over it.
    assert np.abs(paste(below, above, blend="poisson").image - 100).max() <= 1
    peak = np.clip(60 - 10 * ((np.arange(10)[:, None] - 4) ** 2 + (np.arange(12) - 4) ** 2), 0, None)
    bump = Annotated(np.tile(peak, (3, 1, 1)), above.masks, above.labels)
    mixed = paste(below, bump, blend="poisson").image[0]
    assert mixed[4, 4] > mixed[4, 3] > 100, "the shape of the source on the colour of the destination"
    assert (mixed[0] == 100).all()


def test_refuses() -> None:
    with pytest.raises(BadInput, match="10 x 12"):
        paste(scene(), Annotated(np.zeros((3, 4, 4)), np.ones((1, 4, 4)), np.zeros(1)))
    with pytest.raises(BadInput, match="four channels"):
        paste(scene(), scene(square(0, 0, 2)), blend="alpha")
    with pytest.raises(UnknownMethod, match="blend"):
        paste(scene(), scene(square(0, 0, 2)), blend="magic")  # type: ignore[arg-type]
