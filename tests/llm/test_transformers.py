from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LogitsProcessor

from polyculture.errors import BadInput, ModelFailure
from polyculture.llm.base import Sampling, ScoringLLM
from polyculture.llm.transformers import TransformersLLM
from tests.tiny_models import tiny_llama, tiny_mixtral, tiny_qwen_moe, train_tokenizer

PROMPTS = ["hello", "a longer prompt about wheat and rye", [{"role": "user", "content": "What is 6 * 7?"}]]
TWENTY = Sampling(max_tokens=20)


@pytest.fixture(scope="module")
def llm(tiny_lm: Path) -> TransformersLLM:
    return TransformersLLM(tiny_lm)


@pytest.fixture(scope="module")
def naive(tiny_lm: Path) -> TransformersLLM:
    """The same model, one sequence at a time and nothing shared."""
    return TransformersLLM(tiny_lm, share_prompts=False, batch_size=1)


def test_is_a_scoring_model(llm: TransformersLLM):
    assert isinstance(llm, ScoringLLM)


def test_samples_do_not_depend_on_the_batch_or_on_shared_prompts(llm: TransformersLLM, naive: TransformersLLM):
    fast = llm.generate(PROMPTS, n=4, seed=3, sampling=TWENTY)
    slow = naive.generate(PROMPTS[::-1], n=4, seed=3, sampling=TWENTY)[::-1]
    assert [[c.text for c in row] for row in fast] == [[c.text for c in row] for row in slow]
    for row, other in zip(fast, slow, strict=True):
        assert len({c.text for c in row}) == 4, "samples of a prompt differ"
        for a, b in zip(row, other, strict=True):
            np.testing.assert_allclose(a.token_logprobs, b.token_logprobs, atol=1e-4)


def test_seeds(llm: TransformersLLM):
    def draw(seed: int | None) -> str:
        return llm.generate(["hello"], seed=seed, sampling=TWENTY)[0][0].text

    assert draw(1) == draw(1) != draw(2)
    assert draw(None) != draw(None)
    twice = llm.generate(["hello", "hello"], seed=1, sampling=TWENTY)
    assert [t[0].text for t in twice] == [c.text for c in llm.generate(["hello"], n=2, seed=1, sampling=TWENTY)[0]]


def test_greedy_is_what_generate_gives(llm: TransformersLLM):
    ids = torch.tensor([llm.prompt_ids("hello")])
    with torch.no_grad():
        expected = llm.model.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :]
    (got,) = llm.generate(["hello"], sampling=Sampling(max_tokens=12, temperature=0))[0]
    assert got.text == llm.tokenizer.decode(expected, skip_special_tokens=True)


def test_the_models_generation_config_has_no_say(tiny_lm: Path):
    llm = TransformersLLM(tiny_lm)

    def drawn() -> list[str]:
        return [c.text for c in llm.generate(["hello"], n=3, seed=1, sampling=TWENTY)[0]]

    own, config = drawn(), llm.model.generation_config
    config.update(no_repeat_ngram_size=1, suppress_tokens=list(range(5, 40)), min_new_tokens=20)
    assert drawn() == own
    assert llm.model.generation_config is config


def test_sampling_follows_the_model(llm: TransformersLLM):
    """The first token's frequencies over 4000 draws, against the softmax."""
    ids = torch.tensor([llm.prompt_ids("hello")])
    with torch.no_grad():
        expected = torch.softmax(llm.model(ids).logits[0, -1] / 0.3, 0).numpy()
    from polyculture.llm.sampling import SeededSampling

    scores = torch.log(torch.tensor(expected)).expand(4000, -1)
    drawn = SeededSampling(range(4000))(torch.zeros(4000, 1, dtype=torch.long), scores).argmax(1).numpy()
    seen = np.bincount(drawn, minlength=len(expected)) / 4000
    assert np.abs(seen - expected).sum() / 2 < 1.5 * np.sqrt(len(expected) / 4000)
    top = np.argsort(expected)[-5:]
    np.testing.assert_allclose(seen[top], expected[top], atol=4 * np.sqrt(expected[top].max() / 4000))


def test_truncation_keeps_to_its_tokens(llm: TransformersLLM):
    ids = torch.tensor([llm.prompt_ids("hello")])
    with torch.no_grad():
        best = llm.model(ids).logits[0, -1].topk(2).indices.tolist()
    drawn = llm.generate(["hello"], n=30, seed=0, sampling=Sampling(max_tokens=1, top_k=2))[0]
    assert {c.text for c in drawn} == {llm.tokenizer.decode([t]) for t in best}
    for cut in (Sampling(max_tokens=8, top_p=1e-6), Sampling(max_tokens=8, min_p=1.0), Sampling(max_tokens=8, top_k=1)):
        greedy = llm.generate(["hello"], sampling=Sampling(max_tokens=8, temperature=0))[0][0].text
        assert llm.generate(["hello"], seed=5, sampling=cut)[0][0].text == greedy


