"""From a pool and a choice to the report."""

from __future__ import annotations

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.measure.vendi import vendi_score
from polyculture.pool import Pool
from polyculture.report.build import build_curation_report
from polyculture.report.content import CurationReport
from polyculture.report.evidence import KINDS, rejected, typical
from polyculture.report.frontiers import frontiers, spectrum
from polyculture.report.page import render


@pytest.fixture(scope="module")
def pool() -> Pool:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 8))
    X[7] = X[3] * 2  # the same direction
    texts = [f"text {i}" for i in range(120)]
    return Pool.from_arrays(X, quality=rng.random(120), groups=[f"g{i % 4}" for i in range(120)], texts=texts)


@pytest.fixture(scope="module")
def report(pool: Pool) -> CurationReport:
    chosen = np.arange(3, 33)
    return build_curation_report(pool, chosen, baselines={"random": np.arange(60, 90)}, method="kmq", title="T")


def line(report: CurationReport, name: str):
    return next(line for line in report.headline if line.name == name)


def test_headline_numbers_are_those_of_the_measures(pool: Pool, report: CurationReport) -> None:
    vendi = line(report, "Vendi score")
    assert vendi.before.value == pytest.approx(vendi_score(pool.X))
    assert vendi.after.value == pytest.approx(vendi_score(pool.X[3:33]))
    assert vendi.baselines["random"].value == pytest.approx(vendi_score(pool.X[60:90]))
    quality = line(report, "mean quality")
    assert quality.after.value == pytest.approx(pool.q[3:33].mean())
    assert quality.after.low < quality.after.value < quality.after.high


def test_duplicates_are_found_and_counted(report: CurationReport) -> None:
    best = report.duplicates[0]
    assert (best.row_a, best.row_b, best.chosen_a, best.chosen_b) == (3, 7, True, True)
    assert best.similarity == pytest.approx(1.0)
    assert (best.text_a, best.text_b) == ("text 3", "text 7")
    assert report.duplicates_note.startswith("2 of 120 records")
    assert line(report, "near duplicates").before.value == pytest.approx(2 / 120)
    assert line(report, "near duplicates").after.value == pytest.approx(2 / 30)
    pairs = [(pair.row_a, pair.row_b) for pair in report.duplicates]
    assert len(pairs) == len(set(pairs)) == 20


def test_coverage_is_one_when_everything_is_chosen(pool: Pool) -> None:
    everything = build_curation_report(pool, np.arange(120))
    assert line(everything, "coverage").after.value == pytest.approx(1.0)
    assert len(everything.rejections) == 0


def test_groups_are_counted(report: CurationReport) -> None:
    assert [(row.name, row.before) for row in report.groups] == [(f"g{i}", 30) for i in range(4)]
    assert sum(row.after for row in report.groups) == 30


def test_every_rejected_row_is_counted_once_with_a_reason(pool: Pool, report: CurationReport) -> None:
    assert sum(rejection.count for rejection in report.rejections) == 90
    assert {rejection.reason for rejection in report.rejections} <= {called for called, _ in KINDS.values()}
    said = rejected(pool, np.arange(3, 33))[1]
    assert sorted(said) == [0, 1, 2, *range(33, 120)]
    assert report.points is not None
    at = list(report.points.row).index(50)
    assert report.points.reasons[at].startswith(said[50])


def test_a_twin_of_a_chosen_row_is_rejected_as_one(pool: Pool) -> None:
    kinds = {r.reason: r for r in rejected(pool, np.arange(7))[0]}
    twin = kinds["near-duplicate of a chosen record"]
    assert twin.count == 1 and twin.examples[0].row == 7
    assert "row 3" in twin.examples[0].note


def test_typical_records_are_nearest_to_the_mean_direction() -> None:
    held = Pool.from_arrays([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.0]], texts=["a", "b", "c"])
    fields = typical(held, np.array([0]), most=1)
    assert fields["atypical"][0].text == "c" and fields["typical"][0].text in "ab"


