"""The reproduction of TiKMiX at smoke scale: its structure, its claim, and its own mathematics."""

from __future__ import annotations

import numpy as np
import pytest

from polyculture.reproductions.finding import Finding
from polyculture.reproductions.tikmix import DOMAINS, NOISE, SYMBOLS, World, reproduce


@pytest.fixture(scope="module")
def finding() -> Finding:
    return reproduce(scale="smoke", seed=0)


def test_the_claim_holds(finding: Finding) -> None:
    assert finding.slug == "tikmix" and finding.plot is not None
    assert finding.holds, {name: value for name, value in finding.checks.items() if not value}


def test_gradient_and_hessian_are_those_of_the_loss() -> None:
    rng = np.random.default_rng(0)
    world = World.draw(rng)
    logits = rng.normal(size=(SYMBOLS, SYMBOLS))
    mixture = np.full(DOMAINS, 1 / DOMAINS)
    gradient = mixture @ world.sampled_gradients(logits, 2_000_000, rng)
    H = world.hessian(logits, mixture)
    direction = rng.normal(size=(SYMBOLS, SYMBOLS))
    step = 1e-3
    up, here, down = (mixture @ world.loss(logits + s * direction) for s in (step, 0, -step))
    assert (up - down) / (2 * step) == pytest.approx(gradient @ direction.ravel(), abs=5e-3)
    assert (up - 2 * here + down) / step**2 == pytest.approx(direction.ravel() @ H @ direction.ravel(), rel=1e-3)


def test_worlds() -> None:
    world = World.draw(np.random.default_rng(0))
    assert np.allclose(world.rows.sum(axis=2), 1) and np.allclose(world.rows[NOISE], 0.1)
    assert np.allclose(np.einsum("dc,dcs->ds", world.contexts, world.rows), world.contexts, atol=1e-6)
    same = World.draw(np.random.default_rng(0), same=True)
    assert (same.rows == same.rows[0]).all()
