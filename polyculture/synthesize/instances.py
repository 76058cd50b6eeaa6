"""Varied generated objects: what to ask for, of which generator, and how to cut out and place what comes back.

DiverGen: Improving Instance Segmentation by Learning Wider Data Distribution with More Diverse Generative Data (2024),
Section 3.2 and its released code. Generators and segmenters are functions that are handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from polyculture.errors import BadInput
from polyculture.llm.base import LLM, Sampling
from polyculture.synthesize.copy_paste import Annotated, Blend, boxes_of, paste

SUFFIX = "on a plain white background"

VARIED = """Write {n} different descriptions, one line each, of a photo of exactly one {category} ({definition}). \
Vary colour, material, style and medium. Always a single object, {suffix}. Give the lines only, without numbers."""

Segmenter = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""An image (channels, H, W) and points (p, 2) as (x, y) -> masks (3, H, W), from the finest to the coarsest."""


def base_prompt(category: str, definition: str) -> str:
    """The plain prompt of a category.

    >>> base_prompt("teapot", "a pot for brewing tea")
    'a photo of a single teapot, a pot for brewing tea, on a plain white background'
    """
    return f"a photo of a single {category}, {definition}, {SUFFIX}"


def varied_prompts(
    llm: LLM, category: str, definition: str, n: int, *, rounds: int = 3, temperature: float = 1.0, seed: int = 0
) -> list[str]:
    """Different one-line prompts for a category, written by a language model; at most n, without repeats.

    Args:
        llm: what writes them.
        category: its name.
        definition: what it means, from a dictionary.
        n: how many; 32 or 128 in the paper.
        rounds: how often it is asked at most, for what is still missing.
        temperature: of the replies.
        seed: of the replies.

    Raises:
        BadInput: n or rounds is below 1.
    """
    if n < 1 or rounds < 1:
        raise BadInput(f"n and rounds should be 1 or more, not {n} and {rounds}")
    found: dict[str, str] = {}
    for attempt in range(rounds):
        asked = VARIED.format(n=n - len(found), category=category, definition=definition, suffix=SUFFIX)
        sampling = Sampling(max_tokens=48 * n, temperature=temperature)
        ((reply,),) = llm.generate([asked], sampling=sampling, seed=seed + attempt)
        for line in reply.text.splitlines():
            text = line.strip().lstrip("-*0123456789.) ").strip().rstrip(".")
            if text:
                whole = text if SUFFIX in text.lower() else f"{text}, {SUFFIX}"
                found.setdefault(whole.lower(), whole)
        if len(found) >= n:
            break
    return list(found.values())[:n]


@dataclass(frozen=True)
class Order:
    """One image to generate."""

    category: str
    prompt: str
    generator: str
    seed: int


def orders(
    prompts: Mapping[str, Sequence[str]], generators: Sequence[str], n: int, *, seed: int = 0
) -> Iterator[Order]:
    """What to generate: equal shares of every category, in it of every generator, and in turn of every prompt.

    Args:
        prompts: category -> its prompts. Categories beyond those of the task widen the distribution (up to 250 of them
            help in the paper); drop their logits when the trained model is used.
        generators: names of the generators.
        n: images in all.
        seed: the first image's seed; each has its own.

    Raises:
        BadInput: there is no category or generator, or a category has no prompt.
    """
    empty = [category for category, held in prompts.items() if not held]
    if not prompts or not generators or empty:
        raise BadInput(f"orders need categories with prompts and a generator; without a prompt: {empty or 'none'}")
    categories = list(prompts)
    for i in range(n):
        turn, place = divmod(i, len(categories))
        round_, maker = divmod(turn, len(generators))
        held = prompts[categories[place]]
        yield Order(categories[place], held[round_ % len(held)], generators[maker], seed + i)


def object_mask(image: np.ndarray, segment: Segmenter, *, margin: int = 0) -> np.ndarray:
    """The object on a plain background, (H, W) bool: all but what the segmenter finds around the four corners.

    The corners are given as points of the foreground; the coarsest of the three masks is the background.

    Args:
        image: (channels, H, W).
        segment: the segmenter.
        margin: pixels between the points and the corners.
    """
    height, width = image.shape[1:]
    x, y = (margin, width - 1 - margin), (margin, height - 1 - margin)
    masks = segment(image, np.array([(a, b) for a in x for b in y]))
    return ~(np.asarray(masks)[-1] > 0)


