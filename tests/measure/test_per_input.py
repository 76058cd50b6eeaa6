import math

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.measure.ngrams import ead
from polyculture.measure.per_input import (
    diversity_by_input,
    generalisation_gap,
    nli_diversity,
    nli_pair_values,
    nli_value,
    pairwise_diversity,
    per_input_ead,
    similarity_to_diversity,
)
from polyculture.measure.undefined import UndefinedMeasureWarning

OUTPUTS = [["a b c", "a b d"], ["x y z", "x y z"], ["p q", "r s"]]


def n_distinct(texts):
    return float(len(set(texts)))


def test_the_protocol_takes_inputs_firsts_and_everything():
    report = diversity_by_input(OUTPUTS, metrics={"n": n_distinct})
    found = report.metrics["n"]
    assert found.per_input == pytest.approx(5 / 3)
    assert found.per_input_std == pytest.approx(np.std([2, 1, 2]))
    assert found.across_input == 3 and found.pooled == 5
    assert report.n_inputs == 3 and report.outputs_per_input == 2 and report.mean_length == pytest.approx(16 / 6)
    assert set(diversity_by_input(OUTPUTS).metrics) == {"ead", "distinct", "ngram-cosine"}
    assert per_input_ead(OUTPUTS)["across_input"] == ead([texts[0] for texts in OUTPUTS])


def test_the_pool_can_be_sampled():
    sizes = []
    diversity_by_input(OUTPUTS, metrics={"n": lambda texts: sizes.append(len(texts)) or 0.0}, pool_size=4)
    assert sizes == [2, 2, 2, 3, 4]


def test_unequal_numbers_of_outputs_are_warned_about():
    with pytest.warns(UserWarning, match="different numbers of outputs"):
        diversity_by_input([["a"], ["a", "b"]], metrics={"n": n_distinct})


def test_bad_outputs():
    with pytest.raises(BadInput, match="at least one input"):
        diversity_by_input([])
    with pytest.raises(BadInput, match="row 2: the input has no output"):
        diversity_by_input([["a"], []])
    with pytest.raises(BadInput, match="row 1 is one string"):
        diversity_by_input(["abc"])


def test_similarities():
    assert similarity_to_diversity([0.5, 0.1]) == pytest.approx(0.7)
    assert pairwise_diversity([1, 2, 1], lambda a, b: float(a == b)) == pytest.approx(2 / 3)
    with pytest.warns(UndefinedMeasureWarning, match="no pair"):
        assert math.isnan(pairwise_diversity(["one"], lambda a, b: 1.0))
    with pytest.raises(BadInput, match="NaN"):
        similarity_to_diversity([math.nan])


def label(name, score=0.8):
    return {"label": name, "score": score}


def test_nli_values_take_the_top_label_only():
    assert nli_value(label("contradiction")) == 0.8
    assert nli_value([label("neutral", 0.3), label("ENTAILMENT", 0.6)]) == -0.6
    assert nli_value(label("NEUTRAL")) == 0.0
    np.testing.assert_allclose(nli_pair_values([label("ENTAILMENT"), label("CONTRADICTION", 0.5)]), [-0.3])
    with pytest.raises(BadInput, match="LABEL_2"):
        nli_value(label("LABEL_2"))
    with pytest.raises(BadInput, match="gave no label"):
        nli_value([])
    with pytest.raises(BadInput, match="both directions"):
        nli_pair_values([label("NEUTRAL")])


def classify(pairs):
    return [label("ENTAILMENT" if a == b else "CONTRADICTION", 1.0) for a, b in pairs]


def test_contradictions_raise_diversity_unless_the_official_sign_is_asked_for():
    same, apart = ["a", "a"], ["a", "b"]
    assert nli_diversity(same, classify) == -2.0 and nli_diversity(apart, classify) == 2.0
    assert nli_diversity(same, classify, official_sign=True) > nli_diversity(apart, classify, official_sign=True)


def test_sentences_are_cut_to_the_same_number_and_sampled():
    asked = []

    def judge(pairs):
        asked.extend(pairs)
        return classify(pairs)

    texts = ["a|b|c|d|e|f|g", "a|b|c|x|y|z"]
    value = nli_diversity(texts, judge, sentences=lambda t: t.split("|"), max_sentences=5)
    assert len(asked) == 10 and value == np.mean([-2.0 if a == b else 2.0 for a, b in asked])
    with pytest.warns(UndefinedMeasureWarning, match="at least two texts"):
        assert math.isnan(nli_diversity(["a"], judge))
    with pytest.warns(UndefinedMeasureWarning, match="sentence each"):
        assert math.isnan(nli_diversity(["", "a"], judge, sentences=lambda t: t.split()))
    with pytest.raises(BadInput, match="1 answers to 2 pairs"):
        nli_diversity(["a", "b"], lambda pairs: [label("NEUTRAL")])


def test_the_gap():
    found = generalisation_gap([1, 1, 0.5, 0.5], [1, 0])
    assert found.in_distribution == 0.75 and found.gap == 0.25
    with pytest.raises(BadInput, match="wins_ood"):
        generalisation_gap([1], [])
