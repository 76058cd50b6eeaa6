"""Distilled sets: what distillers promise, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone

from polyculture.errors import BadInput, UnknownMethod
from polyculture.methods import parameters
from polyculture.select import DISTILLERS
from polyculture.select.distill import DWA, RandomImages, SRe2L, starting_rows
from polyculture.select.distilled import (
    Distilled,
    features,
    teacher_logits,
    train_student,
    within_class_distance,
)

QUICK = {"iterations": 3, "steps": 2, "jitter": 1}


def images(n: int = 24, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    return (rng.normal(size=(n, 1, 4, 4)) + y[:, None, None, None]).astype(np.float32), y


def teacher(classes: int = 3, norm: bool = True) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.BatchNorm2d(4) if norm else torch.nn.Identity()]
        return torch.nn.Sequential(
            *layers, torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, classes)
        )


def make(name: str) -> DWA | RandomImages:
    cls = DISTILLERS[name]
    return cls(**{key: value for key, value in QUICK.items() if key in parameters(cls)})


@pytest.mark.parametrize("name", list(DISTILLERS))
def test_contract(name: str) -> None:
    X, y = images()
    before, model = X.copy(), teacher().train()
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    found = make(name).distill(X, y, 2, model=model, rng=0)
    assert found.X.shape == (6, 1, 4, 4) and found.X.dtype == np.float32
    assert found.y.tolist() == [0, 1, 2, 0, 1, 2] and found.y.dtype == np.int64
    assert found.X.min() >= X.min() and found.X.max() <= X.max()
    assert all(o == -1 or y[o] == label for o, label in zip(found.origin, found.y, strict=True))
    np.testing.assert_array_equal(found.logits, teacher_logits(model, found.X))
    np.testing.assert_allclose(found.soft_labels(4).sum(axis=1), 1)
    assert found.soft_labels(100).max() < found.soft_labels(1).max()
    np.testing.assert_array_equal(X, before)
    assert model.training, "the teacher's mode was changed"
    for key, value in model.state_dict().items():
        assert torch.equal(value, weights[key]), f"the teacher's {key} was changed"


@pytest.mark.parametrize("name", list(DISTILLERS))
def test_same_seed_same_images(name: str) -> None:
    X, y = images()
    torch.manual_seed(1)
    first = make(name).distill(X, y, 2, model=teacher(), rng=4)
    torch.manual_seed(2)
    again = clone(make(name)).distill(X, y, 2, model=teacher(), rng=np.random.default_rng(4))
    np.testing.assert_array_equal(first.X, again.X)
    assert not np.array_equal(first.X, make(name).distill(X, y, 2, model=teacher(), rng=5).X)


@pytest.mark.parametrize("name", list(DISTILLERS))
def test_parameters(name: str) -> None:
    distiller = make(name)
    saved = json.loads(json.dumps(distiller.get_params()))
    assert type(distiller)(**saved).get_params() == saved
    assert not [p.name for p in parameters(type(distiller)).values() if not p.help]
    assert "Source:" in (DISTILLERS[name].__doc__ or "")


@pytest.mark.parametrize("name", list(DISTILLERS))
def test_bad_input(name: str) -> None:
    X, y = images()
    distiller, model = make(name), teacher()
    with pytest.raises(BadInput, match=r"shape \(n, channels, height, width\)"):
        distiller.distill(X[:, 0], y, 1, model=model)
    with pytest.raises(BadInput, match="shape"):
        distiller.distill(X[:0], y[:0], 1, model=model)
    with pytest.raises(BadInput, match="one class number for each of the 24 images"):
        distiller.distill(X, y[:3], 1, model=model)
    with pytest.raises(BadInput, match="one class number"):
        distiller.distill(X, y + 0.5, 1, model=model)
    with pytest.raises(BadInput, match="per_class = 0"):
        distiller.distill(X, y, 0, model=model)
    spoilt = X.copy()
    spoilt[5, 0, 1, 1] = np.nan
    with pytest.raises(BadInput, match="image 5 has NaN"):
        distiller.distill(spoilt, y, 1, model=model)
    with pytest.raises(BadInput, match="class 2, but the teacher has 2 outputs"):
        distiller.distill(X, y, 1, model=teacher(2))


def test_bad_hyper_parameters() -> None:
    X, y = images()
    for hyper, message in (
        ({"rho": -1}, "rho = -1"),
        ({"steps": -1}, "steps = -1"),
        ({"lr": 0}, "lr should be above 0"),
        ({"iterations": -1}, "iterations and jitter"),
    ):
        with pytest.raises(BadInput, match=message):
            DWA(**(QUICK | hyper)).distill(X, y, 1, model=teacher())
    for hyper in ({"start": "reall"}, {"direction": "ascend"}):
        with pytest.raises(UnknownMethod, match="did you mean"):
            DWA(**(QUICK | hyper)).distill(X, y, 1, model=teacher())
    with pytest.raises(BadInput, match="belong together"):
        DWA(**QUICK).distill(X, y, 1, model=teacher(), mean=[0.5])
    with pytest.raises(BadInput, match="one value for each of the 1 channels"):
        DWA(**QUICK).distill(X, y, 1, model=teacher(), mean=[0.5, 0.5], std=[1, 1])


def test_pixels_stay_in_bounds() -> None:
    X, y = images()
    found = DWA(**QUICK, lr=50).distill(X, y, 1, model=teacher(), mean=[0.5], std=[0.25], rng=0)
    assert found.X.min() >= -2 and found.X.max() <= 2 and found.X.max() == 2


def test_no_movement_is_the_same_as_rho_zero() -> None:
    X, y = images()
    still = DWA(rho=0, steps=5, iterations=4).distill(X, y, 2, model=teacher(), rng=0)
    skipped = DWA(rho=0.3, steps=0, iterations=4).distill(X, y, 2, model=teacher(), rng=0)
    np.testing.assert_array_equal(still.X, skipped.X)
    assert (still.trace["adjustment"][:, 2] == 0).all()


def test_batches_do_not_share_their_adjustments() -> None:
    X, y = images()
    together = DWA(**QUICK, rho=0.5).distill(X, y, 3, model=teacher(), rng=0)
    assert (together.trace["adjustment"][:, 2] <= 0.5 + 1e-6).all()
    assert len(set(together.trace["adjustment"][:, 3].tolist())) == 1, "every batch starts from the original teacher"


def test_classes_in_parts() -> None:
    X, y = images(24, 4)
    found = DWA(**QUICK, classes_per_batch=3).distill(X, y, 2, model=teacher(4), rng=0)
    assert found.y.tolist() == [0, 1, 2, 3] * 2 and len(found.trace["loss"]) == 4


def test_forerunner_starts_from_noise() -> None:
    X, y = images()
    found = SRe2L(iterations=2).distill(X, y, 1, model=teacher(), rng=0)
    assert (found.origin == -1).all() and SRe2L().rho == 0 and SRe2L().r_var == 1


def test_teacher_without_batch_norm_warns() -> None:
    X, y = images()
    with pytest.warns(UserWarning, match="no BatchNorm2d"):
        found = DWA(**QUICK).distill(X, y, 1, model=teacher(norm=False), rng=0)
    assert (found.trace["loss"][:, 1] == 0).all()


def test_starting_rows_come_once_before_they_come_twice() -> None:
    y = np.array([0, 0, 0, 1])
    rows = starting_rows(y, np.array([0, 1]), 6, np.random.default_rng(0))
    assert sorted(rows[:3, 0]) == sorted(rows[3:, 0]) == [0, 1, 2] and (rows[:, 1] == 3).all()


def test_save_and_load(tmp_path: Path) -> None:
    X, y = images()
    found = DWA(**QUICK).distill(X, y, 1, model=teacher(), rng=0)
    found.save(tmp_path / "set.safetensors")
    loaded = Distilled.load(tmp_path / "set.safetensors")
    for name in ("X", "y", "logits", "origin"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(found, name))
    np.testing.assert_array_equal(loaded.trace["loss"], found.trace["loss"])
    from safetensors.numpy import save_file

    save_file({"X": found.X}, tmp_path / "other.safetensors")
    with pytest.raises(BadInput, match="lacks y, logits, origin"):
        Distilled.load(tmp_path / "other.safetensors")


def test_student_learns_what_the_teacher_says() -> None:
    X, y = images(60)
    model = teacher()
    adam = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(60):
        adam.zero_grad()
        torch.nn.functional.cross_entropy(model(torch.as_tensor(X)), torch.as_tensor(y)).backward()
        adam.step()
    found = RandomImages().distill(X, y, 10, model=model, rng=0)
    student = teacher()
    before = np.mean(teacher_logits(student, X).argmax(axis=1) == y)
    train_student(student, found, model, epochs=150, temperature=2, jitter=0, lr=0.02, rng=0)
    after = np.mean(teacher_logits(student, X).argmax(axis=1) == y)
    assert after > before + 0.2 and not student.training
    empty = Distilled(X[:0], y[:0], np.zeros((0, 3)), y[:0])
    with pytest.raises(BadInput, match="empty"):
        train_student(student, empty, model)
    with pytest.raises(BadInput, match="temperature"):
        train_student(student, found, model, temperature=0)


def test_features_and_their_spread() -> None:
    X, _ = images(4)
    assert features(teacher(), X).shape == (4, 4)
    F = np.array([[0.0, 0], [3, 4], [1, 1], [1, 1], [9, 9]])
    assert within_class_distance(F, np.array([0, 0, 1, 1, 2])) == pytest.approx(2.5)
    assert np.isnan(within_class_distance(F, np.arange(5)))
    with pytest.raises(BadInput, match="no linear layer"):
        features(torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1)), X)
