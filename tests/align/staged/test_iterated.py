from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from polyculture.align import METHODS
from polyculture.align.staged.candidates import Asked, Candidates, fitting
from polyculture.align.staged.dno_prct import DNOPrct
from polyculture.align.staged.iterated import iterate
from polyculture.align.staged.iteration_pairs import judged_rows, pooled_pairs
from polyculture.align.staged.stages import TrainedStage
from polyculture.errors import BadInput, UnknownMethod
from polyculture.methods import build
from tests.tiny_models import tiny_llama

ROWS = [{"prompt": f"Question {i}?", "chosen": f"Answer number {i} it is.", "rejected": "No."} for i in range(12)]


def scored(scores):
    """A judge that knows the score of each text."""
    return lambda prompts, candidates: [
        None if "?" in those else np.array([float(scores[text]) for text in those]) for those in candidates
    ]


def prompt(samples, teacher="T", cut=None):
    return Candidates(Asked("q", teacher), tuple(samples), tuple(cut or [False] * len(samples)))


def length(prompts, completions):
    return [float(len(text)) for text in completions]


def spread(prompts, candidates):
    """Points by length: the longest of a prompt has 6, the shortest 1."""
    return [np.clip(np.array([len(text) for text in those]) / 2, 1, 6) for those in candidates]


def test_rows_of_pairs_say_what_they_are():
    scores = {"good": 6, "fair": 5, "poor": 2, "T": 4}
    rows, about = judged_rows([prompt(["good", "fair", "poor"])], DNOPrct(points="as-given"), scored(scores), 2)
    found = {(row["chosen"], row["rejected"], row["category"]) for row in rows}
    assert found == {
        *(("good", "fair", "S>S"), ("good", "poor", "S>S"), ("good", "T", "S>T")),
        *(("fair", "poor", "S>S"), ("fair", "T", "S>T")),
    }
    assert rows[0] == {
        "prompt": "q",
        "chosen": "good",
        "rejected": "fair",
        "score_chosen": 6.0,
        "score_rejected": 5.0,
        "category": "S>S",
        "iteration": 2,
    }
    assert about["pairs"] == 5 and (about["S>S"], about["S>T"], about["T>S"]) == (3, 2, 0)
    assert about["points_of_teacher"] == 4 and about["best_score"] == 6 and about["words_of_samples"] == 1


def test_what_can_not_win_and_what_is_left_out():
    loop = "and so on " * 20
    scores = {"cut": 6, loop: 6, "T": 5, " ": 1, "same": 2}
    given = [prompt(["cut", loop, " ", "same"], cut=[True, False, False, False]), prompt(["?", "same"])]
    rows, about = judged_rows(given, DNOPrct(points="as-given"), scored(scores), 1)
    assert {(row["chosen"], row["rejected"]) for row in rows} == {("T", "cut"), ("T", loop), ("T", "same")}
    assert about["not judged"] == 1 and about["judged"] == 1 and about["cut or repeating"] == 2


def test_scores_of_any_scale_become_points_by_their_rank():
    scores = {"a": -30, "b": -20, "c": 0, "T": 100}
    rows, about = judged_rows([prompt(["a", "b", "c"])], DNOPrct(), scored(scores), 1)
    # Four scores: 0.75, 2.25, 3.75 and 5.25 points.
    assert [(row["chosen"], row["rejected"], row["score_rejected"]) for row in rows] == [
        ("T", "a", -30),
        ("T", "b", -20),
    ]
    assert about["points_of_teacher"] == 5.25


def test_variants():
    scores = {"a": 6, "b": 1, "T": 5}
    spin, _ = judged_rows([prompt(["a", "b"])], DNOPrct(points="as-given", variant="spin"), scored(scores), 1)
    assert [(row["chosen"], row["rejected"]) for row in spin] == [("T", "a"), ("T", "b")]
    only, _ = judged_rows([prompt(["a", "b"])], DNOPrct(points="as-given", variant="restrictive"), scored(scores), 1)
    assert [(row["chosen"], row["rejected"]) for row in only] == [("T", "b")]


def test_settings():
    way = build("align", "dno-prct", eta="0.05", iterations="2", judge="length", variant="spin")
    assert way == DNOPrct(judge="length", eta=0.05, iterations=2, variant="spin") and METHODS["dno-prct"] is DNOPrct
    assert way.objective.name == "dno-prct" and way.objective.hyper == {"eta": 0.05}
    assert way.ranked and not DNOPrct(judge="llm:judge").ranked and DNOPrct(judge="llm:judge", points="ranked").ranked
    for wrong in ({"eta": 0.0}, {"iterations": 0}, {"samples": 0}, {"replay": 0.6}, {"temperature": -1.0}):
        with pytest.raises(BadInput):
            DNOPrct(**wrong)
    for wrong in ({"variant": "spinn"}, {"points": "given"}):
        with pytest.raises(UnknownMethod):
            DNOPrct(**wrong)


@pytest.fixture(scope="module")
def talker(tmp_path_factory):
    """A model whose samples end: half of its tokens are ends."""
    folder = tiny_llama(tmp_path_factory.mktemp("model"))
    (folder / "generation_config.json").write_text(
        json.dumps({"eos_token_id": list(range(150, 384)), "pad_token_id": 2})
    )
    return folder


class Copying:
    """A training that trains nothing, but leaves another model: the tokens that end a sample are others."""

    def __init__(self, stop_in=None):
        self.rows, self.references, self.stop_in = [], [], stop_in

    def __call__(self, rows, model, reference, out):
        self.rows.append(rows)
        self.references.append((model, reference))
        if len(self.rows) == self.stop_in:
            raise KeyboardInterrupt
        shutil.copytree(model, out / "model")
        config = out / "model" / "config.json"
        config.write_text(config.read_text().replace("{", f'{{"trained": {len(self.rows)},', 1))
        return TrainedStage(out / "model", {"loss": 0.0})


