from __future__ import annotations

import json

import numpy as np
import pytest

from polyculture.errors import BadInput, UnknownMethod
from polyculture.measure.jackknife import interval, random_groups
from polyculture.measure.on_pool import DEFAULT, SMOOTH_BUT_SLOW, Value, measure_pool
from polyculture.measure.vendi import vendi_score
from polyculture.methods import table
from polyculture.pool import Pool

WORDS = [
    *("soil", "seed", "rain", "crop", "field", "wheat", "barley", "plough", "harvest", "root"),
    *("leaf", "grain", "mill", "mouse", "owl"),
]


def pool(n: int = 80, d: int = 6, seed: int = 0) -> Pool:
    rng = np.random.default_rng(seed)
    return Pool.from_arrays(
        rng.standard_normal((n, d)),
        quality=rng.uniform(size=n),
        texts=[" ".join(rng.choice(WORDS, 14)) for _ in range(n)],
        groups=np.arange(n) % 3,
        source="field.jsonl",
    )


def test_the_default_set_takes_what_the_pool_allows() -> None:
    found = measure_pool(pool())
    assert found.values["vendi"].value == pytest.approx(vendi_score(pool().X))
    assert {"vendi-orders.inf", "intdiv", "mean-reward", "frontier.hypervolume", "distinct", "length.mean"} <= set(
        found.values
    )
    assert found.skipped["perplexity"] == "the pool has no token_logprobs"
    assert not set(found.skipped) & set(found.values)
    assert (found.n, found.source) == (80, "field.jsonl")
    only_texts = measure_pool(Pool.from_arrays(texts=["a b c d e", "f g h i j"]))
    assert "ngram-vendi" in only_texts.values
    assert only_texts.skipped["vendi"] == "the pool has no embeddings; give --embedder"
    assert only_texts.skipped["mean-reward"] == "the pool has no quality; give --quality"


def test_the_tables_name_measures() -> None:
    assert set(DEFAULT) | set(SMOOTH_BUT_SLOW) <= set(table("measure"))
    assert not set(DEFAULT) & set(SMOOTH_BUT_SLOW)


def test_intervals_hold_the_value_and_only_smooth_measures_have_one() -> None:
    found = measure_pool(pool()).values
    for key in ("vendi", "vendi-orders.0.5", "intdiv", "mean-reward", "distinct"):
        value = found[key]
        assert value.low is not None and value.high is not None, key
        assert value.low < value.value < value.high, key
    for key in ("vendi-orders.inf", "frontier.hypervolume", "mean-nn-distance", "length.median"):
        assert found[key].low is None, key
    assert all(v.low is None for v in measure_pool(pool(), intervals=False).values.values())


def test_the_interval_of_a_mean_is_about_that_of_the_t_test() -> None:
    value = measure_pool(pool(2000), ["mean-reward"]).values["mean-reward"]
    quality = pool(2000).q
    half = 1.96 * quality.std(ddof=1) / np.sqrt(2000)
    assert value.low is not None
    assert 0.6 < (value.value - value.low) / half < 1.6


def test_leaving_groups_out_of_the_sum_is_leaving_rows_out() -> None:
    held = pool(200)
    value = measure_pool(held, ["vendi"], rng=5, hyper={"vendi": {"q": 2}}).values["vendi"]
    groups = random_groups(200, 20, np.random.default_rng(5))
    by_hand = interval(vendi_score(held.X, 2), [vendi_score(held.X[groups != g], 2) for g in range(20)])
    assert (value.low, value.high) == pytest.approx(by_hand)
    wide = pool(30, d=50)
    value = measure_pool(wide, ["vendi"], rng=5).values["vendi"]
    groups = random_groups(30, 20, np.random.default_rng(5))
    by_hand = interval(vendi_score(wide.X), [vendi_score(wide.X[groups != g]) for g in range(20)])
    assert (value.low, value.high) == pytest.approx(by_hand)


def test_hyper_parameters_extra_inputs_and_names() -> None:
    held = pool(30)
    found = measure_pool(
        held,
        ["vendi", "vendi-kernel", "effective-tags"],
        hyper={"vendi": {"kernel": "rbf", "gamma": "0.5"}},
        extra={"K": np.eye(30), "tags": [["a"], ["b"]] * 15},
    )
    assert list(found.values) == ["vendi", "vendi-kernel", "effective-tags"]
    assert found.values["vendi"].value == pytest.approx(vendi_score(held.X, kernel="rbf", gamma=0.5))
    assert found.values["vendi-kernel"].value == pytest.approx(30)
    with pytest.raises(UnknownMethod, match="did you mean 'vendi'"):
        measure_pool(held, ["vendy"])
    with pytest.raises(UnknownMethod, match="option"):
        measure_pool(held, ["vendi"], hyper={"vendi": {"colour": 1}})


def test_a_stated_error_becomes_the_interval() -> None:
    held = pool(700)
    found = measure_pool(held, ["vendi-estimate"], hyper={"vendi-estimate": {"method": "lanczos"}})
    value = found.values["vendi-estimate"]
    exact = vendi_score(held.X, kernel="rbf")
    assert value.low is not None and value.high is not None
    assert value.low < value.value < value.high and abs(value.value - exact) < 0.1 * exact


def test_refusals_and_warnings_are_kept() -> None:
    held = pool(20).with_(embeddings=np.concatenate([np.zeros((1, 6)), pool(19).X]))
    found = measure_pool(held, ["vendi", "vendi-estimate"], hyper={"vendi": {"p": np.full(20, 0.1)}})
    assert found.skipped["vendi"].startswith("the weights p sum to 2")
    found = measure_pool(held, ["vendi"])
    assert "1 of 20 items" in found.notes["vendi"][0]
    one = measure_pool(pool(1))
    assert one.values["vendi"] == Value(1.0)
    assert "mean-nn-distance" in one.skipped
    with pytest.raises(BadInput, match="empty"):
        measure_pool(pool().take([]))


def test_a_seed_gives_the_same_measurement_and_it_is_json() -> None:
    one, two = (json.dumps(measure_pool(pool(), rng=3).to_dict()) for _ in range(2))
    assert one == two
    assert json.loads(one)["values"]["vendi"]["low"] < json.loads(one)["values"]["vendi"]["value"]
    measure_pool(pool(), rng=np.random.default_rng(3))


def test_progress_names_each_measure() -> None:
    said: list[tuple[str, int, int]] = []
    measure_pool(pool(), ["intdiv", "mean-reward"], progress=lambda *a: said.append(a))
    assert said == [("intdiv", 0, 2), ("mean-reward", 1, 2), ("measured", 2, 2)]
