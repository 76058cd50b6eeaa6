"""Copy-paste: cut-out objects put into real images, with the masks and boxes of what they cover mended.

DiverGen: Improving Instance Segmentation by Learning Wider Data Distribution with More Diverse Generative Data (2024),
augmentation, after Ghiasi et al., Simple Copy-Paste is a Strong Data Augmentation Method (2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from polyculture.errors import BadInput, unknown

Blend = Literal["basic", "alpha", "gaussian", "poisson"]


@dataclass(frozen=True)
class Annotated:
    """An image and the objects in it.

    Args:
        image: (channels, H, W) from 0 to 255; a fourth channel is opacity.
        masks: (objects, H, W) 0 or 1.
        labels: (objects,) category of each.
    """

    image: np.ndarray
    masks: np.ndarray
    labels: np.ndarray

    @property
    def boxes(self) -> np.ndarray:
        """Box of each mask, (objects, 4) int64."""
        return boxes_of(self.masks)

    @property
    def areas(self) -> np.ndarray:
        """Pixels of each mask, (objects,) int64."""
        return np.array([np.count_nonzero(mask) for mask in np.asarray(self.masks)], dtype=np.int64)


def boxes_of(masks: Any) -> np.ndarray:
    """(x0, y0, x1 + 1, y1 + 1) of each mask, (objects, 4) int64; all zero for an empty one."""
    held = np.asarray(masks) > 0
    found = np.zeros((len(held), 4), dtype=np.int64)
    for i, mask in enumerate(held):
        ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if len(ys):
            found[i] = xs[0], ys[0], xs[-1] + 1, ys[-1] + 1
    return found


def paste(
    destination: Annotated,
    source: Annotated,
    *,
    blend: Blend = "basic",
    max_shift: float = 10,
    min_area: float = 300,
    drop_covered: bool = True,
    sigma: float = 1.0,
) -> Annotated:
    """Paste the objects of one image at their place into another of the same size.

    With U the union of the pasted masks, objects underneath lose U; one survives if every coordinate of its box moved
    by at most ``max_shift`` pixels, or more than ``min_area`` pixels of it are left.

    Args:
        destination: what is pasted into.
        source: what is pasted: an image of the same height and width, and its objects.
        blend: "basic" takes the pixels of U; "alpha" mixes by the source's fourth channel, without U, and cuts off to
            whole numbers; "gaussian" mixes by a blurred U; "poisson" keeps the gradients of the source inside U and
            the destination's colours at its border.
        max_shift: pixels.
        min_area: pixels.
        drop_covered: drop an object of which nothing is left, even if its box moved little (a small one in the
            corner, whose empty box is at 0).
        sigma: width of the blur of "gaussian", in pixels.

    Returns:
        The image with surviving objects in their order, then the pasted ones. Without objects to paste, all as it was.

    Raises:
        BadInput: sizes differ, or "alpha" lacks the fourth channel.
    """
    old, new = np.asarray(destination.masks), np.asarray(source.masks)
    size = np.asarray(destination.image).shape[1:]
    for name, held in (("source image", source.image), ("destination masks", old), ("source masks", new)):
        if len(held) and np.asarray(held).shape[1:] != size:
            raise BadInput(f"{name} should be {size[0]} x {size[1]} like the image pasted into; crop or pad first")
    if not len(new):
        return destination
    union = np.asarray((new > 0).any(axis=0))
    image = _blended(np.asarray(destination.image), np.asarray(source.image), union, blend, sigma)
    old = old.reshape(-1, *size)
    left = np.where(union, 0, old)
    moved = np.abs(boxes_of(left) - boxes_of(old)).max(axis=1, initial=0)
    areas = left.sum(axis=(1, 2))
    stays = (moved <= max_shift) | (areas > min_area)
    if drop_covered:
        stays &= areas > 0
    labels = np.asarray(source.labels).ravel()
    if stays.any():
        labels = np.concatenate([np.asarray(destination.labels).ravel()[stays], labels])
    return Annotated(image, np.concatenate([left[stays], new]).astype(new.dtype), labels)


def _blended(below: np.ndarray, above: np.ndarray, union: np.ndarray, blend: Blend, sigma: float) -> np.ndarray:
    if blend == "basic":
        return np.where(union, above[: len(below)], below)
    if blend == "alpha":
        if len(above) != 4:
            raise BadInput(f"blend 'alpha' needs a source image of four channels, not {len(above)}")
        share = above[3] / 255
        return np.trunc(below * (1 - share) + above[: len(below)] * share).astype(below.dtype)
    if blend == "gaussian":
        from scipy.ndimage import gaussian_filter

        share = gaussian_filter(union.astype(np.float64), sigma)
        return np.trunc(below * (1 - share) + above[: len(below)] * share).astype(below.dtype)
    if blend == "poisson":
        return _poisson(below, above[: len(below)], union)
    raise unknown("blend", blend, ("basic", "alpha", "gaussian", "poisson"))


def _poisson(below: np.ndarray, above: np.ndarray, union: np.ndarray) -> np.ndarray:
    """Solve Laplace f = Laplace source inside U, with f the destination around it (Perez et al., 2003)."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.linalg import spsolve

    ys, xs = np.nonzero(union)
    number = np.full(union.shape, -1)
    number[ys, xs] = np.arange(len(ys))
    rows, columns, values = [np.arange(len(ys))], [np.arange(len(ys))], []
    degree = np.zeros(len(ys))
    right = np.zeros((len(below), len(ys)))
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        y, x = ys + dy, xs + dx
        inside = (y >= 0) & (y < union.shape[0]) & (x >= 0) & (x < union.shape[1])
        degree += inside
        here, y, x = np.flatnonzero(inside), y[inside], x[inside]
        right[:, here] += above[:, ys[here], xs[here]].astype(np.float64) - above[:, y, x]
        within = number[y, x] >= 0
        rows.append(here[within])
        columns.append(number[y, x][within])
        values.append(np.full(int(within.sum()), -1.0))
        right[:, here[~within]] += below[:, y[~within], x[~within]]
    if union.all():
        return above.astype(below.dtype)  # no border to agree with
    matrix = coo_matrix((np.concatenate([degree, *values]), (np.concatenate(rows), np.concatenate(columns)))).tocsc()
    found = below.astype(np.float64)
    found[:, ys, xs] = np.stack([spsolve(matrix, side) for side in right])
    return np.clip(np.rint(found), 0, 255).astype(below.dtype)
