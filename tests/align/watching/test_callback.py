"""What a training is watched for: the numbers, the alarm, and that the training does not notice."""

from __future__ import annotations

import copy
import json
import math
import pickle
import random
from collections.abc import Callable
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

from polyculture.align.trainer import AlignmentTrainer
from polyculture.align.watching.alarm import FallAlarm
from polyculture.align.watching.callback import WatchCallback, in_parts, saved_steps
from polyculture.align.watching.evaluation import PolicyEvaluation
from polyculture.align.watching.log import Observation, WatchLog, alarm_in_words, read_observations
from polyculture.align.watching.measures import diversity_measures, make_reward, mean_interval
from polyculture.align.watching.ranks import Ranks
from polyculture.align.watching.samples import read_completions, reference_of, sample_policy, undisturbed
from polyculture.align.watching.settings import Watch
from polyculture.errors import BadInput, ModelFailure, UnknownMethod
from polyculture.measure.over_optimisation import Alarm, top_k_entropy
from polyculture.space.embedders import make_embedder
from tests.tiny_models import TEXTS, tiny_llama, train_tokenizer

PROMPTS = ["What is 12 + 30?", "The quick brown", "Plant wheat", "Reply in JSON:", "def add(a, b):"]
SMALL = Watch(every=2, prompts=3, samples=2, max_new_tokens=6, batch_size=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = train_tokenizer(vocab_size=300)
    return tiny_llama(tmp_path_factory.mktemp("tiny"), tokenizer=tokenizer, hidden_size=16, layers=1)


@pytest.fixture
def policy(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture
def other(policy: Any) -> Any:
    """Another model of the same vocabulary, with opinions of its own."""
    changed = copy.deepcopy(policy)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in changed.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return changed


def encoded(tokenizer: Any) -> list[list[int]]:
    return [[*tokenizer(text)["input_ids"], tokenizer.eos_token_id] for text in TEXTS]


def some_pairs(tokenizer: Any) -> list[tuple[list[int], list[int], list[int]]]:
    return [(a[:3], a[3:], b[3:]) for a, b in pairwise(encoded(tokenizer))]


# --- reading -----------------------------------------------------------------------------------------------------


def test_a_reading_is_what_a_naive_computation_gives(policy: Any, other: Any, tokenizer: Any) -> None:
    ids = encoded(tokenizer)
    prompts, completions = (
        [row[: 2 + i] for i, row in enumerate(ids)],
        [row[2 + i : 9 + 2 * i] for i, row in enumerate(ids)],
    )
    for k in (10, 3):
        found = read_completions(policy, prompts, completions, reference=other, k=k)
        for prompt, completion, reading in zip(prompts, completions, found, strict=True):
            with torch.no_grad():
                rows = [m(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1] for m in (policy, other)]
            p, q = (r.double().log_softmax(-1) for r in rows)
            assert reading.tokens == len(completion)
            assert reading.log_prob == pytest.approx(
                p.gather(1, torch.tensor(completion)[:, None]).sum().item(), abs=1e-3
            )
            assert reading.entropy == pytest.approx(-(p.exp() * p).sum().item(), rel=1e-4)
            assert reading.reverse_kl == pytest.approx((p.exp() * (p - q)).sum().item(), rel=1e-3)
            assert reading.forward_kl == pytest.approx((q.exp() * (q - p)).sum().item(), rel=1e-3)
            top = top_k_entropy(rows[0], k=k)
            assert reading.top_k_mass == pytest.approx(top.mass.sum(), rel=1e-4)
            assert reading.top_k_entropy == pytest.approx(top.entropy.sum(), rel=1e-4)


def test_the_divergence_from_a_policy_that_has_not_changed_is_zero(policy: Any, tokenizer: Any) -> None:
    ids = encoded(tokenizer)
    found = read_completions(
        policy, [row[:3] for row in ids], [row[3:] for row in ids], reference=copy.deepcopy(policy)
    )
    assert all(reading.reverse_kl == reading.forward_kl == 0 for reading in found)


def test_batches_that_must_be_small_give_the_same(policy: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = encoded(tokenizer)
    prompts, completions = [row[:3] for row in ids], [row[3:] for row in ids]
    whole = read_completions(policy, prompts, completions)
    monkeypatch.setattr("polyculture.align.watching.samples.LOGITS", 12_000)
    parts = read_completions(policy, prompts, completions)
    assert [r.entropy for r in parts] == pytest.approx([r.entropy for r in whole], rel=1e-5)
    assert math.isnan(whole[0].reverse_kl), "there is no reference"


def test_an_empty_completion_reads_as_nothing(policy: Any) -> None:
    assert read_completions(policy, [[5], [6]], [[], [7]])[0].tokens == 0


def test_the_reference_of_a_peft_policy_is_its_base(policy: Any, tokenizer: Any) -> None:
    from peft import LoraConfig, get_peft_model

    base = copy.deepcopy(policy)
    adapted = get_peft_model(policy, LoraConfig(r=2, target_modules=["q_proj", "v_proj"])).eval()
    ids = encoded(tokenizer)
    asked = [row[:3] for row in ids], [row[3:9] for row in ids]
    assert all(reading.reverse_kl == 0 for reading in read_completions(adapted, *asked))
    first = next(p for n, p in adapted.named_parameters() if "lora_B" in n)
    with torch.no_grad():
        first.normal_()
    first.requires_grad_(False)
    flags = [p.requires_grad for p in adapted.parameters()]
    found = read_completions(adapted, *asked)
    assert [p.requires_grad for p in adapted.parameters()] == flags
    against = read_completions(adapted, *asked, reference=base)
    assert found[0].reverse_kl > 0
    assert [r.reverse_kl for r in found] == pytest.approx([r.reverse_kl for r in against], rel=1e-4)
    with reference_of(base, None) as none:
        assert none is None


# --- sampling ----------------------------------------------------------------------------------------------------


def sampled(policy: Any, prompts: list[list[int]], **more: Any) -> list[list[list[int]]]:
    return sample_policy(policy, prompts, 3, max_new_tokens=8, **more)


def test_samples_hang_on_the_seed_alone(policy: Any, tokenizer: Any) -> None:
    prompts = [tokenizer(text)["input_ids"] for text in PROMPTS]
    state = torch.get_rng_state()
    one = sampled(policy, prompts)
    assert one == sampled(policy, prompts, batch_size=2)
    assert one[1:2] == sampled(policy, prompts[1:2])
    assert one != sampled(policy, prompts, seed=1)
    assert len({tuple(row) for rows in one for row in rows}) > 10
    assert torch.equal(state, torch.get_rng_state())


def test_samples_end_with_the_end_of_the_sequence(policy: Any) -> None:
    open_ended = sampled(policy, [[5, 6]])[0]
    assert [len(row) for row in open_ended] == [8, 8, 8]
    end = open_ended[0][2]
    ended = sampled(policy, [[5, 6]], end=(end,))[0]
    assert ended[0] == open_ended[0][:3]
    assert all(end not in row[:-1] for row in ended)


def test_the_models_generation_config_has_no_say(policy: Any, tokenizer: Any) -> None:
    from peft import LoraConfig, get_peft_model

    prompts = [tokenizer(text)["input_ids"] for text in PROMPTS]
    own = sampled(policy, prompts)
    config = policy.generation_config
    config.update(no_repeat_ngram_size=1, suppress_tokens=[own[0][0][0]], min_new_tokens=3, eos_token_id=own[0][0][1])
    assert sampled(policy, prompts) == own
    assert policy.generation_config is config and config.no_repeat_ngram_size == 1
    adapted = get_peft_model(policy, LoraConfig(r=2, target_modules=["q_proj", "v_proj"])).eval()
    assert sampled(adapted, prompts) == own
    assert policy.generation_config is config


def test_greedy_samples_are_the_likeliest_tokens(policy: Any) -> None:
    rows = sampled(policy, [[5, 6, 7], [8]], temperature=0)
    ids = [8]
    for _ in range(8):
        with torch.no_grad():
            ids.append(int(policy(torch.tensor([ids])).logits[0, -1].argmax()))
    assert rows[1] == [ids[1:]] * 3


def test_the_temperature_flattens(policy: Any, tokenizer: Any) -> None:
    prompts = [tokenizer(PROMPTS[0])["input_ids"]]

    def likelihood(temperature: float) -> float:
        rows = sample_policy(policy, prompts, 12, max_new_tokens=8, temperature=temperature)[0]
        return sum(r.log_prob for r in read_completions(policy, prompts * 12, rows))

    assert likelihood(0.3) > likelihood(1.0) > likelihood(3.0)


def test_nothing_is_disturbed(policy: Any, other: Any) -> None:
    policy.train()
    policy.model.layers[0].eval()
    before = [m.training for m in policy.modules()]
    states = random.getstate(), pickle.dumps(np.random.get_state()), torch.get_rng_state()  # noqa: NPY002
    with pytest.raises(ZeroDivisionError), undisturbed(policy, None, other):
        assert not policy.training and not torch.is_grad_enabled()
        random.random(), np.random.random(), torch.rand(3)  # noqa: NPY002
        _ = 1 / 0
    assert [m.training for m in policy.modules()] == before
    assert random.getstate() == states[0] and pickle.dumps(np.random.get_state()) == states[1]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[2]) and torch.is_grad_enabled()


# --- reward and diversity ------------------------------------------------------------------------------------------


def brevity(responses: list[str]) -> list[float]:
    return [-len(text) for text in responses]


def echoes(prompts: list[str], responses: list[str]) -> list[float]:
    return [float(p in r) for p, r in zip(prompts, responses, strict=True)]


def test_a_reward_is_a_scorer_or_a_function_of_one_or_two_lists() -> None:
    asked = ["a", "b"], ["bb", "ab"]
    own = [make_reward(spec) for spec in (brevity, echoes, f"python:{__name__}:echoes", "length")]
    assert [list(reward(*asked)) for reward in own if reward] == [[-2, -2], [0, 1], [0, 1], [2, 2]]
    assert make_reward("none") is None


def test_a_reward_of_the_wrong_length_or_nan_is_refused() -> None:
    for function, told in ((lambda r: [1.0], "shape"), (lambda r: [math.nan] * len(r), "response 1")):
        reward = make_reward(function)
        assert reward is not None
        with pytest.raises(BadInput, match=told):
            reward(["a", "b"], ["c", "d"])
    with pytest.raises(UnknownMethod, match="heuristic"):
        make_reward("heuristc")


def test_diversity_of_samples_that_are_alike_different_and_empty() -> None:
    tfidf = make_embedder("tfidf")
    alike = diversity_measures([["one two"] * 3, ["three four"] * 3], tfidf)
    assert alike["vendi_prompt"] == pytest.approx(1) and alike["vendi_across"] == pytest.approx(2)
    assert diversity_measures([["a b", "c d", "e f"]], tfidf)["vendi_prompt"] == pytest.approx(3)
    silent = diversity_measures([["", "", ""], ["", "", "word"]], tfidf)
    assert silent["vendi_prompt"] == pytest.approx((1 + math.exp(-math.log(1 / 3) / 3 - 2 * math.log(2 / 3) / 3)) / 2)
    assert silent["vendi_across"] == pytest.approx(1) and silent["ead_across"] == 0


def test_an_interval_needs_two_prompts() -> None:
    assert mean_interval([2.0])[0] == 2 and math.isnan(mean_interval([2.0])[1]) and math.isnan(mean_interval([])[0])


# --- an evaluation -------------------------------------------------------------------------------------------------


def evaluation(policy: Any, tokenizer: Any, watch: Watch = SMALL, **more: Any) -> PolicyEvaluation:
    given = {"prompts": PROMPTS, "pairs": [], "reference": None, "reward": make_reward("length"), "ranks": Ranks()}
    return PolicyEvaluation(watch, policy, tokenizer, **(given | more), embedder=make_embedder("tfidf"))


def test_an_evaluation_of_an_unchanged_policy(policy: Any, tokenizer: Any) -> None:
    pairs = some_pairs(tokenizer)
    found = evaluation(policy, tokenizer, reference=copy.deepcopy(policy), pairs=pairs)
    metrics, by_prompt, samples = found.measure(policy)
    kls = {name: value for name, value in metrics.items() if "kl" in name}
    assert len(kls) == 5 and set(kls.values()) == {0.0}
    assert 1 <= metrics["vendi_prompt"] <= 2 and 1 <= metrics["vendi_across"] <= 3 and 0 < metrics["length"] <= 6
    with torch.no_grad():
        p = policy(torch.tensor([pairs[0][0] + pairs[0][1]])).logits[0, 2:-1].log_softmax(-1)
    single, *_ = evaluation(policy, tokenizer, pairs=pairs[:1]).measure(policy)
    assert single["chosen"] == pytest.approx(p.gather(1, torch.tensor(pairs[0][1])[:, None]).mean().item(), rel=1e-4)
    assert "reverse_kl" not in single and "forward_kl" not in single
    rewards = [reward for one in samples for reward in one["rewards"]]
    assert metrics["reward"] == pytest.approx(np.mean(rewards))
    assert rewards == [len(answer) for one in samples for answer in one["answers"]]
    for name, values in by_prompt.items():
        assert len(values) == 3 and np.mean(values) == pytest.approx(metrics[name], rel=1e-9), name


def test_each_direction_of_the_divergence_is_taken_on_its_own_samples(policy: Any, other: Any, tokenizer: Any) -> None:
    forth, *_ = evaluation(other, tokenizer, reference=policy).measure(other)
    back, *_ = evaluation(policy, tokenizer, reference=other).measure(policy)
    assert forth["forward_kl"] == pytest.approx(back["reverse_kl"], rel=1e-4)
    assert forth["forward_kl_sample"] == pytest.approx(back["reverse_kl_sample"], rel=1e-4)
    assert forth["reverse_kl"] > 0 and forth["forward_kl"] != forth["forward_kl_at_policy"]


def test_a_reference_that_moves_is_sampled_anew(policy: Any, other: Any, tokenizer: Any) -> None:
    reference = copy.deepcopy(other)
    moving = evaluation(policy, tokenizer, reference=reference)
    assert moving.measure(policy)[0]["forward_kl"] > 0
    with torch.no_grad():
        for mine, theirs in zip(reference.parameters(), policy.parameters(), strict=True):
            mine.lerp_(theirs, 0.5)
    again = moving.measure(policy)[0]
    assert again == evaluation(policy, tokenizer, reference=reference).measure(policy)[0]


def test_repeated_prompts_count_once_and_long_ones_are_left_out(policy: Any, tokenizer: Any) -> None:
    with pytest.warns(UserWarning, match="1 of 3 held-out prompts"):
        found = evaluation(policy, tokenizer, prompts=["Plant wheat", "Plant", "Plant wheat", "long " * 200])
    assert [text for text, _ in found._asked] == ["Plant wheat", "Plant"]
    with pytest.raises(BadInput, match="no held-out prompt leaves room"):
        evaluation(policy, tokenizer, prompts=["long " * 200])


def test_prompts_are_texts_messages_or_token_ids(policy: Any, tokenizer: Any) -> None:
    found = evaluation(policy, tokenizer, prompts=["Hi", [{"role": "user", "content": "Hi"}], [0, 70, 71]])
    shown = dict(found._asked)
    assert shown["Hi"] == tokenizer("Hi")["input_ids"]
    assert tokenizer.decode(shown["User: Hi\nAssistant:"]) == "<|user|>Hi<|end|><|assistant|>"
    assert shown[tokenizer.decode([70, 71])] == [0, 70, 71]


# --- in a training -------------------------------------------------------------------------------------------------


def trainer(folder: Path, out: Path, tokenizer: Any, *, steps: int = 5, rate: float = 2e-2, **more: Any) -> Trainer:
    rows = [{"input_ids": ids, "labels": ids} for ids in encoded(tokenizer) * 2]

    def collate(batch: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        width = max(len(row["input_ids"]) for row in batch)
        padded = {
            k: [row[k] + [p] * (width - len(row[k])) for row in batch] for k, p in (("input_ids", 2), ("labels", -100))
        }
        return {name: torch.tensor(values) for name, values in padded.items()}

    args = TrainingArguments(
        str(out),
        max_steps=steps,
        per_device_train_batch_size=2,
        learning_rate=rate,
        lr_scheduler_type="constant",
        save_steps=2,
        logging_steps=2,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        **more,
    )
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_pretrained(folder, attention_dropout=0.2)
    return Trainer(model, args, train_dataset=rows, data_collator=collate, processing_class=tokenizer)


def watched(
    made: Trainer, folder: Path, out: Path, watch: Watch = SMALL, log: Callable[[Any], None] | None = None
) -> WatchCallback:
    reference = AutoModelForCausalLM.from_pretrained(folder)
    callback = WatchCallback(
        watch,
        prompts=PROMPTS,
        reference=reference,
        out=out,
        log=log or made.log,
        autocast=made.accelerator.autocast,
    )
    made.add_callback(callback)
    return callback


def draw(responses: list[str]) -> Any:
    """A reward that takes from every random stream there is."""
    return [random.random() + np.random.random() + torch.rand(1).item() for _ in responses]  # noqa: NPY002


@pytest.mark.parametrize("bf16", [False, True])
def test_watching_changes_no_weight(bf16: bool, folder: Path, tokenizer: Any, tmp_path: Path) -> None:
    plain = trainer(folder, tmp_path / "plain", tokenizer, gradient_checkpointing=True, bf16=bf16)
    plain.train()
    seen = trainer(folder, tmp_path / "seen", tokenizer, gradient_checkpointing=True, bf16=bf16)
    watch = Watch(**(asdict(SMALL) | {"every": 1, "alarm": "off", "reward": f"python:{__name__}:draw"}))
    callback = watched(seen, folder, tmp_path / "seen", watch)
    seen.train()
    assert [one.step for one in callback.observations] == [0, 1, 2, 3, 4, 5]
    assert callback.observations[0].metrics["reverse_kl"] == 0 < callback.observations[-1].metrics["reverse_kl"]
    for (name, a), b in zip(plain.model.named_parameters(), seen.model.parameters(), strict=True):
        assert torch.equal(a, b), name
    assert seen.model.training
    logged = [row for row in seen.state.log_history if "watch/entropy" in row]
    assert [row["step"] for row in logged] == [0, 1, 2, 3, 4, 5]


def test_policy_and_reference_are_compared_in_the_same_precision(folder: Path, tokenizer: Any, tmp_path: Path) -> None:
    rows = [{"prompt": f"{text[:9]} ", "chosen": text[9:30], "rejected": text[4:22]} for text in TEXTS]
    args = TrainingArguments(
        str(tmp_path),
        max_steps=1,
        per_device_train_batch_size=2,
        bf16=True,
        learning_rate=0.0,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    made = AlignmentTrainer(str(folder), "dpo", args, rows, rows[:3], watch=SMALL, max_length=64)
    made.train()
    assert len(made.watching.observations) == 2
    for one in made.watching.observations:
        assert {name: value for name, value in one.metrics.items() if "kl" in name and value != 0} == {}


def told(path: Path) -> list[dict[str, Any]]:
    return [vars(one) | {"seconds": 0} for one in read_observations(path)]


def test_a_resumed_run_ends_with_what_an_uninterrupted_one_saw(folder: Path, tokenizer: Any, tmp_path: Path) -> None:
    once = trainer(folder, tmp_path / "once", tokenizer)
    watched(once, folder, tmp_path / "once")
    once.train()
    whole = told(tmp_path / "once" / "watch.jsonl")
    assert [one["step"] for one in whole] == [0, 2, 4, 5]
    # The checkpoint of step 2 with the file as it was at the end, and a line that a crash cut short.
    with (tmp_path / "once" / "watch.jsonl").open("a") as file:
        file.write('{"step": 6, "metr')
    again = trainer(folder, tmp_path / "once", tokenizer)
    callback = watched(again, folder, tmp_path / "once")
    again.train(resume_from_checkpoint=str(tmp_path / "once" / "checkpoint-2"))
    assert told(tmp_path / "once" / "watch.jsonl") == whole
    assert callback.monitor.steps == [0, 2, 4, 5]


def test_an_alarm_stops_the_training_and_names_the_checkpoint(folder: Path, tokenizer: Any, tmp_path: Path) -> None:
    watch = Watch(**(asdict(SMALL) | {"collapse": 0.97, "alarm": "stop"}))
    made = trainer(folder, tmp_path, tokenizer, steps=60, rate=5e-2)
    callback = watched(made, folder, tmp_path, watch)
    with pytest.warns(UserWarning, match="over-optimisation") as caught:
        made.train()
    alarm = callback.monitor.alarm
    assert alarm is not None and alarm.reason == "entropy collapse" and alarm.stop_at > 0
    assert made.state.global_step == alarm.step < 60 and alarm.stop_at == alarm.step - 2
    message = next(str(w.message) for w in caught if "over-optimisation" in str(w.message))
    assert message.startswith(f"step {alarm.step}: ") and message.endswith("training stops here")
    assert f"checkpoint-{alarm.stop_at} is kept in {tmp_path / 'before-alarm'}" in message and "below 0.97" in message
    assert read_observations(tmp_path / "watch.jsonl")[-1].alarm == asdict(alarm)
    kept = AutoModelForCausalLM.from_pretrained(tmp_path / "before-alarm")
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / f"checkpoint-{alarm.stop_at}")
    assert all(torch.equal(a, b) for a, b in zip(kept.parameters(), saved.parameters(), strict=True))
    assert not list((tmp_path / "before-alarm").glob("optimizer*"))


def test_two_checkpoints_are_enough_to_keep_the_model_of_before_a_fall(
    folder: Path, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class SeenTwice(FallAlarm):
        """A fall that was seen at steps 6 and 8."""

        def _raised(self) -> Alarm | None:
            return Alarm("mass loss", 8, self.steps[-1 - self.window]) if self.steps[-1] == 8 else None

    monkeypatch.setattr("polyculture.align.watching.callback.FallAlarm", SeenTwice)
    made = trainer(folder, tmp_path, tokenizer, steps=8, save_total_limit=2)
    watched(made, folder, tmp_path)
    with pytest.warns(UserWarning, match="the model of checkpoint-4 is kept"):
        made.train()
    assert saved_steps(tmp_path) == [6, 8] and (tmp_path / "before-alarm" / "config.json").exists()


@pytest.mark.parametrize("alarm", ["warn", "off"])
def test_an_alarm_that_only_warns_or_is_off_stops_nothing(
    alarm: Any, folder: Path, tokenizer: Any, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    watch = Watch(**(asdict(SMALL) | {"every": 0, "collapse": 1.5, "alarm": alarm, "reward": "none"}))
    made = trainer(folder, tmp_path, tokenizer, steps=3)
    callback = watched(made, folder, tmp_path, watch)
    made.train()
    warned = [w for w in recwarn if "over-optimisation" in str(w.message)]
    assert made.state.global_step == 3 and len(warned) == (1 if alarm == "warn" else 0)
    assert "reward" not in callback.observations[0].metrics
    assert [one.step for one in callback.observations] == [0, 1, 2, 3], "0 makes about ten of them"
    assert (callback.observations[-1].alarm is None) == (alarm == "off")


def test_a_policy_that_has_diverged_is_told_so(folder: Path, tokenizer: Any, tmp_path: Path) -> None:
    for temperature in (1.0, 0.0):
        made = trainer(folder, tmp_path, tokenizer, steps=3)
        watched(made, folder, tmp_path, Watch(**(asdict(SMALL) | {"temperature": temperature})))
        with torch.no_grad():
            made.model.lm_head.weight.fill_(math.nan)
        with pytest.raises(ModelFailure, match=r"step 0: .* has diverged"):
            made.train()


def test_a_watch_needs_prompts_and_sane_settings(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="at least one held-out prompt"):
        WatchCallback(SMALL, prompts=[], out=tmp_path)
    for wrong in ({"every": -1}, {"pairs": -1}, {"temperature": -1.0}, {"batch_size": 0}, {"alarm": "loud"}):
        with pytest.raises(BadInput, match=f"watch: {next(iter(wrong))} should"):
            Watch(**wrong)  # type: ignore[arg-type]


# --- the file ------------------------------------------------------------------------------------------------------


def test_the_file_keeps_numbers_that_are_not_finite_and_texts_that_are_no_utf8(tmp_path: Path) -> None:
    log = WatchLog(tmp_path / "new" / "watch.jsonl")
    log.append(Observation(0, {"a": math.nan, "b": math.inf}, [{"prompt": "\ud800", "answers": ["é"]}]))
    one = read_observations(log.path)[0]
    assert math.isnan(one.metrics["a"]) and one.metrics["b"] == math.inf
    assert one.samples == [{"prompt": "?", "answers": ["é"]}] and one.alarm is None


def test_a_run_that_was_ended_early_and_goes_on_forgets_its_last_evaluation(tmp_path: Path) -> None:
    log = WatchLog(tmp_path / "watch.jsonl")
    for step in (0, 4, 8, 10, 12):
        log.append(Observation(step, {}))
    log.start(10, 4)
    assert [one.step for one in log.observations] == [0, 4, 8] == [one.step for one in read_observations(log.path)]
    log.start(0, 4)
    assert log.observations == [] and log.path.read_text() == ""


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "watch.jsonl"
    path.write_text(json.dumps({"step": 0}) + "\n")
    with pytest.raises(BadInput, match="line 1 is no evaluation"):
        read_observations(path)
    with pytest.raises(BadInput, match="can't read"):
        read_observations(tmp_path / "none")


def test_words_for_every_alarm_and_the_steps_there_are(tmp_path: Path) -> None:
    for reason in ("entropy reversal", "mass loss", "entropy collapse"):
        assert "10 likeliest" in alarm_in_words(reason, k=10, window=3, collapse=0.5)
    for name in ("checkpoint-20", "checkpoint-3", "checkpoint-x"):
        (tmp_path / name).mkdir()
    assert saved_steps(tmp_path) == [3, 20]


# --- several processes ---------------------------------------------------------------------------------------------


def _rank(rank: int, folder: str, out: str) -> None:
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    dist.init_process_group("gloo", init_method=f"file://{out}/meet", rank=rank, world_size=2)
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found = []
    for sharded in (False, True):
        if sharded:
            mesh = init_device_mesh("cpu", (2,))
            for layer in model.model.layers:
                fully_shard(layer, mesh=mesh)
            fully_shard(model, mesh=mesh)
        ranks = Ranks.here(sharded=in_parts(model))
        assert ranks.shared != sharded
        made = evaluation(model, tokenizer, reference=model, pairs=some_pairs(tokenizer), ranks=ranks)
        with undisturbed(model):
            found.append(ranks.agreed(made.measure(model)))
    (Path(out) / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_find_what_one_does(folder: Path, policy: Any, tokenizer: Any, tmp_path: Path) -> None:
    import torch.multiprocessing as mp

    mp.spawn(_rank, (str(folder), str(tmp_path)), nprocs=2)
    made = evaluation(policy, tokenizer, reference=policy, pairs=some_pairs(tokenizer))
    metrics, by_prompt, samples = made.measure(policy)
    for rank in (0, 1):
        for found, parts, shown in json.loads((tmp_path / f"{rank}.json").read_text()):
            assert found == pytest.approx(metrics, rel=1e-4) and shown == samples
            assert parts["top_k_mass"] == pytest.approx(by_prompt["top_k_mass"], rel=1e-4)