def clean(image: np.ndarray, alpha: np.ndarray) -> np.ndarray | None:
    """The largest connected part of an object, cut out tightly, (4, h, w); None where there is none, or only a line.

    Args:
        image: (3, H, W) from 0 to 255.
        alpha: (H, W) opacity from 0 to 255; above 128 is the object.
    """
    from scipy.ndimage import label

    parts, count = label(np.asarray(alpha) > 128)
    if not count:
        return None
    largest = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    x0, y0, x1, y1 = boxes_of(largest[None])[0]
    if x1 - x0 < 2 or y1 - y0 < 2:
        return None
    cut = np.concatenate([np.where(largest, image, 0), 255 * largest[None]])
    return cut[:, y0:y1, x0:x1].astype(np.asarray(image).dtype)


@dataclass(eq=False)
class CopyPaste:
    """Pastes a random number of instances into an image: any category that has one as likely, then any of its own.

    Args:
        instances: category code -> cut-out objects, (4, h, w) each, as :func:`clean` gives them.
        most: instances an image gets at most; their number is uniform from 0 to it.
        areas: category code -> mean and standard deviation of the side of its objects, as a share of the image's; a
            category without an entry is scaled by a share drawn from ``scale``.
        scale: least and largest side of the others, as a share of the image's.
        blend: see :func:`paste`.
        max_shift: see :func:`paste`.
        min_area: see :func:`paste`.
    """

    instances: Mapping[int, Sequence[np.ndarray]]
    most: int = 19
    areas: Mapping[int, tuple[float, float]] | None = None
    scale: tuple[float, float] = (0.05, 0.3)
    blend: Blend = "basic"
    max_shift: float = 10
    min_area: float = 300

    def __call__(self, destination: Annotated, rng: np.random.Generator | int | None = None) -> Annotated:
        """The image with pasted instances, one over the other in the order they were drawn.

        Raises:
            BadInput: every category is empty.
        """
        source = np.random.default_rng(rng)
        codes = [code for code, held in self.instances.items() if len(held)]
        if not codes:
            raise BadInput("there is no instance to paste; every category is empty")
        result = destination
        for _ in range(int(source.integers(self.most + 1))):
            code = codes[int(source.integers(len(codes)))]
            held = self.instances[code]
            result = self._pasted(result, held[int(source.integers(len(held)))], code, source)
        return result

    def _pasted(self, below: Annotated, cut: np.ndarray, code: int, rng: np.random.Generator) -> Annotated:
        from scipy.ndimage import zoom

        height, width = below.image.shape[1:]
        side = self._side(code, height, width, rng)
        factor = side / np.sqrt(cut.shape[1] * cut.shape[2])  # the area becomes side^2, the shape stays
        factor = min(factor, height / cut.shape[1], width / cut.shape[2])
        small = np.stack([zoom(channel, max(factor, 1 / min(cut.shape[1:])), order=1) for channel in cut])
        small = small[:, :height, :width]
        y, x = (int(rng.integers(room + 1)) for room in (height - small.shape[1], width - small.shape[2]))
        canvas = np.zeros((4, height, width), dtype=below.image.dtype)
        canvas[:, y : y + small.shape[1], x : x + small.shape[2]] = small
        mask = canvas[3:] > 128
        if not mask.any():
            return below
        above = Annotated(canvas, mask.astype(np.int64), np.array([code]))
        return paste(below, above, blend=self.blend, max_shift=self.max_shift, min_area=self.min_area)

    def _side(self, code: int, height: int, width: int, rng: np.random.Generator) -> float:
        """Side of the square of an instance's area, in pixels: side^2 = clip(N(mean, std), 10 / H, 0.5)^2 H W."""
        if self.areas is not None and code in self.areas:
            share = float(np.clip(rng.normal(*self.areas[code]), 10 / height, 0.5))
        else:
            share = float(rng.uniform(*self.scale))
        return share * float(np.sqrt(height * width))
