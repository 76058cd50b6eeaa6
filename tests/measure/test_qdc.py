import dataclasses
import json
import math

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.measure.qdc import QDCData, Settings, qdc_report
from polyculture.measure.qdc_table import TABLE


@pytest.fixture
def everything():
    rng = np.random.default_rng(0)
    n = 60
    texts = [" ".join(f"w{rng.integers(30)}" for _ in range(8)) for _ in range(n)]
    logs = [rng.uniform(-3, -1, 4) for _ in range(n)]
    return QDCData(
        texts=texts,
        X=rng.normal(size=(n, 4)),
        quality=rng.random(n),
        answers=list("ab" * 30),
        references=list("aa" * 30),
        n_drawn=[4] * 5,
        n_correct=[0, 1, 2, 3, 4],
        token_logprobs=logs,
        conditional_logprobs=[x / 2 for x in logs],
        tags=[[f"t{i % 7}", "all"] for i in range(n)],
        tag_universe=10,
        measures=rng.random((n, 2)),
        ranges=[(0, 1), (0, 1)],
        levels=[3] * n,
        solve_rates=[0.25] * n,
        expressions=["1+2"] * n,
        rubric=["clear?"],
        rubric_judge=lambda item, text: 4,
        opponents=texts[::-1],
        compare=lambda a, b: "tie",
        complexity_judge=lambda batch: [2] * len(batch),
    )


def test_with_everything_given_nothing_is_skipped(everything):
    report = qdc_report(everything)
    assert report.skipped == {}
    taken = {*report.quality, *report.diversity, *report.complexity}
    assert taken == {name for measure in TABLE for name in measure.names} == set(report.units)
    assert report.quality["accuracy"] == 0.5 and report.quality["rubric_score"] == 0.8
    assert report.quality["win_rate"] == 0.5 and report.quality["pass_at_k"] == pytest.approx(0.5)
    assert report.diversity["n_unique_tags"] == 8 and report.diversity["tag_coverage"] == 0.8
    assert report.complexity["difficulty"] == 0.75 and report.complexity["complexity_score"] == 2
    assert json.loads(json.dumps(report.to_dict()))["curve"][-1]["n"] == 60


def test_what_is_missing_is_skipped_with_its_reason():
    report = qdc_report(QDCData(texts=["a b", "c d"]))
    assert report.skipped["mean_cosine_distance"] == "needs X"
    assert report.skipped["accuracy"] == "needs answers, references"
    assert "42 tokens" in report.skipped["hdd"]
    assert report.skipped["trade_off"] == "needs quality" and report.curve == []
    assert "skipped hdd" in str(report)
    assert qdc_report(QDCData(texts=["a b"])).skipped["self_bleu"].endswith("at least two texts")


def test_empty_texts_are_left_out_and_counted():
    report = qdc_report(QDCData(texts=["a b", " ", "c d"], quality=[1, 2, 3]))
    assert report.n_empty_texts == 1 and "1 empty texts" in report.notes[0]
    assert report.complexity["mean_length"] == 2.0
    assert qdc_report(QDCData(texts=["", ""], quality=[1, 2])).skipped["self_bleu"] == "needs texts"


def test_the_curve_trades_quality_for_diversity():
    # The better half lies on one spot, the worse half is spread out.
    rng = np.random.default_rng(1)
    X = np.vstack([np.tile([1.0, 0, 0, 0], (50, 1)), rng.normal(size=(50, 4))])
    report = qdc_report(QDCData(X=X, quality=np.arange(100)[::-1]), settings=Settings(fractions=(0.25, 0.5, 1.0)))
    assert [point.n for point in report.curve] == [25, 50, 100]
    assert report.curve[0].quality > report.curve[2].quality and report.curve[0].diversity == 0
    assert report.curve[0].random_diversity > 0.3
    assert report.curve[2].diversity == pytest.approx(report.curve[2].random_diversity)
    assert report.curve_diversity == "mean cosine distance"


def test_the_curve_takes_texts_or_a_diversity_of_rows():
    data = QDCData(texts=["a b", "a b", "c d", "e f"], quality=[4, 3, 2, 1])
    half = Settings(fractions=(0.5, 1.0))
    report = qdc_report(data, settings=half)
    assert report.curve_diversity == "n-gram diversity" and report.curve[0].diversity == pytest.approx((0.5 + 0.5) / 4)
    assert qdc_report(data, settings=half, curve_diversity=lambda rows: float(rows.sum())).curve[0].diversity == 1.0


def test_large_sets_are_sampled_for_the_measures_of_pairs():
    texts = [f"a b c d e{i}" for i in range(40)]
    small = qdc_report(QDCData(texts=texts), settings=Settings(sample=10, rng=3)).diversity["self_bleu"]
    assert small == qdc_report(QDCData(texts=texts), settings=Settings(sample=10, rng=3)).diversity["self_bleu"]
    assert math.isfinite(small)


def test_bad_input(everything):
    with pytest.raises(BadInput, match="nothing to measure"):
        qdc_report(QDCData())
    with pytest.raises(BadInput, match="texts 60, X 59"):
        qdc_report(dataclasses.replace(everything, X=everything.X[:-1]))
    with pytest.raises(BadInput, match="at least one sample"):
        qdc_report(QDCData(texts=[]))
    with pytest.raises(BadInput, match=r"in \(0, 1\]"):
        qdc_report(everything, settings=Settings(fractions=(0.0,)))
