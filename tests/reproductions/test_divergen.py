from __future__ import annotations

import numpy as np
import pytest

from polyculture.reproductions.divergen import GENERATED, reproduce, world
from polyculture.reproductions.finding import Finding


@pytest.fixture(scope="module")
def finding() -> Finding:
    return reproduce(scale="smoke", seed=0)


def test_structure(finding: Finding) -> None:
    assert finding.slug == "divergen" and finding.plot is not None
    assert {"accuracy: real only", "rare: filtered", "gap: unfiltered"} <= set(finding.values)
    assert finding.holds == all(finding.checks.values())


def test_what_is_robust_at_smoke_scale(finding: Finding) -> None:
    assert finding.checks["ten prompts beat one by 0.03"]
    assert finding.checks["ten prompts beat real images alone"]
    assert finding.checks["control: copies stay below the varied"]


def test_splits_are_apart_and_the_filter_finds_wrong_images() -> None:
    held = world(np.random.default_rng(0))
    assert np.bincount(held.real_labels).tolist() == [4] * 5 + [25] * 5
    assert np.bincount(held.source_labels).tolist() == [20] * 10
    assert len(held.real) + len(held.sources) + len(held.test) == 1797
    rng = np.random.default_rng(1)
    right, labels = held.generate(GENERATED, 4, 10, rng)
    wrong, _ = held.generate(GENERATED, 4, 10, rng, wrong=1.0)
    images, both = np.concatenate([right, wrong]), np.concatenate([labels, labels])
    kept = held.filtered(images, both, 0)
    assert np.mean(kept < GENERATED) > 0.65
