"""Attributes: how many different tags a data set holds, and how evenly it holds them.

After InsTag ("#InsTag", 2023), as surveyed in "Surveying the Effects of Quality, Diversity, and Complexity in
Synthetic Data From Large Language Models" (2024). A tag that a sample holds twice counts once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Hashable, Sequence

from polyculture.errors import BadInput

Tags = Sequence[Sequence[Hashable]]


def n_unique_tags(tags: Tags) -> int:
    """Number of distinct tags in the data set.

    Args:
        tags: one list of tags a sample.
    """
    return len(_document_frequencies(tags))


def tag_coverage(tags: Tags, universe: float | Collection[Hashable]) -> float:
    """Distinct tags over the tags there are; with the tags themselves given, those outside of them don't count.

    Args:
        tags: one list of tags a sample.
        universe: how many tags there are, or which.

    Raises:
        BadInput: the universe is empty.
    """
    size = len(set(universe)) if isinstance(universe, Collection) else universe
    if size < 1:
        raise BadInput("tag_coverage needs a universe of at least one tag")
    found = set(_document_frequencies(tags))
    return len(found & set(universe) if isinstance(universe, Collection) else found) / size


def tag_entropy(tags: Tags) -> float:
    """Entropy in nats of the tags' document frequencies (samples holding each tag, normalised); 0 without tags.

    Args:
        tags: one list of tags a sample.
    """
    frequencies = _document_frequencies(tags).values()
    total = sum(frequencies)
    return max(0.0, -math.fsum(f / total * math.log(f / total) for f in frequencies))


def effective_tags(tags: Tags) -> float:
    """Exponential of :func:`tag_entropy`: how many equally frequent tags would be as varied; 1 without tags.

    Args:
        tags: one list of tags a sample.
    """
    return math.exp(tag_entropy(tags))


def mean_tags(tags: Tags) -> float:
    """Mean number of distinct tags a sample: a measure of complexity.

    Args:
        tags: one list of tags a sample.
    """
    return sum(_document_frequencies(tags).values()) / len(tags)


def _document_frequencies(tags: Tags) -> Counter[Hashable]:
    if not len(tags):
        raise BadInput("measures of tags need at least one sample; the list is empty")
    found: Counter[Hashable] = Counter()
    for row, held in enumerate(tags):
        if isinstance(held, str):
            raise BadInput(f"tags row {row + 1} is one string ('{held[:30]}'); give a list of tags")
        found.update(set(held))
    return found
