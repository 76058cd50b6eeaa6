"""Every minimizer through every check."""

from __future__ import annotations

import inspect
import json
import re
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from polyculture.errors import BadInput, UnknownMethod
from polyculture.methods import build, meaning, parameters, table
from polyculture.privacy.base import Minimizer

QUICK = {"epochs": 2, "min_samples_leaf": 5}


@pytest.fixture(params=list(table("privacy")))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def make(name: str, **hyper: Any) -> Minimizer:
    known = parameters(table("privacy")[name])
    return build("privacy", name, **{key: value for key, value in QUICK.items() if key in known}, **hyper)


def people(n: int = 90, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Records with numbers, categories, a missing category, and a target that two attributes tell."""
    rng = np.random.default_rng(seed)
    age, hours = rng.integers(18, 80, n).astype(float), rng.random(n)
    job = rng.choice(np.array(["clerk", "cook", None], dtype=object), n)
    frame = pd.DataFrame({"age": age, "hours": hours, "job": job, "sex": rng.choice(["f", "m"], n)})
    return frame, np.where((age > 45) ^ (job == "cook"), "yes", "no")


def numbers(frame: pd.DataFrame) -> np.ndarray:
    return frame[["age", "hours"]].to_numpy()


def test_shapes(name: str) -> None:
    X, y = people()
    fitted = make(name).fit(X, y)
    assert fitted.fit(X, y) is fitted
    z = fitted.transform(X)
    assert z.shape == (90, sum(fitted.generalisation_.sizes)) and z.dtype == np.float64
    assert set(np.unique(z)) <= {0.0, 1.0} and (z.sum(axis=1) == 4).all()
    assert len(fitted.get_feature_names_out()) == z.shape[1] == len(set(fitted.get_feature_names_out()))
    readable = fitted.generalise(X)
    assert list(readable) == ["age", "hours", "job", "sex"] and all(len(texts) == 90 for texts in readable.values())


def test_same_seed_same_answer(name: str) -> None:
    X, y = people()
    first = make(name, random_state=3).fit(X, y)
    other = make(name, random_state=3).fit(people(60, 1)[0], people(60, 1)[1]).fit(X, y)
    assert first.to_dict() == other.to_dict()


def test_order_of_rows(name: str) -> None:
    X, y = people()
    order = np.random.default_rng(1).permutation(len(X))
    fitted = make(name).fit(X, y)
    np.testing.assert_array_equal(fitted.transform(X.iloc[order]), fitted.transform(X)[order])
    if name not in ("iterative", "adversarial-training", "mutual-information", "apt"):  # these draw rows at random
        np.testing.assert_array_equal(make(name).fit(X.iloc[order], y[order]).transform(X), fitted.transform(X))


def test_global_state_untouched(name: str) -> None:
    import torch

    X, y = people(30)
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002  the legacy global state is what is checked
    expected, state = torch.rand(1), np.random.get_state()[1].copy()  # noqa: NPY002
    torch.manual_seed(5)
    make(name).fit(X, y)
    assert torch.rand(1) == expected
    np.testing.assert_array_equal(state, np.random.get_state()[1])  # noqa: NPY002


def test_arrays_and_lists(name: str) -> None:
    X, y = people()
    array = numbers(X)
    fitted = make(name).fit(array, y)
    np.testing.assert_array_equal(fitted.transform(array), fitted.transform(array.tolist()))
    np.testing.assert_array_equal(make(name).fit(array.astype(np.float32), y).transform(array).shape[0], 90)
    mixed = make(name).fit(X.to_numpy(), y)
    frame = make(name).fit(X, y)
    np.testing.assert_array_equal(mixed.transform(X.to_numpy()), frame.transform(X))


def test_pandas_output_and_pipeline(name: str) -> None:
    X, y = people()
    out = make(name).set_output(transform="pandas").fit(X, y).transform(X)
    assert isinstance(out, pd.DataFrame) and all("=" in column for column in out.columns)
    pipeline = make_pipeline(make(name), LogisticRegression())
    assert pipeline.fit(X, y).predict(X).shape == (90,)


def test_columns_in_another_order(name: str) -> None:
    X, y = people()
    fitted = make(name).fit(X, y)
    shuffled = X[["sex", "job", "hours", "age"]].assign(extra=1)
    np.testing.assert_array_equal(fitted.transform(shuffled), fitted.transform(X))
    with pytest.raises(BadInput, match="column 'job' is missing; columns are age, hours, sex"):
        fitted.transform(X.drop(columns="job"))
    with pytest.raises(BadInput, match="X has 1 columns, but 4 were fitted"):
        fitted.transform(X.to_numpy()[:, :1])


def test_one_row(name: str) -> None:
    X, y = people()
    assert make(name).fit(X.iloc[:1], y[:1]).transform(X.iloc[:1]).shape[0] == 1
    assert make(name).fit(X, y).transform(X.iloc[:1]).shape[0] == 1


def test_no_rows(name: str) -> None:
    X, y = people()
    with pytest.raises(BadInput, match="no rows"):
        make(name).fit(X.iloc[:0], y[:0])


def test_constant_attribute_and_target(name: str) -> None:
    X, y = people()
    X = X.assign(hours=0.5, sex="f")
    fitted = make(name).fit(X, y)
    assert fitted.generalisation_.sizes[1] == fitted.generalisation_.sizes[3] == 1
    assert make(name).fit(X, np.zeros(90)).transform(X).shape[0] == 90


def test_group_with_one_member(name: str) -> None:
    X, y = people()
    job = X["job"].tolist()
    job[7] = "astronaut"
    fitted = make(name).fit(X.assign(job=job), y)
    assert fitted.transform(X.assign(job=job)).shape[0] == 90


def test_unseen_category(name: str) -> None:
    X, y = people()
    fitted = make(name).fit(X, y)
    new = X.iloc[:3].assign(job=["pilot", "cook", "clerk"])
    with pytest.warns(UserWarning, match="column 'job' has 1 values never seen in fit, the first in row 0"):
        z = fitted.transform(new)
    assert (z.sum(axis=1) == 4).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert fitted.buckets(new)[0, 2] == np.bincount(fitted.buckets(X)[:, 2]).argmax()
    with pytest.raises(BadInput, match="never seen in fit"):
        make(name, on_unseen="error").fit(X, y).transform(new)


def test_numbers_beyond_the_fitted_range(name: str) -> None:
    X, y = people()
    fitted = make(name).fit(X, y)
    low, high = fitted.buckets(X.iloc[:1].assign(age=-1e9)), fitted.buckets(X.iloc[:1].assign(age=1e9))
    assert low[0, 0] == 0 and high[0, 0] == fitted.generalisation_.sizes[0] - 1


def test_missing_values(name: str) -> None:
    X, y = people()
    fitted = make(name).fit(X, y)
    assert fitted.generalisation_.parts[2].column.categories == (None, "clerk", "cook")
    gap = X.copy()
    gap.loc[4, "age"] = np.nan
    for act in (lambda: make(name).fit(gap, y), lambda: fitted.transform(gap)):
        with pytest.raises(BadInput, match="column 'age' row 4: a missing value among numbers; fill it in"):
            act()
    with pytest.raises(BadInput, match="column 'age' row 0: infinity"):
        fitted.transform(X.assign(age=np.inf))
    with pytest.raises(BadInput, match="y row 2: the class is missing"):
        make(name).fit(X, [1, 0, None] + [0] * 87)


def test_absent_sensitive_column(name: str) -> None:
    X, y = people()
    assert make(name, sensitive=("sex",)).fit(X, y).transform(X).shape[0] == 90
    with pytest.raises(UnknownMethod, match="no column 'sexx'; did you mean 'sex'"):
        make(name, sensitive=("sexx",)).fit(X, y)
    assert make(name, sensitive=(1,)).fit(numbers(X), y).transform(numbers(X)).shape[0] == 90


def test_numbers_that_mean_categories(name: str) -> None:
    X, y = people()
    fitted = make(name, categorical=("age",)).fit(X.assign(age=(X["age"] // 30)), y)
    assert not fitted.generalisation_.parts[0].column.continuous


def test_bad_target(name: str) -> None:
    X, y = people()
    with pytest.raises(BadInput, match="y should have one class for each of the 90 records"):
        make(name).fit(X, y[:5])
    with pytest.raises(BadInput, match="measurements, not classes"):
        make(name).fit(X, np.linspace(0, 1, 90))
    with pytest.raises(BadInput, match="y is missing"):
        make(name).fit(X, None)


def test_three_classes(name: str) -> None:
    X, _ = people()
    assert make(name).fit(X, np.arange(90) % 3).transform(X).shape[0] == 90


def test_input_untouched(name: str) -> None:
    X, y = people()
    before, target = X.copy(), y.copy()
    array = numbers(X)
    array.setflags(write=False)
    make(name).fit(X, y).transform(X)
    make(name).fit(array, y).transform(array)
    pd.testing.assert_frame_equal(X, before)
    np.testing.assert_array_equal(y, target)


def test_parameters(name: str) -> None:
    X, y = people()
    minimizer = make(name, sensitive=("sex", "age"))
    held = minimizer.get_params(deep=False)
    assert set(held) == set(parameters(type(minimizer)))
    minimizer.fit(X, y)
    assert minimizer.get_params(deep=False) == held, "fit changed a hyper-parameter"
    copy = clone(minimizer)
    assert not hasattr(copy, "generalisation_")
    np.testing.assert_array_equal(copy.fit(X, y).transform(X), minimizer.transform(X))
    with pytest.raises(UnknownMethod, match="no_such_option"):
        build("privacy", name, no_such_option=1)


def test_saved_and_loaded_as_json(name: str) -> None:
    X, y = people()
    fitted = make(name, sensitive=("sex",)).fit(X, y)
    loaded = type(fitted).from_dict(json.loads(json.dumps(fitted.to_dict())))
    np.testing.assert_array_equal(loaded.transform(X), fitted.transform(X))
    assert loaded.generalise(X) == fitted.generalise(X) and loaded.to_dict() == fitted.to_dict()
    assert loaded.get_params(deep=False) == fitted.get_params(deep=False)


def test_not_fitted(name: str) -> None:
    with pytest.raises(NotFittedError):
        make(name).transform(people()[0])


def test_documented(name: str) -> None:
    cls = table("privacy")[name]
    doc = inspect.getdoc(cls) or ""
    assert re.search(r"Source:", doc), f"{cls.__name__} does not name its source"
    undocumented = [parameter.name for parameter in parameters(cls).values() if not parameter.help]
    assert not undocumented, f"{cls.__name__} does not document {undocumented}"
    assert meaning("privacy", name)
