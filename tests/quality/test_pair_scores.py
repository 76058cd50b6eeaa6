"""Reward margins of pairs, and a judge's rating of prompts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from polyculture.cli.app import app
from polyculture.errors import BadInput
from polyculture.llm.scripted import ScriptedLLM
from polyculture.pool import Pool
from polyculture.quality.base import make_scorer
from polyculture.quality.columns import with_columns
from polyculture.quality.prompt_quality import PromptQuality
from polyculture.quality.reward_margin import RewardMarginQuality


@pytest.fixture
def pool() -> Pool:
    bare = Pool.from_arrays(texts=["p", "q"], source="pairs.jsonl")
    return with_columns(bare, prompt=["p", "q"], chosen=["long answer", "no"], rejected=["short", "longer"])


def test_margin_is_signed(pool: Pool) -> None:
    assert RewardMarginQuality("length").score(pool).tolist() == [6.0, -4.0]
    assert RewardMarginQuality("length", absolute=True).score(pool).tolist() == [6.0, 4.0]
    assert RewardMarginQuality("length", rejected=None, prompt=None).score(pool).tolist() == [11.0, 2.0]


def test_the_reward_sees_prompt_and_response(pool: Pool) -> None:
    seen: list[str] = []

    def reward(texts: list[str]) -> list[float]:
        seen.extend(texts)
        return [float(len(text)) for text in texts]

    RewardMarginQuality(reward).score(pool)
    assert seen == ["p\n\nlong answer", "q\n\nno", "p\n\nshort", "q\n\nlonger"]


def test_rewards_that_are_there_already(pool: Pool) -> None:
    held = with_columns(pool, r_w=[2.0, 1.0], r_l=[0.5, 3.0])
    scorer = RewardMarginQuality(None, chosen="r_w", rejected="r_l")
    assert scorer.score(held).tolist() == [1.5, -2.0]
    assert RewardMarginQuality(None, chosen="r_w", rejected=None).score(held).tolist() == [2.0, 1.0]
    with pytest.raises(BadInput, match="column of rewards"):
        RewardMarginQuality(None, chosen=None).score(held)


def test_margin_refuses(pool: Pool) -> None:
    with pytest.raises(BadInput, match="row 1: column 'better' is missing"):
        RewardMarginQuality("length", chosen="better").score(pool)
    with pytest.raises(BadInput, match="2 finite numbers for column 'chosen'"):
        RewardMarginQuality(lambda texts: [np.nan] * len(texts)).score(pool)


def test_margins_on_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"p{i}", "chosen": "x" * (10 + i), "rejected": "y" * 10} for i in range(6)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ["--quality", "reward-margin", "--reward", "length", "--measures", "mean-reward"]
    options += ["--embedder", "none", "--json"]
    result = CliRunner().invoke(app, ["measure", str(path), *options])
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["values"]["mean-reward"]["value"] == 2.5
    chosen = ["select", str(path), "-k", "2", "--method", "fifa", "--gamma", "0", "--quality", "reward-margin"]
    result = CliRunner().invoke(app, [*chosen, "--embedder", "none", "--json"])
    assert result.exit_code == 0, result.output
    assert len(json.loads(result.output)["rows"]) == 2


def test_prompt_quality_reads_the_first_number() -> None:
    replies = {"good": "9", "so-so": "Rating: 5.5 of 10", "huge": "42", "odd": "cannot say"}
    asked: list[str] = []

    def reply(prompt: object, sample: int, random: object) -> str:
        asked.append(str(prompt))
        return next(answer for text, answer in replies.items() if text in str(prompt))

    pool = Pool.from_arrays(texts=["good", "so-so", "huge", "odd", "good"])
    with pytest.warns(UserWarning, match="1 of 4 replies"):
        scores = PromptQuality(ScriptedLLM(reply)).score(pool)
    assert scores.tolist() == [9.0, 5.0, 10.0, 0.0, 9.0]
    assert len(asked) == 4, "equal texts are asked about once"
    with pytest.raises(BadInput, match="braces"):
        PromptQuality(ScriptedLLM(reply), question="{prompt}?").score(pool)
    assert make_scorer("prompt-quality", model=ScriptedLLM(reply)).name == "prompt-quality"
