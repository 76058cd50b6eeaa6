import math

import numpy as np
import pytest

from polyculture.align.data.margin_rewards import (
    FunctionReward,
    ImplicitReward,
    LengthReward,
    make_margin_rewards,
    margin_columns,
)
from polyculture.errors import BadInput, UnknownMethod
from polyculture.llm.transformers import TransformersLLM
from tests.tiny_models import tiny_llama, train_tokenizer

PROMPTS = ["What is 12 + 30?", "Hello"]
TEXTS = ["The answer is 42.", "the dog sleeps"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    tokenizer = train_tokenizer()
    return [str(tiny_llama(root / name, seed=seed, tokenizer=tokenizer)) for seed, name in enumerate(("ref", "dpo"))]


class Uniform:
    """Scores every character alike."""

    def __init__(self, name, each):
        self.name, self.each = name, each

    def generate(self, prompts, *, n=1, sampling=None, seed=None):
        raise AssertionError("nothing is generated")

    def logprobs(self, prompts, completions):
        return [np.full(len(text), self.each) for text in completions]


def brevity(prompts, completions):
    return [-len(text) for text in completions]


def one_number(prompts, completions):
    return 1.0


def words(prompts, completions):
    return ["many" for _ in completions]


def test_length_counts_tokens():
    tokenizer = train_tokenizer()
    found = LengthReward(tokenizer)(PROMPTS, TEXTS)
    assert found.tolist() == [-len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in TEXTS]
    assert LengthReward(tokenizer)([], []).shape == (0,)


def test_implicit_reward_of_scoring_models():
    reward = ImplicitReward(Uniform("policy", -1.0), Uniform("reference", -1.5), beta=0.2)
    assert reward(PROMPTS, TEXTS).tolist() == pytest.approx([0.2 * 0.5 * len(text) for text in TEXTS])
    assert reward([], []).shape == (0,)


def test_implicit_reward_reads_what_a_trainer_would(folders):
    ref, dpo = (TransformersLLM(folder, chat=False) for folder in folders)
    tokenizer, end = ref.tokenizer, ref.tokenizer.eos_token_id
    ids = [[*tokenizer(text, add_special_tokens=False)["input_ids"], end] for text in TEXTS]
    starts = [tokenizer(prompt)["input_ids"] for prompt in PROMPTS]
    sums = [[one.sum() for one in llm.token_logprobs(starts, ids)] for llm in (dpo, ref)]
    (reward,) = make_margin_rewards(f"implicit:{folders[1]}", reference=folders[0], beta=0.3)
    np.testing.assert_allclose(reward(PROMPTS, TEXTS), 0.3 * np.subtract(*sums), rtol=1e-5)
    (itself,) = make_margin_rewards(f"implicit:{folders[0]}", reference=folders[0])
    assert itself(PROMPTS, TEXTS).tolist() == [0.0, 0.0]


def test_chat_messages_are_read_as_a_trainer_would(folders):
    reward = ImplicitReward(*(TransformersLLM(folder, chat=False) for folder in reversed(folders)))
    asked = [[{"role": "user", "content": prompt}] for prompt in PROMPTS]
    said = [[{"role": "assistant", "content": text}] for text in TEXTS]
    seen = []

    def of_texts(prompts, completions):
        seen.append((prompts, completions))
        return np.zeros(len(completions))

    found = margin_columns([reward, of_texts], asked, said, [TEXTS[1], TEXTS[0]])
    np.testing.assert_allclose(found.chosen[:, 0], reward(asked, said), rtol=1e-5)
    assert not np.allclose(reward(asked, said), reward(PROMPTS, TEXTS))
    assert seen == [([*asked, *asked], [*TEXTS, TEXTS[1], TEXTS[0]])]


def test_implicit_reward_needs_one_vocabulary(folders, tmp_path):
    other = tiny_llama(tmp_path / "other", tokenizer=train_tokenizer(vocab_size=300))
    with pytest.raises(BadInput, match=r"tokenizers of .* differ"):
        make_margin_rewards(f"implicit:{other}", reference=folders[0])
    with pytest.raises(BadInput, match="beta of an implicit margin reward"):
        ImplicitReward(Uniform("a", -1.0), Uniform("b", -1.0), beta=0.0)


def test_several_in_order():
    spec = "length, python:tests.align.data.test_margin_rewards:brevity"
    first, second = make_margin_rewards(spec, tokenizer=train_tokenizer())
    assert (first.name, second.name) == ("length", "python:tests.align.data.test_margin_rewards:brevity")
    assert second(PROMPTS, TEXTS).tolist() == [-len(text) for text in TEXTS]


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("length", BadInput, "counts tokens; give a tokenizer"),
        ("implicit:somewhere", BadInput, "needs the reference"),
        ("implicit:", BadInput, "is no margin reward"),
        ("lenght", BadInput, "'lenght' is no margin reward; it should read length, python"),
        ("", BadInput, "is no margin reward"),
        ("python:tests.align.data.test_margin_rewards:absent", UnknownMethod, "absent"),
    ],
)
def test_specs_that_can_not_be_read(spec, error, message):
    with pytest.raises(error, match=message):
        make_margin_rewards(spec)


def test_functions_that_answer_otherwise():
    with pytest.raises(BadInput, match=r"one_number should give \(4,\), one a completion; it gave \(\)"):
        margin_columns([one_number], PROMPTS, TEXTS, TEXTS)
    with pytest.raises(BadInput, match="mine should give numbers"):
        FunctionReward(words, "mine")(PROMPTS, TEXTS)


def test_columns():
    found = margin_columns([brevity, lambda p, c: np.arange(len(c))], PROMPTS, ["a", "bb"], ["ccc", "d"])
    assert found.chosen.tolist() == [[-1, 0], [-2, 1]] and found.rejected.tolist() == [[-3, 2], [-1, 3]]
    assert found.scales.tolist() == [1, 1] and found.usable.all()


def test_standardised_columns_leave_what_is_no_number_aside():
    def odd(prompts, completions):
        return [math.nan, 2.0, 4.0, 6.0]

    found = margin_columns([odd], PROMPTS, TEXTS, TEXTS, standardise=True)
    spread = np.std([2.0, 4.0, 6.0])
    assert found.scales.tolist() == pytest.approx([spread])
    assert found.rejected[:, 0].tolist() == pytest.approx([4 / spread, 6 / spread])
    assert found.usable.tolist() == [False, True]


def test_columns_of_bad_input():
    with pytest.raises(BadInput, match="2 prompts, 1 chosen and 2 rejected"):
        margin_columns([brevity], PROMPTS, ["a"], TEXTS)
    with pytest.raises(BadInput, match="no margin reward is given"):
        margin_columns([], PROMPTS, TEXTS, TEXTS)
    with pytest.raises(BadInput, match="brevity is the same for all completions"):
        margin_columns([brevity], PROMPTS, ["a", "b"], ["c", "d"], standardise=True)
