"""Token ids of prompts and completions: ends, templates, what is cut, and tokenizers that won't do."""

from __future__ import annotations

from typing import Any

import pytest

from polyculture.align.data.encoding import Encoder
from polyculture.align.data.examples import Example
from polyculture.errors import BadInput
from tests.tiny_models import TEXTS, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer()


def test_a_completion_ends_and_its_prompt_is_the_same_for_both_sides(tokenizer: Any) -> None:
    (row,), rejected, cuts = Encoder(tokenizer).encode([Example("A field", (" of wheat", " of rye"), "row 1")])
    assert row.prompt[0] == tokenizer.bos_token_id
    assert tokenizer.decode(row.prompt, skip_special_tokens=True) == "A field"
    assert [tokenizer.decode(c) for c in row.completions] == [" of wheat</s>", " of rye</s>"]
    assert not rejected and "nothing was cut" in str(cuts)


def test_a_chat_goes_through_the_template(tokenizer: Any) -> None:
    example = Example([{"role": "user", "content": "Hi"}], ([{"role": "assistant", "content": "Yes"}],))
    (row,), _, _ = Encoder(tokenizer).encode([example])
    assert tokenizer.decode(row.prompt) == "<|user|>Hi<|end|><|assistant|>"
    # The template ends the turn; the sequence ends after it.
    assert tokenizer.decode(row.completions[0]) == "<|assistant|>Yes<|end|></s>".removeprefix("<|assistant|>")


def test_an_end_that_the_template_wrote_is_not_written_twice(tokenizer: Any) -> None:
    (row,), _, _ = Encoder(tokenizer).encode([Example("p", (" a</s>",))])
    assert row.completions[0].count(tokenizer.eos_token_id) == 1


def test_an_empty_prompt_begins_with_the_begin_token(tokenizer: Any) -> None:
    (row,), _, _ = Encoder(tokenizer).encode([Example("", ("a", "b"))])
    assert row.prompt == [tokenizer.bos_token_id]


def test_what_is_too_long_is_cut_and_counted(tokenizer: Any) -> None:
    example = Example("wheat " * 50, (" rye" * 50, " oats"))
    (row,), _, cuts = Encoder(tokenizer, max_length=16).encode([example])
    longest = max(map(len, row.completions))
    assert len(row.prompt) + longest == 16 and longest == 8
    assert tokenizer.decode(row.prompt).endswith("wheat ")  # the end of a prompt is what the answer answers
    assert tokenizer.eos_token_id not in row.completions[0]  # a cut answer did not end
    assert (cuts.prompts, cuts.completions) == (1, 1) and cuts.tokens > 0
    assert "cut to fit 16 tokens: 1 prompt at the start and 1 completion at the end, " in str(cuts)


def test_pairs_that_are_the_same_once_cut_are_set_aside(tokenizer: Any) -> None:
    same = Example("p", (" rye" * 40 + "a", " rye" * 40 + "b"), "row 7")
    other = Example("p", (" a", " b"), "row 8")
    rows, rejected, _ = Encoder(tokenizer, max_length=16).encode([same, other])
    assert [row.place for row in rows] == ["row 8"]
    assert rejected[0].place == "row 7" and "the same tokens when cut to 16" in rejected[0].reason
    with pytest.raises(BadInput, match="no example is left: row 7"):
        Encoder(tokenizer, max_length=16).encode([same])


def test_a_tokenizer_without_an_end_is_refused() -> None:
    tokenizer = train_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(BadInput, match=r"no end-of-sequence token.*set tokenizer\.eos_token"):
        Encoder(tokenizer)


def test_a_length_without_room_is_refused(tokenizer: Any) -> None:
    with pytest.raises(BadInput, match="leave room"):
        Encoder(tokenizer, max_length=1)


def test_a_template_that_writes_the_prompt_differently_is_refused() -> None:
    tokenizer = train_tokenizer()
    tokenizer.chat_template = "{{ messages|length }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
    example = Example([{"role": "user", "content": "Hi"}], ([{"role": "assistant", "content": "Yes"}],), "row 3")
    with pytest.raises(BadInput, match="row 3: with the answer, the chat template writes the prompt differently"):
        Encoder(tokenizer).encode([example])


def sentencepiece(prefix: str) -> Any:
    """A tokenizer that writes a space before every text, as Llama 2's and Mistral's do."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    if prefix == "normalizer":
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prefix, split=False)
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    made.train_from_iterator(
        [word for text in TEXTS for word in text.split()],
        trainers.BpeTrainer(vocab_size=500, special_tokens=special, show_progress=False),
    )
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


@pytest.mark.parametrize("prefix", ["normalizer", "always", "first"])
@pytest.mark.parametrize("completion", ["wheat", " wheat", "\nwheat", "  42", "</s>"])
def test_a_completion_goes_on_from_its_prompt_without_a_space_of_the_tokenizers_own(
    prefix: str, completion: str
) -> None:
    tokenizer = sentencepiece(prefix)
    prompt = "A: ["
    (row,), _, _ = Encoder(tokenizer).encode([Example(prompt, (completion,))])
    whole = tokenizer(prompt + completion, add_special_tokens=False)["input_ids"]
    assert row.prompt + row.completions[0] == [*whole, tokenizer.eos_token_id][: len(whole) + (completion != "</s>")]


def test_a_completion_without_a_prompt_begins_a_text() -> None:
    tokenizer = sentencepiece("always")
    (row,), _, _ = Encoder(tokenizer).encode([Example("", ("wheat",))])
    assert row.completions[0][:-1] == tokenizer("wheat", add_special_tokens=False)["input_ids"]


def test_a_text_that_a_template_wrote_does_not_begin_twice(tokenizer: Any) -> None:
    (row,), _, _ = Encoder(tokenizer).encode([Example("<s><|user|>Hi<|end|><|assistant|>", ("Yes",))])
    assert tokenizer.decode(row.prompt) == "<s><|user|>Hi<|end|><|assistant|>"


def test_prompts_are_encoded_together_as_they_are_one_by_one(tokenizer: Any) -> None:
    chat = [{"role": "user", "content": "Hi é 漢字 🌾"}]
    asked = ["A field", chat, "", "A field", "<s>x"]
    rows, _, _ = Encoder(tokenizer).encode([Example(prompt, (" a",)) for prompt in asked])
    alone = [Encoder(tokenizer).encode([Example(prompt, (" a",))])[0][0] for prompt in asked]
    assert list(rows) == alone