WAY = DNOPrct(judge=spread, points="as-given", iterations=3, samples=3, max_new_tokens=12, validation=4)


def run(talker, out, training, way=WAY, rows=ROWS, held_out=ROWS[:3], **more):
    return iterate(way, rows, held_out, training, out, model=str(talker), device="cpu", seed=1, **more)


def test_each_iteration_has_its_own_prompts_and_replays_earlier_pairs(talker, tmp_path):
    training = Copying()
    found = run(talker, tmp_path / "out", training)
    own = [{row["prompt"] for row in rows if row["iteration"] == t} for t, rows in enumerate(training.rows, 1)]
    assert not own[0] & own[1] and not own[1] & own[2] and all(own)
    replayed = [[row["iteration"] for row in rows if row["iteration"] < t] for t, rows in enumerate(training.rows, 1)]
    assert not replayed[0] and set(replayed[1]) == {1}
    assert len(replayed[1]) <= 0.3 * len(training.rows[1])
    assert [model == reference for model, reference in training.references] == [True] * 3
    assert training.references[1][0].endswith("stage-1/model")
    assert [one["iteration"] for one in found.yields] == [1, 2, 3] and found.yields[0]["prompts"] == 4
    assert [one["iteration"] for one in found.validation] == [0, 1, 2, 3] and found.validation[0]["win_rate"] == 0.5
    assert found.model == found.staged.stages[found.best - 1].model
    scores = [one["score"] for one in found.validation[1:]]
    assert scores[found.best - 1] == max(scores)
    assert json.loads(json.dumps(found.about()))["way"] == "dno-prct"
    pooled = pooled_pairs(tmp_path / "out")
    assert len(pooled) == sum(one["pairs"] for one in found.yields)
    with pytest.raises(BadInput, match="no run of dno-prct"):
        pooled_pairs(tmp_path)


def test_a_stopped_run_goes_on_without_sampling_again(talker, tmp_path, monkeypatch):
    whole = Copying()
    run(talker, tmp_path / "whole", whole)
    with pytest.raises(KeyboardInterrupt):
        run(talker, tmp_path / "out", Copying(stop_in=2))
    kept = (tmp_path / "out" / "candidates-2.jsonl").stat().st_mtime_ns
    resumed = Copying()
    found = run(talker, tmp_path / "out", resumed)
    assert [stage.status for stage in found.staged.stages] == ["kept", "done", "done"]
    assert (tmp_path / "out" / "candidates-2.jsonl").stat().st_mtime_ns == kept
    assert resumed.rows == whole.rows[1:]

    def refuse(*given, **more):
        raise AssertionError("sampled again")

    monkeypatch.setattr("polyculture.llm.transformers.TransformersLLM.generate", refuse)
    again = run(talker, tmp_path / "out", refuse)
    assert [stage.status for stage in again.staged.stages] == ["kept"] * 3 and again.validation == found.validation


def test_samples_are_judged_again_after_a_judge_that_failed(talker, tmp_path):
    def fails(prompts, candidates):
        raise ConnectionError("no judge")

    with pytest.raises(ConnectionError):
        run(talker, tmp_path, Copying(), way=DNOPrct(**{**vars(WAY), "judge": fails}))
    kept = (tmp_path / "candidates-1.jsonl").read_text()
    run(talker, tmp_path, Copying())
    assert (tmp_path / "candidates-1.jsonl").read_text() == kept


def test_what_can_not_be_run(talker, tmp_path):
    with pytest.raises(BadInput, match="3 iterations of 2 prompts"):
        run(talker, tmp_path / "a", Copying(), rows=ROWS[:2] * 3)
    alone = [{"prompt": row["prompt"]} for row in ROWS]
    with pytest.raises(BadInput, match="the teacher wins, but no row has its answer"):
        run(talker, tmp_path / "b", Copying(), way=DNOPrct(**{**vars(WAY), "variant": "spin"}), rows=alone)
    strict = DNOPrct(**{**vars(WAY), "min_positive": 7.0})
    with pytest.raises(BadInput, match=r"iteration 1: no pair has a clear winner \(judged: 4 of 4 prompts;"):
        run(talker, tmp_path / "c", Copying(), way=strict)
    easy = DNOPrct(**{**vars(WAY), "min_positive": 1.5, "margin_student": 0.1})
    assert run(talker, tmp_path / "d", Copying(), way=easy, rows=alone, held_out=[]).best == 3


def test_chat_prompts_stay_messages(talker, tmp_path):
    def chat(i, role, text):
        return [{"role": role, "content": f"{text} {i}"}]

    rows = [{"prompt": chat(i, "user", "Say"), "completion": chat(i, "assistant", "Right you are,")} for i in range(6)]
    training = Copying()
    run(talker, tmp_path, training, way=DNOPrct(**{**vars(WAY), "iterations": 1}), rows=rows, held_out=[])
    row = training.rows[0][0]
    assert row["prompt"][0]["role"] == "user" and isinstance(row["chosen"], str)


def test_prompts_that_leave_no_room_for_an_answer_are_left_out(tiny_model: str) -> None:
    long, short = Asked("wheat " * 400), Asked("wheat")
    with pytest.warns(
        UserWarning, match="1 of 2 prompts left out: no room for an answer in the model's context of 256"
    ):
        assert fitting([long, short], tiny_model, "prompt") == [short]
    with pytest.raises(BadInput, match="no prompt leaves room for an answer"):
        fitting([long], tiny_model, "prompt")
