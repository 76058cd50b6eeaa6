from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from polyculture.errors import BadInput, UnknownMethod
from polyculture.methods import build
from polyculture.mix.base import load
from polyculture.mix.replacement import GRID, Replacement, replacement_rows
from polyculture.mix.runs import Runs
from polyculture.pool import Pool

OWN, FIRST, SECOND = np.arange(100), np.arange(100, 105), np.arange(200, 260)


def test_the_budget_is_fixed_and_the_choices_are_nested() -> None:
    found = replacement_rows(OWN, [FIRST, SECOND], 80, rng=0)
    assert len(found) == len(GRID)
    for f, (own, general) in zip(GRID, found, strict=True):
        assert len(general) == round(f * 80) and len(own) + len(general) == 80
        assert set(own) <= set(OWN) and set(general) <= {*FIRST, *SECOND}
        assert len({*own, *general}) == 80
    for (own, general), (next_own, next_general) in pairwise(found):
        assert set(next_own) <= set(own) and set(general) <= set(next_general)
    again = replacement_rows(OWN, [FIRST, SECOND], 80, rng=0)
    assert all((a[0] == b[0]).all() and (a[1] == b[1]).all() for a, b in zip(found, again, strict=True))


def test_general_sets_share_evenly_or_by_size() -> None:
    [(_, even)] = replacement_rows(OWN, [FIRST, SECOND], 40, [0.5], share="even", rng=1)
    assert np.isin(FIRST, even).sum() == 5 and np.isin(SECOND, even).sum() == 15
    [(_, even)] = replacement_rows(OWN, [FIRST, SECOND], 14, [0.5], share="even", rng=1)
    assert np.isin(FIRST, even).sum() == 4 and np.isin(SECOND, even).sum() == 3
    drawn = [replacement_rows(OWN, [FIRST, SECOND], 60, [0.5], rng=s)[0][1] for s in range(60)]
    assert np.mean([np.isin(FIRST, rows).sum() for rows in drawn]) == pytest.approx(30 * 5 / 65, abs=0.5)


def test_a_half_is_rounded_up() -> None:
    [(own, general)] = replacement_rows(OWN, [SECOND], 10, [0.25], rng=0)
    assert (len(own), len(general)) == (7, 3)
    [(own, general)] = replacement_rows(OWN, [], 10, [0.0], rng=0)
    assert (len(own), len(general)) == (10, 0)
    [(own, general)] = replacement_rows(OWN, [SECOND], 10, [1.0], rng=0)
    assert (len(own), len(general)) == (0, 10)


def test_sets_that_are_too_small() -> None:
    with pytest.raises(BadInput, match=r"replacing 0\.1 of a budget of 1,000 needs 900 specialist rows.* are 100"):
        replacement_rows(OWN, [SECOND], 1000, [0.1])
    with pytest.raises(BadInput, match=r"needs 40 general rows, but there are 5; use a smaller budget or fraction"):
        replacement_rows(OWN, [FIRST], 80, [0.5])
    with pytest.raises(BadInput, match="share of the budget"):
        replacement_rows(OWN, [FIRST], 80, [1.5])
    with pytest.raises(BadInput, match="at least 1"):
        replacement_rows(OWN, [FIRST], 0)
    with pytest.raises(UnknownMethod, match="did you mean 'even'"):
        replacement_rows(OWN, [FIRST], 10, share="evne")  # type: ignore[arg-type]


