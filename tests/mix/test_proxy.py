"""Proxy runs on a tiny model: losses follow the mixture, finished runs are kept, other settings are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.mix.linear import LinearMixer
from polyculture.mix.proxy import ProxySettings, byte_model, group_tokens, run_name, run_proxies
from polyculture.pool import Pool

SETTINGS = ProxySettings(steps=24, batch_size=8, length=16, checkpoints=2, learning_rate=1e-2)


def pool() -> Pool:
    texts = ["abcabcabcabcabcabc"] * 30 + ["xyzzyxxyzzyx"] * 30
    return Pool.from_arrays(texts=texts, groups=["letters"] * 30 + ["spells"] * 30)


def test_losses_follow_the_mixture_and_runs_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "runs.csv"
    mixtures = [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]
    told: list[tuple[str, int, int]] = []
    first = run_proxies(pool(), mixtures[:2], file, settings=SETTINGS, progress=lambda *a: told.append(a))
    assert first.groups == ("letters", "spells") and first.scores == ("loss:letters", "loss:spells")
    assert first.minimise.all() and first.progress.tolist() == [0.5, 1.0, 0.5, 1.0]
    last = first.values[[1, 3]]
    assert last[0, 0] < last[0, 1] - 1 and last[1, 1] < last[1, 0] - 1
    assert told[-1] == ("proxy runs", 48, 48)

    text = file.read_text()
    made = []
    both = run_proxies(
        pool(), mixtures, file, settings=SETTINGS, make_model=byte_model, progress=lambda *a: made.append(a)
    )
    assert file.read_text().startswith(text) and len(both) == 6
    assert {what for what, _, _ in made} == {"proxy run 3 of 3", "proxy runs"}

    again = run_proxies(pool(), mixtures, file, settings=SETTINGS, make_model=byte_model)
    np.testing.assert_array_equal(again.values, both.values)


def test_a_run_is_the_same_alone_or_after_others(tmp_path: Path) -> None:
    a = run_proxies(pool(), [[1, 0], [0.5, 0.5]], tmp_path / "a.csv", settings=SETTINGS)
    b = run_proxies(pool(), [[0.5, 0.5]], tmp_path / "b.csv", settings=SETTINGS)
    np.testing.assert_array_equal(a.values[2:], b.values)


def test_stopped_in_the_middle_it_goes_on(tmp_path: Path) -> None:
    def stop(what: str, done: int, total: int) -> None:
        if done == SETTINGS.steps + 5:
            raise KeyboardInterrupt

    mixtures, file = [[1, 0], [0, 1]], tmp_path / "runs.csv"
    with pytest.raises(KeyboardInterrupt):
        run_proxies(pool(), mixtures, file, settings=SETTINGS, progress=stop)
    assert len(file.read_text().splitlines()) == 3  # the header and both checkpoints of the first run
    resumed = run_proxies(pool(), mixtures, file, settings=SETTINGS)
    whole = run_proxies(pool(), mixtures, tmp_path / "whole.csv", settings=SETTINGS)
    np.testing.assert_array_equal(resumed.values, whole.values)
    mixer = LinearMixer(folds=0, batch=4).fit(whole)
    assert mixer.minimise_.all() and mixer.weights_.sum() == pytest.approx(1)


def test_a_file_of_other_settings_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "runs.csv"
    run_proxies(pool(), [[1, 0]], file, settings=ProxySettings(steps=2, batch_size=2, length=8))
    with pytest.raises(BadInput, match="other steps;"):
        run_proxies(pool(), [[0, 1]], file, settings=ProxySettings(steps=3, batch_size=2, length=8))
    (tmp_path / "runs.csv.settings.json").unlink()
    with pytest.raises(BadInput, match="not how its runs were made"):
        run_proxies(pool(), [[0, 1]], file, settings=ProxySettings(steps=2, batch_size=2, length=8))


def test_bad_input(tmp_path: Path) -> None:
    file = tmp_path / "runs.csv"
    with pytest.raises(BadInput, match="3 weights, but there are 2 groups"):
        run_proxies(pool(), [[1, 0, 0]], file)
    with pytest.raises(BadInput, match="no group 'novels'"):
        run_proxies(pool(), [[1, 0]], file, groups=["letters", "novels"])
    with pytest.raises(BadInput, match="too few for a sequence of 1000"):
        run_proxies(pool(), [[1, 0]], file, settings=ProxySettings(length=1000))
    with pytest.raises(BadInput, match="negative"):
        run_proxies(pool(), [[1.5, -0.5]], file)
    for bad in ({"steps": 0}, {"holdout": 1.0}, {"steps": 3, "checkpoints": 4}, {"length": 1}):
        with pytest.raises(BadInput):
            ProxySettings(**bad)
    with pytest.raises(BadInput, match="--groups"):
        run_proxies(Pool.from_arrays(texts=["a"]), [[1.0]], file)
    assert not file.exists()


def test_tokens_and_names() -> None:
    streams = group_tokens(Pool.from_arrays(texts=["é", "b"], groups=["x", "y"]))
    assert streams["x"].tolist() == [195, 169, 256] and streams["y"].tolist() == [98, 256]
    assert run_name(np.array([0.5, 0.5])) == run_name(np.array([0.5, 0.5 + 1e-12])) != run_name(np.array([0.4, 0.6]))
