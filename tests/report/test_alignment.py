"""The page of an alignment run: what it says, what it leaves out, and that it opens."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polyculture.align.watching.log import Observation
from polyculture.errors import BadInput
from polyculture.report.alignment import render_alignment, write_alignment
from polyculture.report.alignment_figures import figures_of
from polyculture.report.alignment_run import AlignmentReport, read_alignment
from tests.report.conftest import NASTY

Open = Callable[..., Any]
WATCH = {
    "samples": 2,
    "reward": "heuristic",
    "embedder": "tfidf",
    "k": 10,
    "window": 3,
    "collapse": 0.5,
    "alarm": "warn",
}


def seen(step: int, **changes: Any) -> Observation:
    t = step / 40
    metrics = {
        "reward": 0.2 + t,
        "reward_low": 0.1 + t,
        "reward_high": 0.3 + t,
        "vendi_prompt": 1.9 - t / 4,
        "vendi_across": 5 - t,
        "ead_prompt": 0.8,
        "ead_across": 0.7,
        "entropy": 3.0,
        "top_k_entropy": 2 - t,
        "top_k_mass": 0.5,
        "reverse_kl": t,
        "reverse_kl_sample": 9 * t,
        "forward_kl": t,
        "forward_kl_sample": 8 * t,
        "chosen": -1 - t,
        "rejected": -1 - 3 * t,
        "chosen_likelier": 0.9,
        "length": 12.0,
        "ended": 0.5,
    }
    samples = [
        {"prompt": f"{NASTY} {i}", "answers": [f"{NASTY} at {step}", "  ", "third"], "rewards": [0.25, 0.5, 0.75]}
        for i in range(6)
    ]
    fields: dict[str, Any] = {"samples": samples, "settings": WATCH if step == 0 else {}}
    return Observation(step, metrics | changes.pop("metrics", {}), **(fields | changes))


ALARM = {"reason": "mass loss", "step": 20, "stop_at": 10}
LOG = [
    {"loss": 0.7 - step / 100, "rewards/accuracies": 0.5, "rewards/margins": 0.1, "logps/chosen": -9.0, "step": step}
    for step in (5, 10, 15)
] + [{"train_runtime": 3.0, "step": 40}]
SUMMARY = {
    "objective": "dpo",
    "model": "/models/tiny <b>",
    "reference": "the model before training",
    "data": "org/pairs",
    "rows": 100,
    "examples": 95,
    "held_out": 10,
    "cuts": "2 prompts were cut",
    "steps": 40,
    "seconds": 300.0,
    "log": LOG,
    "versions": {"torch": "2.13"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    run.mkdir()
    (run / "summary.json").write_text(json.dumps(SUMMARY))
    (run / "settings.json").write_text(json.dumps({"training": {"epochs": 1, "lora": None}}))
    steps = [seen(0), seen(10), seen(20, alarm=ALARM), seen(30, alarm=ALARM), seen(40, alarm=ALARM)]
    (run / "watch.jsonl").write_text("".join(one.line() + "\n" for one in steps))
    aside = [
        {"place": f"row {i}", "reason": "the same" if i % 3 else f"empty {NASTY}", "row": {"x": NASTY}}
        for i in range(7)
    ]
    (run / "rejected.jsonl").write_text("".join(json.dumps(row) + "\n" for row in aside) + "not json\n")
    return run


def text_of(page: Any) -> str:
    return " ".join(page.locator("body").inner_text().split())


def test_the_page_says_what_happened(open_page: Open, folder: Path) -> None:
    page = open_page(render_alignment(folder))
    told = text_of(page)
    assert page.locator("h1").inner_text() == "dpo on org/pairs"
    assert "tiny <b> was trained with dpo on 95 examples of org/pairs, for 40 steps." in told
    assert "went from 0.2 [0.1, 0.3] to 1.2 [1.1, 1.3]" in told
    assert "Its 2 answers to one prompt amounted to 1.9 different ones before and 1.65 after" in told
    assert "chosen answers fell by 1 nats a token; that of rejected ones fell by 3" in told
    assert "At step 20 the policy showed a sign of over-optimisation (mass loss)" in told and "at step 10" in told
    assert (
        "7 rows were set aside (6 %)" in told and "2 prompts were cut." in told and "100 rows gave 95 examples" in told
    )
    assert page.locator("#data-used .reason-name").all_text_contents() == ["the same", f"empty {NASTY}"]
    assert page.locator("#data-used .count").all_inner_texts() == ["4 rows", "3 rows"]
    assert page.locator("#made table").count() == 3 and "training.lora" not in told
    assert "5 min" in told


def test_every_plot_is_drawn_and_the_path_goes_from_start_to_end(open_page: Open, folder: Path) -> None:
    page = open_page(render_alignment(folder))
    boxes = page.locator("[data-figure]")
    assert boxes.count() == 1 + 4 + 6 + 2 + 3 + 2
    for box in boxes.all():
        box.scroll_into_view_if_needed()
        box.locator(".main-svg").first.wait_for()
    path = page.locator("[data-figure=path]")
    assert path.locator(".scatterlayer .point").count() == 5
    assert path.locator(".textpoint").all_text_contents() == ["start", "end"]
    assert len(set(path.locator(".scatterlayer .point").evaluate_all("ps => ps.map((p) => p.style.fill)"))) == 5
    assert page.locator("[data-figure=reward] .annotation").text_content() == "alarm"
    assert page.locator("[data-figure=reward] .shapelayer path").count() == 1


def test_answers_stand_side_by_side_and_run_nothing(open_page: Open, folder: Path) -> None:
    page = open_page(render_alignment(folder))
    first = page.locator(".sample").first
    assert first.locator(".question").text_content() == f"{NASTY} 0"
    assert first.locator("h4").all_inner_texts() == ["before (step 0)", "after (step 40)"]
    assert first.locator("blockquote").nth(0).text_content() == f"{NASTY} at 0"
    assert first.locator("blockquote").nth(1).text_content() == "(nothing)"
    assert page.locator(".sample:visible").count() == 4
    page.locator(".more > summary").click()
    assert page.locator(".sample:visible").count() == 6
    boxes = [first.locator(".answers > div").nth(i).bounding_box() for i in (0, 1)]
    assert boxes[0]["y"] == boxes[1]["y"] and boxes[0]["x"] < boxes[1]["x"]
    assert page.evaluate("window.ran") is None and page.locator("main script, main img").count() == 0


def test_a_phone_has_no_sideways_scroll(open_page: Open, folder: Path) -> None:
    page = open_page(render_alignment(folder), width=390, height=844, has_touch=True, is_mobile=True)
    for box in page.locator("[data-figure]").all():
        box.scroll_into_view_if_needed()
        page.wait_for_timeout(30)
    page.locator("details.reason").first.locator("summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    anchors = page.evaluate("[...document.querySelectorAll('nav a')].map((a) => a.getAttribute('href').slice(1))")
    assert len(anchors) == 10 and all(page.locator(f"[id='{anchor}']").count() == 1 for anchor in anchors)


def test_a_change_is_called_better_or_worse_only_where_intervals_are_apart() -> None:
    apart = render_alignment(AlignmentReport(observations=[seen(0), seen(40)]))
    near = render_alignment(AlignmentReport(observations=[seen(0), seen(4)]))
    assert apart.count('class="change better"') == 1 and 'class="change worse"' not in apart
    assert 'class="change better"' not in near and near.count('class="change same"') == 8


def test_the_frontier_says_what_may_be_chance_and_the_alarms_numbers_have_bands() -> None:
    kept = {"top_k_entropy": [1.0, 2.0, 3.0], "top_k_mass": [0.5, 0.6, 0.4]}

    def figures(*steps: int) -> dict[str, Any]:
        several = [seen(step, by_prompt=kept) for step in steps]
        return {one.id: one for group in figures_of(several, [], WATCH, {}) for one in group.figures}

    assert "overlap in reward:" in figures(0, 4)["path"].caption and "overlap" not in figures(0, 40)["path"].caption
    low, high = (getattr(figures(0, 4)["top-k-entropy"].plot.curves[0], end)[0] for end in ("low", "high"))
    assert (low + high) / 2 == pytest.approx(2) and high - low == pytest.approx(2 * 4.3027 / math.sqrt(3), rel=1e-3)


def test_blank_lines_around_prompts_and_answers_are_not_shown() -> None:
    samples = [{"prompt": "\n\nHuman: hi", "answers": [" yes\n"], "rewards": [1.0]}]
    page = render_alignment(AlignmentReport(observations=[seen(0, samples=samples), seen(4, samples=samples)]))
    assert ">Human: hi</p>" in page and page.count(">yes</blockquote>") == 2


def test_what_there_is_not_the_page_leaves_out(open_page: Open) -> None:
    page = open_page(render_alignment(AlignmentReport({"objective": "sft", "log": []})))
    told = text_of(page)
    assert "A model was trained with sft, for 0 steps." in told and "was not watched" in told
    assert page.locator("[data-figure], .card, .sample").count() == 0
    once = render_alignment(AlignmentReport(observations=[seen(0)]))
    assert "one evaluation only" in once and "after (step 0)" in once and "before (step" not in once
    unrewarded = [
        Observation(
            step, {"vendi_prompt": 1.5, "vendi_across": 2.0, "entropy": math.nan, "top_k_entropy": 1.0}, settings=WATCH
        )
        for step in (0, 5)
    ]
    page = open_page(render_alignment(AlignmentReport(observations=unrewarded)))
    assert "mean reward" not in text_of(page) and page.locator("[data-figure]").count() == 3
    assert "Alarm none raised" in text_of(page)


def test_with_one_sample_a_prompt_diversity_is_that_across_prompts() -> None:
    alone = [seen(0, settings={**WATCH, "samples": 1}), seen(40)]
    page = render_alignment(AlignmentReport(observations=alone))
    assert "Its answers to different prompts amounted to 5 different ones before and 4 after" in page
    assert "<h3>Diversity across prompts</h3>" in page and page.count("<h3>Diversity for one prompt</h3>") == 1, (
        "a plot"
    )
    groups = figures_of(alone, [], alone[0].settings, {})
    assert groups[0].figures[0].plot.y == "diversity across prompts (Vendi score)"


def test_a_run_in_stages_is_joined(folder: Path) -> None:
    for number in (1, 2):
        stage = folder / f"stage-{number}"
        stage.mkdir()
        (stage / "watch.jsonl").write_text("".join(seen(s, alarm=ALARM if s else None).line() + "\n" for s in (0, 20)))
        checkpoint = stage / "checkpoint-20"
        checkpoint.mkdir()
        (checkpoint / "trainer_state.json").write_text(json.dumps({"log_history": LOG[:3]}))
    run = read_alignment(folder)
    assert [one.step for one in run.observations] == [0, 20, 20, 40]
    assert run.observations[-1].alarm == {"reason": "mass loss", "step": 40, "stop_at": 30}
    assert [row["step"] for row in run.log] == [5, 10, 15, 25, 30, 35]
    assert run.kept == ""
    (folder / "stage-2" / "before-alarm").mkdir()
    assert "with a checkpoint from there" in render_alignment(folder), "the first alarm was in stage 1"
    (folder / "stage-1" / "before-alarm").mkdir()
    assert "that of stage-1/before-alarm" in render_alignment(folder)
    assert run.marks == {"stage 2": 20} and run.alarm == ALARM
    assert "The run has several stages" in render_alignment(run)


def test_one_row_is_one_row() -> None:
    page = render_alignment(AlignmentReport({"rows": 9, "examples": 8, "held_out": 1, "rejected": 1}))
    assert "1 row was held out." in page and "1 row was set aside (10 %)." in page


def test_a_run_that_is_read_keeps_what_was_seen_by_prompt(folder: Path) -> None:
    (folder / "watch.jsonl").write_text(seen(0, by_prompt={"top_k_mass": [0.5, 0.25]}).line() + "\n")
    assert read_alignment(folder).observations[0].by_prompt == {"top_k_mass": [0.5, 0.25]}


def test_the_page_is_written_beside_the_run(folder: Path) -> None:
    assert write_alignment(folder) == folder / "report.html"
    assert (folder / "report.html").read_text().startswith("<!doctype html>")


def test_a_folder_of_nothing_and_a_damaged_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no alignment run"):
        read_alignment(tmp_path)
    (tmp_path / "summary.json").write_text("{")
    with pytest.raises(BadInput, match=r"can't read .*summary\.json"):
        read_alignment(tmp_path)
