"""Attacks on records whose risk is known, and the frontier."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from polyculture.errors import BadInput, UnknownMethod
from polyculture.privacy import PAT, FullMinimization, Uniform, Untouched
from polyculture.privacy.attacks import Linkage, Reconstruction, SinglingOut
from polyculture.privacy.frontier import default_settings, frontier, utility

MODEL = LogisticRegression(max_iter=200)


def people(n: int = 400, seed: int = 0) -> pd.DataFrame:
    """Town tells the team exactly; age is on its own."""
    rng = np.random.default_rng(seed)
    town = rng.choice(["a", "b", "c", "d"], n)
    team = np.where(np.isin(town, ["a", "b"]), "red", "blue")
    return pd.DataFrame({"town": town, "team": team, "age": rng.random(n)})


def errors(minimizer: object, **attack: object) -> dict[str, float]:
    X = people()
    fitted = minimizer.fit(X, np.arange(400) % 2)  # type: ignore[attr-defined]
    found = Reconstruction(model=MODEL, **attack).risk(fitted, X, people(300, 1))  # type: ignore[arg-type]
    assert found.error == pytest.approx(np.mean(list(found.per_attribute.values())))
    return dict(found.per_attribute)


def test_nothing_is_hidden_and_everything_is() -> None:
    open_ = errors(Untouched(), compatible=True)
    assert open_["town"] == open_["team"] == 0 and open_["age"] < 0.05
    closed = errors(FullMinimization())
    assert closed["town"] == pytest.approx(0.75, abs=0.08) and closed["team"] == pytest.approx(0.5, abs=0.08)
    assert closed["age"] == pytest.approx(0.9, abs=0.06)


def test_what_is_known_in_clear_helps() -> None:
    hidden = FullMinimization(sensitive=("team", "age"))
    assert errors(hidden)["team"] > 0.4
    assert errors(hidden, knows="non-sensitive")["team"] == 0
    both = FullMinimization(sensitive=("team", "town"))
    assert errors(both, knows="non-sensitive")["team"] > 0.4, "only age is known"
    assert errors(both, knows="all-but-target")["team"] == 0
    assert errors(both, knows="some-sensitive", n_sensitive=1)["team"] == 0
    assert errors(both, knows="some-sensitive", n_sensitive=0)["team"] > 0.4
    with pytest.raises(UnknownMethod, match="did you mean 'nothing'"):
        errors(both, knows="nothin")


def test_certain_guesses_are_better() -> None:
    X = people(600).assign(flag=lambda f: np.where(f["age"] < 0.2, "low", np.arange(600) % 2))
    fitted = Uniform(5, sensitive=("flag",)).fit(X[["age", "flag"]], np.arange(600) % 2)
    fitted.generalisation_ = type(fitted.generalisation_)(
        (
            fitted.generalisation_.parts[0],
            FullMinimization().fit(X[["flag"]], np.arange(600) % 2).generalisation_.parts[0],
        )
    )
    everyone = Reconstruction(model=MODEL).risk(fitted, X[:400], X[400:]).error
    certain = Reconstruction(model=MODEL, share=0.1).risk(fitted, X[:400], X[400:]).error
    assert certain < 0.05 < 0.2 < everyone


def test_several_releases_tell_more() -> None:
    X, y = people(), np.arange(400) % 2
    a, b = (Uniform(2, random_state=seed).fit(X, y) for seed in (0, 3))
    assert a.generalisation_.parts[0].mapping != b.generalisation_.parts[0].mapping
    one = Reconstruction(model=MODEL, compatible=True).risk(a, X, people(300, 1)).per_attribute
    two = Reconstruction(model=MODEL, compatible=True, others=(b,)).risk(a, X, people(300, 1)).per_attribute
    assert two["town"] < one["town"]
    other = Uniform().fit(X[["town"]], y)
    with pytest.raises(BadInput, match="same attributes"):
        Reconstruction(model=MODEL, others=(other,)).risk(a, X, X)


def test_compatible_guesses_lie_in_the_bucket() -> None:
    X, y = people(), np.arange(400) % 2
    fitted = Uniform(4).fit(X, y)
    shuffled = X.sample(frac=1, random_state=0).assign(town=X["town"].to_numpy(), team=X["team"].to_numpy())
    found = Reconstruction(model=MODEL, compatible=True).risk(fitted, shuffled, X).per_attribute
    assert found["town"] == 0, "one town a bucket"
    assert found["age"] < 0.75, "a bucket holds 5 of the 20 intervals"


def test_linkage() -> None:
    X, y = people(), np.arange(400) % 2
    linked = Linkage("town", "team").risk(Untouched().fit(X, y), X, people(200, 1))
    assert linked.error == 0 and linked.per_attribute == {"team": 0}
    assert Linkage("town", "team").risk(FullMinimization().fit(X, y), X, people(200, 1)).error > 0.3
    assert Linkage(0, 1, n_victims=20).risk(Untouched().fit(X, y), X, people(200, 1)).error == 0
    with pytest.raises(UnknownMethod, match="did you mean 'team'"):
        Linkage("town", "teem").risk(Untouched().fit(X, y), X, X)
    with pytest.raises(BadInput, match="n_victims"):
        Linkage("town", "team", n_victims=0).risk(Untouched().fit(X, y), X, X)


def test_singling_out() -> None:
    X, y = people(), np.arange(400) % 2
    alone = SinglingOut().risk(Untouched(1000).fit(X, y), X, X)
    together = SinglingOut().risk(FullMinimization().fit(X, y), X, X)
    assert alone.error < 0.5 and alone.details["smallest class"] == 1
    assert together.error == 1 and together.details["smallest class"] == 400


def test_bad_attacks() -> None:
    X, y = people(), np.arange(400) % 2
    fitted = Uniform().fit(X, y)
    for attack, message in (
        (Reconstruction(share=0), "share = 0"),
        (Reconstruction(n_sensitive=-1), "n_sensitive = -1"),
        (Reconstruction(intervals=0), "intervals = 0"),
        (Reconstruction(near=0), "near = 0"),
    ):
        with pytest.raises(BadInput, match=message):
            attack.risk(fitted, X, X)


def test_one_victim_and_a_category_nobody_knew() -> None:
    X, y = people(), np.arange(400) % 2
    fitted = Uniform().fit(X, y)
    with pytest.warns(UserWarning, match="never seen"):
        found = Reconstruction(model=MODEL).risk(fitted, X, X[:1].assign(town="nowhere"))
    assert found.per_attribute["town"] == 1, "a value that the adversary does not know can't be guessed"


def test_frontier() -> None:
    X = people(300)
    y = np.where(X["age"] > 0.5, "old", "young")
    settings = [("pat", {"alpha": 0.3}, PAT(0.3, min_samples_leaf=10)), ("full-minimization", {}, FullMinimization())]
    attacks = {"reconstruction": Reconstruction(model=MODEL), "linkage": Linkage("town", "team")}
    rows = frontier(X, y, settings, sensitive=("town",), attacks=attacks, model=MODEL, seed=1)
    assert [row.minimizer for row in rows] == ["pat", "full-minimization"] and rows[0].label == "alpha = 0.3"
    assert rows[0].utility > 0.95 > 0.7 > rows[1].utility
    assert set(rows[0].risks) == {"reconstruction", "linkage"} and list(rows[0].buckets) == ["town", "team", "age"]
    assert rows[1].gcp == 1 > rows[0].gcp and rows[0].seconds >= 0
    again = frontier(X, y, settings, sensitive=("town",), attacks=attacks, model=MODEL, seed=1)
    assert [(r.utility, r.risks) for r in rows] == [(r.utility, r.risks) for r in again]
    assert settings[0][2].sensitive == (), "the minimizers given are not changed"


def test_frontier_of_an_arrow_table() -> None:
    import pyarrow as pa

    X = people(60)
    settings = [("uniform", {"k": 2}, Uniform(2))]
    y = np.arange(60) % 2
    rows = [frontier(table, y, settings, model=MODEL, attacks={}) for table in (X, pa.Table.from_pandas(X))]
    assert rows[0][0].utility == rows[1][0].utility and rows[0][0].buckets == rows[1][0].buckets


def test_frontier_bad_input() -> None:
    X = people(20)
    with pytest.raises(BadInput, match="at least 4 records"):
        frontier(X[:3], [0, 1, 0])
    with pytest.raises(BadInput, match="test_share"):
        frontier(X, np.arange(20) % 2, test_share=1.0)


def test_default_settings_cover_the_table() -> None:
    from polyculture.methods import table

    found = default_settings(500, 6)
    assert {name for name, _, _ in found} == set(table("privacy"))
    for name, setting, minimizer in found:
        assert isinstance(minimizer, table("privacy")[name])
        assert {key: getattr(minimizer, key) for key in setting} == dict(setting)


def test_utility_by_itself() -> None:
    X = people(300)
    y = np.where(X["age"] > 0.5, "old", "young")
    fitted = Uniform(2).fit(X, y)
    assert utility(fitted, X, y, X, y, model=MODEL) > 0.95