def test_weights() -> None:
    sizes = {"code": 500.0, "chat": 30.0, "essays": 10.0}
    mixer = Replacement(fraction=0.2).fit(sizes)
    assert mixer.specialist_ == "code" and mixer.fraction_ == pytest.approx(0.2)
    np.testing.assert_allclose(mixer.weights_, [0.8, 0.15, 0.05])
    np.testing.assert_allclose(Replacement("chat", 0.2, share="even").fit(sizes).weights_, [0.1, 0.8, 0.1])
    np.testing.assert_allclose(Replacement("b", 0.2).fit(["a", "b", "c"]).weights_, [0.1, 0.8, 0.1])
    assert Replacement().fit({"b": 5.0, "a": 5.0}).specialist_ == "a"
    np.testing.assert_allclose(Replacement().fit({"code": 5.0, "none": 0.0, "chat": 1.0}).weights_, [0.9, 0, 0.1])
    pool = Pool.from_arrays(groups=["code"] * 6 + ["chat"] * 2)
    assert Replacement().fit(pool).specialist_ == "code"
    proposed = mixer.propose(9)
    np.testing.assert_allclose(1 - proposed.weights[:, 0], [0.2, 0, 0.05, 0.1, 0.15, 0.25])


def runs(accuracy: list[float]) -> Runs:
    f = np.array(GRID)
    return Runs.from_arrays(
        np.column_stack([1 - f, 0.75 * f, 0.25 * f]), accuracy, groups=["code", "chat", "essays"], scores=["accuracy"]
    )


def test_the_fraction_is_chosen_on_validation() -> None:
    mixer = Replacement("code").fit(runs([0.642, 0.65, 0.671, 0.66, 0.65, 0.645]))
    assert mixer.fraction_ == pytest.approx(0.1)
    np.testing.assert_allclose(mixer.weights_, [0.9, 0.075, 0.025])
    proposal = mixer.propose(2)
    assert proposal.overall is not None and proposal.overall.tolist() == [0.671, 0.66]
    tied = Replacement("code").fit(runs([0.5, 0.7, 0.7, 0.7, 0.6, 0.5]))
    assert tied.fraction_ == pytest.approx(0.05)


def test_a_lower_loss_is_better_and_the_end_of_a_run_counts() -> None:
    f = [0.0, 0.0, 0.1, 0.1]
    weights = np.column_stack([1 - np.array(f), f])
    held = Runs.from_arrays(
        weights, [0.1, 2.0, 3.0, 1.5], groups=["code", "chat"], scores=["loss"], progress=[0.5, 1, 0.5, 1]
    )
    assert Replacement("code").fit(held).fraction_ == pytest.approx(0.1)


def test_files(tmp_path: Path) -> None:
    (tmp_path / "sizes.csv").write_text("group,size\ncode,300\nchat,100\n")
    assert Replacement().fit(Replacement.read(tmp_path / "sizes.csv")).weights_.tolist() == pytest.approx([0.9, 0.1])
    (tmp_path / "runs.csv").write_text("w:code,w:chat,accuracy\n1,0,0.5\n0.8,0.2,0.6\n")
    mixer = Replacement("code").fit(Replacement.read(tmp_path / "runs.csv"))
    mixer.save(tmp_path / "m.json")
    loaded = load(tmp_path / "m.json")
    assert isinstance(loaded, Replacement) and loaded.fraction_ == pytest.approx(0.2)
    np.testing.assert_array_equal(loaded.propose(2).overall, [0.6, 0.5])


def test_what_can_t_be_fitted() -> None:
    with pytest.raises(BadInput, match="say which is the specialist"):
        Replacement().fit(["a", "b"])
    with pytest.raises(BadInput, match="say which is the specialist"):
        Replacement().fit(runs([1, 2, 3, 4, 5, 6]))
    with pytest.raises(UnknownMethod, match="did you mean 'code'"):
        Replacement("coed").fit(["code", "chat"])
    with pytest.raises(BadInput, match="nothing general"):
        Replacement().fit({"a": 3.0, "b": 0.0})
    with pytest.raises(BadInput, match="share of the budget"):
        Replacement(fraction=-0.1).fit({"a": 3.0})
    with pytest.raises(BadInput, match="share of the budget"):
        Replacement(grid=(0.5, 2)).fit({"a": 3.0})
    with pytest.raises(UnknownMethod, match="way to share"):
        Replacement(share="odd").fit({"a": 3.0})  # type: ignore[arg-type]
    assert build("mix", "replacement", grid="0,0.5", fraction="0.3").grid == (0.0, 0.5)