def test_the_spectrum_sums_to_one_and_agrees_with_vendi(pool: Pool) -> None:
    found = spectrum(pool.X, "whole pool")
    assert sum(found.eigenvalues) == pytest.approx(1.0)
    assert list(found.eigenvalues) == sorted(found.eigenvalues, reverse=True)
    assert found.effective == pytest.approx(vendi_score(pool.X))


def test_a_better_selection_has_the_larger_hypervolume() -> None:
    X = np.vstack([np.eye(4), np.repeat([[1.0, 0, 0, 0]], 4, axis=0)])
    held = Pool.from_arrays(X, quality=[0.9] * 4 + [0.5] * 4)
    curves = frontiers(held, {"spread": np.arange(4), "same": np.arange(4, 8)})["frontiers"]
    found = {curve.name: curve for curve in curves}
    assert found["spread"].hypervolume > found["same"].hypervolume
    assert found["spread"].k[-1] == 4 and found["spread"].diversity[-1] == pytest.approx(4.0)


def test_a_baseline_drawn_several_times_has_its_mean_and_interval(pool: Pool) -> None:
    draws = [np.arange(40, 50), np.arange(50, 60), np.arange(60, 70)]
    report = build_curation_report(pool, np.arange(10), baselines={"random": draws}, measures=["mean-reward"])
    found = line(report, "mean quality").baselines
    means = [pool.q[rows].mean() for rows in draws]
    assert list(found) == ["random"] and found["random"].value == pytest.approx(np.mean(means))
    assert found["random"].low < min(means) < max(means) < found["random"].high
    assert [s.name for s in report.spectra] == ["whole pool", "chosen", "random"]


def test_any_measure_can_be_named(pool: Pool) -> None:
    others = {"random": np.arange(5, 10)}
    report = build_curation_report(
        pool, np.arange(5), baselines=others, measures=["mean-pairwise-distance", "tag-entropy"]
    )
    found = line(report, "mean-pairwise-distance")
    assert found.before.value > 0 and found.after.value > 0 and found.baselines["random"].value > 0
    assert found.meaning and found.higher_is_better is None
    assert [held.name for held in report.headline] == ["coverage", "near duplicates", "mean-pairwise-distance"]
    assert "no tags" in report.skipped["tag-entropy"]


def test_a_pool_without_embeddings_says_what_is_missing() -> None:
    held = Pool.from_arrays(texts=["a", "b", "c"], quality=[1.0, 2.0, 3.0])
    report = build_curation_report(held, np.array([2]))
    assert report.points is None and "no embeddings" in report.warnings[0]
    assert sum(r.count for r in report.rejections) == 2
    assert "no embeddings" in render(report)


@pytest.mark.parametrize("n", [1, 2])
def test_the_smallest_pools_have_a_report(n: int) -> None:
    report = build_curation_report(Pool.from_arrays(np.eye(2)[:n]), np.array([0]))
    assert (report.n, report.k) == (n, 1)
    render(CurationReport.from_dict(report.to_dict()))


def test_choosing_nothing_has_a_report(pool: Pool) -> None:
    report = build_curation_report(pool, np.zeros(0, dtype=np.int64))
    assert report.k == 0
    render(report)


@pytest.mark.parametrize(
    ("rows", "message"),
    [([120], "between 0 and 119"), ([-1], "between 0 and 119"), ([1, 1], "there twice")],
)
def test_bad_rows_are_named(pool: Pool, rows: list[int], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        build_curation_report(pool, np.array(rows))
    with pytest.raises(BadInput, match=f"best: .*{message}"):
        build_curation_report(pool, np.array([0]), baselines={"best": np.array(rows)})


def test_an_empty_pool_is_refused() -> None:
    with pytest.raises(BadInput, match="pool is empty"):
        build_curation_report(Pool.from_arrays(np.zeros((0, 3))), np.zeros(0))


def test_the_same_seed_gives_the_same_report(pool: Pool) -> None:
    one, two = (build_curation_report(pool, np.arange(5), max_points=20, seed=1).to_dict() for _ in range(2))
    one.pop("timings"), two.pop("timings")
    assert one == two
