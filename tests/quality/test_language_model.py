"""Scores under a language model, against the model's own loss; batches, blocks, long and empty texts, shared passes."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from polyculture.errors import BadInput
from polyculture.llm.scoring import Scorer
from polyculture.llm.untrained import untrained_model
from polyculture.methods import build, parameters, parse, table
from polyculture.pool import Pool
from polyculture.quality import language_model
from polyculture.quality.base import make_scorer, score_pool
from polyculture.quality.difficulty import (
    IFDQuality,
    PredictionDifficultyQuality,
    UPDQuality,
    difficulty_of_logits,
    prediction_difficulty,
)
from polyculture.quality.language_model import ModelQuality, score_together
from polyculture.quality.perplexity import LogLikelihoodQuality, PerplexityQuality
from polyculture.reading import read_pool
from tests.tiny_models import tiny_llama

PAIRS = [
    ("What is 12 + 30?", "The answer is 42."),
    ("Say", ""),
    ("", "Plant oats."),
    ("What is 7 * 6?", "42, I think."),
]
KINDS = (PerplexityQuality, LogLikelihoodQuality, PredictionDifficultyQuality, UPDQuality, IFDQuality)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("model"), context=64)


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": p, "response": r}) + "\n" for p, r in PAIRS))
    return read_pool(path)


def by_hand(scorer: ModelQuality, prompt: str, response: str) -> tuple[torch.Tensor, list[int], int]:
    """Logits of one pair, computed alone and without a cache, its ids, and how many of them are the prompt."""
    llm = scorer.llm
    before = llm.prompt_ids(prompt) if prompt else [llm.tokenizer.bos_token_id]
    ids = before + llm.tokenizer(response, add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        return llm.model(torch.tensor([ids])).logits[0].double(), ids, len(before)


def test_against_the_models_own_loss(folder: Path, pool: Pool) -> None:
    model = str(folder)
    perplexity, upd, loss = PerplexityQuality(model), UPDQuality(model), PredictionDifficultyQuality(model)
    ifd = IFDQuality(model, ceiling=None)
    found = {s.name: s.score(pool) for s in (perplexity, upd, loss, ifd, LogLikelihoodQuality(model))}
    for i, (prompt, response) in enumerate(PAIRS):
        if not response:
            continue
        logits, ids, start = by_hand(perplexity, prompt, response)
        want = torch.nn.functional.cross_entropy(logits[start - 1 : -1], torch.tensor(ids[start:])).item()
        assert found["prediction-difficulty"][i] == pytest.approx(want, rel=1e-4)
        assert found["log-likelihood"][i] == pytest.approx(-want, rel=1e-4)
        assert found["perplexity"][i] == pytest.approx(-np.exp(want), rel=1e-3)
        assert found["upd"][i] == pytest.approx(difficulty_of_logits(logits.numpy(), ids, start).score, abs=1e-5)
        bare, bare_ids, _ = by_hand(perplexity, "", response)
        alone = torch.nn.functional.cross_entropy(bare[:-1], torch.tensor(bare_ids[1:])).item()
        assert found["ifd"][i] == pytest.approx(want / alone, rel=1e-4)
    assert found["ifd"][2] == pytest.approx(1.0, abs=1e-6)  # no prompt, no help


def test_empty_responses_are_as_bad_as_chance_or_no_difficulty(folder: Path, pool: Pool) -> None:
    size = PerplexityQuality(str(folder)).llm.model.config.vocab_size
    want = [-size, -np.log(size), 0.0, 0.0, 0.0]
    assert [kind(str(folder)).score(pool)[1] for kind in KINDS] == pytest.approx(want)


def test_one_pass_for_several_scores(folder: Path, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    scorers = [PerplexityQuality(str(folder)), UPDQuality(str(folder)), LogLikelihoodQuality(str(folder))]
    alone = [scorer.score(pool) for scorer in scorers]
    passes = []
    score = Scorer.score
    monkeypatch.setattr(Scorer, "score", lambda self, *args: passes.append(1) or score(self, *args))
    together = score_together(pool, scorers)
    np.testing.assert_allclose(together, alone, rtol=1e-6)
    assert len(passes) == 1
    with pytest.raises(BadInput, match="same model"):
        score_together(pool, [scorers[0], UPDQuality(str(folder), max_length=9)])


def test_batches_blocks_and_chunks_change_nothing(folder: Path, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    want = UPDQuality(str(folder)).score(pool)
    monkeypatch.setattr(language_model, "BLOCK_PAIRS", 3)
    monkeypatch.setattr(language_model, "CHUNK_BYTES", 1)
    np.testing.assert_allclose(UPDQuality(str(folder), batch_size=1).score(pool), want, atol=1e-6)


def test_long_texts_are_cut_and_it_is_said(folder: Path) -> None:
    texts = ["oats " * 60, "rye"]
    scorer = LogLikelihoodQuality(str(folder), prompt=None, response=None)
    with pytest.warns(UserWarning, match="1 of 2 rows cut to fit 64 tokens"):
        cut = scorer.score(Pool.from_arrays(texts=texts))
    assert np.isfinite(cut).all()
    whole = LogLikelihoodQuality(str(folder), max_length=2, prompt=None, response=None)
    with pytest.warns(UserWarning, match="2 of 2 rows cut to fit 2 tokens"):
        assert np.isfinite(whole.score(Pool.from_arrays(texts=texts))).all()
    with pytest.raises(BadInput, match="max_length"):
        LogLikelihoodQuality(str(folder), max_length=1, prompt=None, response=None).score(Pool.from_arrays(texts=texts))


def test_a_long_prompt_loses_its_start(folder: Path) -> None:
    scorer = LogLikelihoodQuality(str(folder), max_length=6, chat=False)
    llm = scorer.llm
    prompt = llm.tokenizer("What is the answer of 12?", add_special_tokens=False)["input_ids"]
    with pytest.warns(UserWarning, match="cut to fit 6 tokens: the prompt at the start"):
        got = scorer.score_pairs([("What is the answer of 12?", " 4")])[0]
    end = llm.tokenizer(" 4", add_special_tokens=False)["input_ids"]
    assert got == pytest.approx(llm.token_logprobs([prompt[-(6 - len(end)) :]], [end])[0].mean(), abs=1e-5)


def test_in_memory_and_from_a_folder_agree_and_identities_differ(folder: Path, pool: Pool) -> None:
    saved = UPDQuality(str(folder))
    memory = UPDQuality((saved.llm.model, saved.llm.tokenizer))
    np.testing.assert_array_equal(saved.score(pool), memory.score(pool))
    assert saved.identity == UPDQuality(str(folder), batch_size=3).identity
    assert saved.identity != UPDQuality(str(folder), beta=2.0).identity
    with pytest.raises(BadInput, match="a path, a hub id, or"):
        UPDQuality((1, 2, 3)).score(pool)  # type: ignore[arg-type]


def test_cached_by_pair_and_sent_without_the_model(folder: Path, pool: Pool, tmp_path: Path) -> None:
    first = score_pool(pool, make_scorer("upd", model=str(folder)), cache=tmp_path / "cache").q
    scorer = UPDQuality(str(folder))
    assert "llm" not in pickle.loads(pickle.dumps(scorer)).__dict__
    scorer.score_pairs([("a", "b")])
    assert "llm" not in pickle.loads(pickle.dumps(scorer)).__dict__
    scorer.score = lambda pool: pytest.fail("scored again")  # type: ignore[method-assign, assignment]
    np.testing.assert_allclose(score_pool(pool, scorer, cache=tmp_path / "cache").q, first, rtol=1e-12)


@pytest.mark.parametrize("name", ["perplexity", "log-likelihood", "prediction-difficulty", "upd", "ifd"])
def test_options_can_be_read_from_strings(name: str) -> None:
    scorer: Any = build("quality", name, model="folder", prompt="none", max_length="8", chat="false")
    assert (scorer.model, scorer.prompt, scorer.max_length, scorer.chat) == ("folder", None, 8, False)
    assert all(p.help for p in parameters(table("quality")[name]).values())
    assert parse("none", str | None, "x") is None and parse("nine", str | None, "x") == "nine"


def test_difficulty_by_hand() -> None:
    # One token known for certain, one confidently wrong, one uniform over 4.
    found = prediction_difficulty([0.0, -50.0, -np.log(4)], [0.0, 0.0, np.log(4)], 4)
    assert found.tokens == pytest.approx([0.5, 1.0, 0.0], abs=1e-9)
    assert found.losses == pytest.approx([0.0, -np.log(1e-10), np.log(4)], abs=1e-9)
    assert prediction_difficulty([], [], 4).score == 0.0
    masked = difficulty_of_logits([[0.0, -np.inf, 0.0]] * 3, [0, 2, 1], 1)
    assert masked.entropies == pytest.approx([np.log(2)] * 2)
    assert masked.losses == pytest.approx([np.log(2), -np.log(1e-10)], abs=1e-9)
    half = prediction_difficulty([-1.0], [np.log(4) ** 2 / 2], 4, beta=2.0)
    assert half.score == pytest.approx(0.5 / (1 + np.exp(-1)), abs=1e-9)


def test_bad_logits() -> None:
    with pytest.raises(BadInput, match="NaN"):
        difficulty_of_logits([[np.nan, 0.0]] * 2, [0, 1], 1)
    with pytest.raises(BadInput, match="outside the vocabulary"):
        difficulty_of_logits([[0.0, 0.0]] * 2, [0, 2], 1)
    with pytest.raises(BadInput, match="one row a token"):
        difficulty_of_logits([[0.0, 0.0]], [0, 1], 1)
    with pytest.raises(BadInput, match="at least 2"):
        prediction_difficulty([0.0], [0.0], 1)
    with pytest.raises(BadInput, match="NaN"):
        prediction_difficulty([np.nan], [0.0], 4)


def test_a_model_that_computes_nan_is_named(pool: Pool) -> None:
    model, tokenizer = untrained_model()
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(BadInput, match="NaN"):
        score_pool(pool, UPDQuality((model, tokenizer)), cache=None)
    with pytest.raises(BadInput, match="NaN"):
        score_pool(pool, PerplexityQuality((model, tokenizer)), cache=None)


def test_ratios_at_the_ceiling_are_set_to_zero(folder: Path, pool: Pool) -> None:
    raw = IFDQuality(str(folder), ceiling=None).score(pool)
    held = IFDQuality(str(folder), ceiling=float(np.median(raw))).score(pool)
    np.testing.assert_array_equal(held, np.where(raw >= np.median(raw), 0.0, raw))
    loss = LogLikelihoodQuality(str(folder)).score(pool)[0]
    bare = LogLikelihoodQuality(str(folder)).score_pairs([("", PAIRS[0][1])])[0]
    ratio = IFDQuality(str(folder), ceiling=None, ratio="perplexity").score(pool)[0]
    assert ratio == pytest.approx(np.exp(bare - loss), rel=1e-4)
