"""Training on a policy's own samples, from data to model, through the run that the command line makes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from polyculture.align.job import Alignment
from polyculture.align.run import align
from polyculture.align.sampled.settings import Sampled
from polyculture.align.training import Training
from polyculture.align.watching.settings import Watch
from polyculture.errors import BadInput, UnknownMethod
from tests.align.stops import StopAt, Stopped, stop_in_the_second

HERE = "python:tests.align.test_sampled_run"


def even(prompts, completions):
    return [len(text.encode()) % 2 == 0 for text in completions]


def length(prompts, completions):
    return [float(len(text)) for text in completions]


def sampled_job(model, rows, out, **more):
    settings = {
        "objective": "f-dpg",
        "hyper": {"target": f"constraint:{HERE}:even", "samples": "6", "max_new_tokens": "5", "at-once": "12"},
        "training": Training(steps=4, batch_size=2, learning_rate=1e-3, cpu=True, max_length=64, log_every=1),
        "held_out": 0.2,
        "watch": None,
    }
    return Alignment(data=rows, model=model, out=Path(out), **settings | more)


def iterated_job(model, rows, out, **more):
    settings = {
        "objective": "dno-prct",
        "hyper": {"judge": f"{HERE}:length", "iterations": "2", "samples": "3", "max_new_tokens": "6", "eta": "0.2"},
        "training": Training(batch_size=4, learning_rate=1e-3, cpu=True, max_length=64),
        "held_out": 0.2,
        "watch": None,
    }
    return Alignment(data=rows, model=model, out=Path(out), **settings | more)


def same(one, other):
    a, b = (load_file(run.model / "model.safetensors") for run in (one, other))
    return all(torch.equal(a[name], b[name]) for name in a)


def test_f_dpg_goes_on_to_the_same_result(tiny_model, preferences, tmp_path, monkeypatch):
    from polyculture.align import ways

    whole = align(sampled_job(tiny_model, preferences, tmp_path / "whole"))
    assert whole.summary["steps"] == 4 and whole.summary["objective"] == "f-dpg"
    logged = [line for line in whole.summary["log"] if "js" in line]
    assert len(logged) == 4 and {"constraint", "z", "ess", "kl_p_pi", "tv", "baseline"} <= logged[0].keys()
    real = ways.train_on

    def stops(*args, **how):
        class Stopping(how["make"]):
            def __init__(self, *given, **more):
                super().__init__(*given, **more)
                self.add_callback(StopAt(2))

        real(*args, **how | {"make": Stopping})
        (tmp_path / "out" / "summary.json").unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(ways, "train_on", stops)
    with pytest.raises(KeyboardInterrupt):
        align(sampled_job(tiny_model, preferences, tmp_path / "out"))
    monkeypatch.setattr(ways, "train_on", real)
    resumed = align(sampled_job(tiny_model, preferences, tmp_path / "out"))
    assert resumed.resumed == "checkpoint-2" and same(whole, resumed)
    assert align(sampled_job(tiny_model, preferences, tmp_path / "out")).resumed == "finished before"


def test_f_dpg_is_watched_and_takes_a_divergence(tiny_model, preferences, tmp_path):
    watch = Watch(prompts=2, samples=2, max_new_tokens=4, alarm="off")
    job = sampled_job(tiny_model, preferences, tmp_path / "out", divergence="forward-kl", watch=watch)
    run = align(job)
    assert run.summary["hyper"] == {"divergence": "forward_kl"} and (tmp_path / "out" / "watch.jsonl").exists()
    with pytest.raises(BadInput, match="reverse_kl is infinite"):
        align(sampled_job(tiny_model, preferences, tmp_path / "other", divergence="reverse_kl"))
    with pytest.raises(UnknownMethod, match="targett"):
        align(sampled_job(tiny_model, preferences, tmp_path / "third", hyper={"targett": "reward:length"}))


def test_settings_are_told_from_the_objectives_own():
    sampled, rest = Sampled.out_of({"samples": "8", "at-once": 4, "beta": "0.5", "divergence": "tv"})
    assert sampled == Sampled(samples=8, at_once=4, beta=0.5) and rest == {"divergence": "tv"}
    with pytest.raises(BadInput, match="samples should be int"):
        Sampled.out_of({"samples": "many"})


@pytest.mark.slow
def test_dno_prct_goes_on_to_the_same_result(tiny_model, preferences, tmp_path, monkeypatch):
    whole = align(iterated_job(tiny_model, preferences, tmp_path / "whole"))
    summary = whole.summary
    assert [stage["status"] for stage in summary["stages"]] == ["done"] * 2 and summary["way"] == "dno-prct"
    assert [one["prompts"] for one in summary["yields"]] == [10, 9] and summary["yields"][0]["T>S"] > 0
    assert [one["iteration"] for one in summary["validation"]] == [0, 1, 2] and summary["best"] in (1, 2)
    assert summary["stages"][1]["reference"].endswith("stage-1/model")
    best = load_file(tmp_path / "whole" / f"stage-{summary['best']}" / "model" / "model.safetensors")
    final = load_file(whole.model / "model.safetensors")
    assert all(torch.equal(final[name], best[name]) for name in best)
    rows = [json.loads(line) for line in (tmp_path / "whole" / "stage-2" / "rows.jsonl").read_text().splitlines()]
    assert {row["iteration"] for row in rows} == {1, 2}
    calls = stop_in_the_second(monkeypatch)
    with pytest.raises(Stopped):
        align(iterated_job(tiny_model, preferences, tmp_path / "out"))
    resumed = align(iterated_job(tiny_model, preferences, tmp_path / "out"))
    assert calls == ["stage-1", "stage-2", "stage-2"] and same(whole, resumed)
    assert resumed.summary["validation"] == whole.summary["validation"]


def test_dno_prct_refuses_a_fixed_reference(tiny_model, preferences, tmp_path):
    with pytest.raises(BadInput, match="leave out the reference"):
        align(iterated_job(tiny_model, preferences, tmp_path / "out", reference=tiny_model))