def test_log_probabilities_of_generated_tokens_are_the_models_own(llm: TransformersLLM):
    """At temperature 1 and untruncated, however they were drawn."""
    tokens = [50, 60, 70, 80]
    (c,) = llm.with_processors(Force(tokens)).generate(["hello"], sampling=Sampling(max_tokens=4, temperature=0.5))[0]
    np.testing.assert_allclose(c.token_logprobs, llm.token_logprobs([llm.prompt_ids("hello")], [tokens])[0], atol=1e-4)
    assert c.logprob == pytest.approx(sum(c.token_logprobs)) and c.n_tokens == 4


def test_scoring_equals_the_forward_pass_token_by_token(llm: TransformersLLM):
    prompt, completion = "wheat and rye", " grow well"
    ids, tail = llm.prompt_ids(prompt), llm.tokenizer(completion, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logs = torch.log_softmax(llm.model(torch.tensor([ids + tail])).logits[0], -1)
    expected = [logs[len(ids) + i - 1, token].item() for i, token in enumerate(tail)]
    np.testing.assert_allclose(llm.logprobs([prompt], [completion])[0], expected, atol=1e-5)


def test_scoring_many_completions_of_one_prompt_equals_the_naive_way(llm: TransformersLLM, naive: TransformersLLM):
    completions = ["yes", "no way at all", "", '{"a": 1}', "yes", "x" * 40]
    prompts = [PROMPTS[1]] * 4 + [PROMPTS[0], PROMPTS[2]]
    for fast, slow in zip(llm.logprobs(prompts, completions), naive.logprobs(prompts, completions), strict=True):
        assert fast.dtype == np.float64
        np.testing.assert_allclose(fast, slow, atol=1e-4)
    assert llm.logprobs([PROMPTS[0]], [""])[0].shape == (0,)
    assert llm.logprobs([], []) == []


@pytest.mark.parametrize("make", [tiny_mixtral, tiny_qwen_moe])
def test_mixtures_of_experts_share_prompts_too(make, tmp_path: Path):
    folder = make(tmp_path)
    fast, slow = TransformersLLM(folder), TransformersLLM(folder, share_prompts=False, batch_size=1)
    ours = fast.generate(PROMPTS, n=3, seed=0, sampling=TWENTY)
    assert [[c.text for c in r] for r in ours] == [
        [c.text for c in r] for r in slow.generate(PROMPTS, n=3, seed=0, sampling=TWENTY)
    ]
    for a, b in zip(
        fast.logprobs(["p q r"] * 3, ["a", "bb", "c d e"]),
        slow.logprobs(["p q r"] * 3, ["a", "bb", "c d e"]),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, atol=1e-4)


def other_model(kind: str, tokenizer):
    """A sliding window of 8 tokens, relative positions, or a recurrent state, in place of Llama's cache."""
    import transformers

    sizes = {"vocab_size": len(tokenizer), "hidden_size": 32, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    heads = {"num_hidden_layers": 2, "num_attention_heads": 4}
    more = {
        "Mistral": {**heads, "num_key_value_heads": 2, "intermediate_size": 64, "sliding_window": 8},
        "Bloom": {"n_layer": 2, "n_head": 4},
        "Mamba": {"num_hidden_layers": 2, "state_size": 4},
    }[kind]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return getattr(transformers, f"{kind}ForCausalLM")(getattr(transformers, f"{kind}Config")(**sizes, **more))


@pytest.mark.parametrize("kind", ["Mistral", "Bloom", "Mamba"])
def test_other_kinds_of_cache_and_position(kind: str):
    tokenizer = train_tokenizer()
    model = other_model(kind, tokenizer)
    fast = TransformersLLM(model, tokenizer)
    slow = TransformersLLM(model, tokenizer, share_prompts=False, batch_size=1)
    assert fast.share_prompts == (kind != "Mamba")
    ours, theirs = (m.generate(PROMPTS, n=2, seed=0, sampling=Sampling(max_tokens=12)) for m in (fast, slow))
    assert [[c.text for c in row] for row in ours] == [[c.text for c in row] for row in theirs]
    pairs = [PROMPTS[1]] * 3, ["yes", "no way", "x" * 20]
    for a, b in zip(fast.logprobs(*pairs), slow.logprobs(*pairs), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_a_shared_prompt_is_faster(tmp_path: Path):
    folder = tiny_llama(tmp_path, hidden_size=64, context=1024)
    fast, slow = TransformersLLM(folder), TransformersLLM(folder, share_prompts=False)
    prompts, completions = ["wheat " * 200] * 24, [f" {i}" for i in range(24)]

    def seconds(llm: TransformersLLM) -> float:
        llm.logprobs(prompts[:2], completions[:2])
        start = time.process_time()
        llm.logprobs(prompts, completions)
        return time.process_time() - start

    ratio = min(seconds(slow), seconds(slow)) / min(seconds(fast), seconds(fast))
    print(f"24 completions of a long prompt: {ratio:.1f} times faster shared")
    assert ratio > 2.5


def test_stop_strings_end_the_text_and_the_row(llm: TransformersLLM):
    sampling = Sampling(max_tokens=60)
    (free,) = llm.generate(["hello"], seed=1, sampling=sampling)[0]
    readable = [i for i in range(5, len(free.text) - 3) if free.text[i : i + 3].isascii()]
    stop = free.text[readable[0] : readable[0] + 3]
    (cut,) = llm.generate(["hello"], seed=1, sampling=Sampling(max_tokens=60, stop=("never ever", stop)))[0]
    assert cut.text == free.text[: free.text.index(stop)]
    assert cut.finish_reason == "stop" and cut.n_tokens < free.n_tokens
    np.testing.assert_allclose(cut.token_logprobs, free.token_logprobs[: cut.n_tokens], atol=1e-5)


def test_a_special_token_can_be_a_stop_string(llm: TransformersLLM):
    end = llm.tokenizer.convert_tokens_to_ids("<|end|>")
    forced = llm.with_processors(Force([50, 51, end, 52]))
    (c,) = forced.generate(["hello"], sampling=Sampling(max_tokens=9, stop=("<|end|>",)), seed=0)[0]
    assert c.text == llm.tokenizer.decode([50, 51]) and c.n_tokens == 3 and c.finish_reason == "stop"


class Force(LogitsProcessor):
    """Rules out every token but the one of this step."""

    def __init__(self, tokens: list[int]) -> None:
        self.tokens, self.step = tokens, 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        out = torch.full_like(scores, float("-inf"))
        if self.tokens:
            out[:, self.tokens[self.step % len(self.tokens)]] = 0.0
        self.step += 1
        return out


def test_end_of_sequence_ends_and_is_not_in_the_text(llm: TransformersLLM):
    eos = llm.tokenizer.eos_token_id
    (c,) = llm.with_processors(Force([50, eos])).generate(["hello"], sampling=Sampling(max_tokens=9), seed=0)[0]
    assert c.text == llm.tokenizer.decode([50]) and c.n_tokens == 2 and c.finish_reason == "stop"
    (free,) = llm.generate(["hello"], sampling=Sampling(max_tokens=3), seed=0)[0]
    assert free.finish_reason == "length" and free.n_tokens == 3


def test_processors_that_rule_out_everything_are_named(llm: TransformersLLM):
    with pytest.raises(ModelFailure, match="no token is left to draw"):
        llm.with_processors(Force([])).generate(["hello"], seed=0)
    assert llm.logits_processors == ()


def test_prompt_longer_than_the_context(llm: TransformersLLM):
    with pytest.raises(BadInput, match=r"the prompt has \d+ tokens, the model takes 256 .* shorten the prompt"):
        llm.generate(["x " * 400])
    with pytest.raises(BadInput, match=r"the completion \d+, the model takes 256 together"):
        llm.logprobs(["x"], ["y " * 400])


def test_a_completion_ends_where_the_context_does(llm: TransformersLLM):
    long = "x " * 115
    length = len(llm.prompt_ids(long))
    assert 200 < length < 256
    short, (cut,) = llm.generate(["hi", long], sampling=Sampling(max_tokens=100), seed=0)
    assert cut.n_tokens == 256 - length or cut.finish_reason == "stop"
    assert short[0].n_tokens == 100 or short[0].finish_reason == "stop", "one long prompt does not shorten the others"


def test_empty_prompts(llm: TransformersLLM, tmp_path: Path):
    plain = TransformersLLM(llm.model, llm.tokenizer, chat=False, name="plain")
    assert plain.prompt_ids("") == [llm.tokenizer.bos_token_id]
    assert plain.generate([""], sampling=Sampling(max_tokens=3), seed=0, n=2)[0][1].n_prompt_tokens == 1
    with torch.no_grad():
        first = torch.log_softmax(llm.model(torch.tensor([[llm.tokenizer.bos_token_id]])).logits[0, -1], -1)
    (token,) = llm.tokenizer("c", add_special_tokens=False)["input_ids"]
    np.testing.assert_allclose(plain.logprobs(["", ""], ["a b", "c"])[1], [first[token].item()], atol=1e-5)
    without = TransformersLLM(llm.model, train_tokenizer(chat=False, bos=False))
    with pytest.raises(BadInput, match="the prompt is empty and the tokenizer has no begin-of-sequence token"):
        without.generate([""])


def test_how_prompts_reach_the_model(llm: TransformersLLM):
    assert llm.prompt_text("hi") == "<|user|>hi<|end|><|assistant|>"
    assert llm.prompt_text([{"role": "system", "content": "s"}]) == "<|system|>s<|end|><|assistant|>"
    assert llm.tokenizer.bos_token_id not in llm.prompt_ids("hi"), "the template says what begins a prompt"
    raw = TransformersLLM(llm.model, llm.tokenizer, chat=False)
    assert raw.prompt_text("hi") == "hi" and raw.prompt_ids("hi")[0] == llm.tokenizer.bos_token_id
    bare = TransformersLLM(llm.model, train_tokenizer(chat=False))
    assert bare.prompt_text("hi") == "hi"
    assert bare.prompt_text([{"role": "user", "content": "hi"}]) == "User: hi\nAssistant:"
    strict = train_tokenizer()
    strict.chat_template = "{{ raise_exception('only user messages') }}"
    with pytest.raises(BadInput, match="the chat template refuses the messages: only user messages"):
        TransformersLLM(llm.model, strict).generate(["hi"])


def test_an_adapter_folder_is_the_adapted_model(tiny_lm: Path, tmp_path: Path):
    import peft

    base = AutoModelForCausalLM.from_pretrained(tiny_lm)
    torch.manual_seed(0)
    tuned = peft.get_peft_model(base, peft.LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False))
    tuned.save_pretrained(tmp_path / "adapter")
    loaded = TransformersLLM(tmp_path / "adapter")
    in_memory = TransformersLLM(tuned, AutoTokenizer.from_pretrained(tiny_lm), name="tuned")
    ours = loaded.logprobs(["a", "a"], ["b c", "d"])
    np.testing.assert_allclose(ours[0], in_memory.logprobs(["a"], ["b c"])[0], atol=1e-4)
    assert np.abs(ours[0] - TransformersLLM(tiny_lm).logprobs(["a"], ["b c"])[0]).max() > 1e-3
    assert (
        in_memory.generate(["a"], n=2, seed=0, sampling=TWENTY)[0][0].text
        == loaded.generate(["a"], n=2, seed=0, sampling=TWENTY)[0][0].text
    )


def test_dtype_and_identity(tiny_lm: Path, llm: TransformersLLM):
    half = TransformersLLM(tiny_lm, dtype="bfloat16")
    assert half.model.dtype == torch.bfloat16 and half.generate(["a"], n=2, sampling=TWENTY)
    raw = TransformersLLM(tiny_lm, chat=False)
    held = TransformersLLM(llm.model, llm.tokenizer, name="held")
    before = held.identity
    assert len({llm.identity, half.identity, raw.identity, before}) == 4
    assert llm.identity == TransformersLLM(tiny_lm).identity
    with torch.no_grad():
        llm.model.lm_head.weight[0, 0] += 1
        assert held.identity != before, "training changes who a model in memory is"
        llm.model.lm_head.weight[0, 0] -= 1


def test_models_that_can_not_be_had(tiny_lm: Path, tmp_path: Path, llm: TransformersLLM):
    with pytest.raises(BadInput, match="can't load the model 'no/such-model'"):
        TransformersLLM("no/such-model")
    with pytest.raises(BadInput, match=r"no config.json or adapter_config.json there"):
        TransformersLLM(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    with pytest.raises(BadInput, match=r"there; .*/model has one, give that"):
        TransformersLLM(tmp_path)
    with pytest.raises(BadInput, match="needs its tokenizer"):
        TransformersLLM(llm.model)
    with pytest.raises(BadInput, match="dtype 'float31' is none of torch's"):
        TransformersLLM(tiny_lm, dtype="float31")
    with pytest.raises(BadInput, match="device 'nowhere' can't be used"):
        TransformersLLM(tiny_lm, device="nowhere")
    with pytest.raises(BadInput, match="batch_size should be at least 1"):
        TransformersLLM(tiny_lm, batch_size=0)
    with pytest.raises(BadInput, match="2 prompts and 1 completions"):
        llm.logprobs(["a", "b"], ["c"])
    assert llm.generate([]) == []
