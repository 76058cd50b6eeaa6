from __future__ import annotations

import json
import math
import warnings

import numpy as np
import pytest
import torch
from transformers import TrainingArguments

from polyculture.align.sampled.settings import FDPG, Sampled
from polyculture.align.sampled.targets import Constraint, Moments, RewardTilt
from polyculture.align.sampled.trainer import STATE, SamplingTrainer
from polyculture.errors import BadInput
from tests.align.stops import StopAt
from tests.tiny_models import tiny_llama

PROMPTS = ("The quick", "What is", "A field", "Diversity")
ROWS = [{"prompt": prompt} for prompt in PROMPTS]
EVEN = Constraint(lambda prompts, completions: [len(text.encode()) % 2 == 0 for text in completions])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("model"))


def trainer(folder, out, *, rows=ROWS, steps=4, rate=3e-3, batch=2, more=None, accumulate=1, **sampled):
    args = TrainingArguments(
        output_dir=str(out),
        max_steps=steps,
        per_device_train_batch_size=batch,
        per_device_eval_batch_size=4,
        gradient_accumulation_steps=accumulate,
        learning_rate=rate,
        lr_scheduler_type="constant",
        save_steps=100,
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        seed=3,
    )
    settings = {"target": EVEN, "samples": 8, "max_new_tokens": 5, "at_once": 8, **sampled}
    return SamplingTrainer(
        str(folder),
        None,
        args,
        rows,
        ROWS[:2],
        sampled=FDPG(**settings),
        max_length=48,
        **more or {},
    )


def weights(made):
    return torch.cat([p.detach().flatten() for p in made.model.parameters()])


@pytest.mark.parametrize("how", [{}, {"proposal": "offline", "refresh_every": 2}])
def test_a_resumed_run_ends_where_one_that_never_stopped_does(folder, tmp_path, how):
    whole = trainer(folder, tmp_path / "whole", accumulate=2, batch=1, **how)
    whole.train()
    stopped = trainer(folder, tmp_path / "stopped", accumulate=2, batch=1, **how)
    stopped.add_callback(StopAt(3))
    stopped.train()
    held = json.loads((tmp_path / "stopped" / "checkpoint-3" / STATE).read_text())
    assert len(held["state"]["z"]) == 4 and len(held["state"]["rewards"]) == 3 * 2 * 8
    resumed = trainer(folder, tmp_path / "stopped", accumulate=2, batch=1, **how)
    resumed.train(resume_from_checkpoint=str(tmp_path / "stopped" / "checkpoint-3"))
    assert torch.equal(weights(whole), weights(resumed))
    assert whole.sampled_state.state_dict() == resumed.sampled_state.state_dict()
    assert whole.evaluate()["eval_js"] == resumed.evaluate()["eval_js"]


def test_the_policy_learns_what_is_wanted(folder, tmp_path):
    vowels = Constraint(lambda prompts, completions: [any(one in text for one in "aeiou") for text in completions])
    made = trainer(folder, tmp_path, target=vowels, steps=20, batch=4, samples=32, at_once=128, rate=2e-3)
    before = made.evaluate()
    made.train()
    after = made.evaluate()
    assert after["eval_constraint"] > before["eval_constraint"] + 0.15
    assert after["eval_loss"] == pytest.approx(after["eval_js"], rel=1e-5) and after["eval_js"] < before["eval_js"]
    first = made.state.log_history[1]
    assert {"kl_p_pi", "tv", "js", "ess", "largest_weight", "constraint", "tokens", "z", "baseline"} <= first.keys()


def test_the_first_step_is_the_policy_gradient(folder, tmp_path):
    """The loss of a step in parts and micro-batches is the mean over all its samples."""
    losses = []
    for batch, accumulate, at_once in ((4, 1, 64), (2, 2, 8), (1, 4, 3)):
        made = trainer(
            folder, tmp_path / f"{batch}", steps=1, batch=batch, accumulate=accumulate, at_once=at_once, rate=1e-9
        )
        made.train()
        losses.append((made.state.log_history[0]["loss"], made.state.log_history[0]["grad_norm"]))
    assert losses[1] == pytest.approx(losses[0], rel=1e-4) and losses[2] == pytest.approx(losses[0], rel=1e-4)


def test_on_policy_the_ratio_is_one_and_z_is_the_mean_weight(folder, tmp_path):
    made = trainer(folder, tmp_path, steps=1)
    seen = []
    parts = made._take_in

    def watched(drawn):
        seen.append(drawn)
        return parts(drawn)

    made._take_in = watched
    made.train()
    (drawn,) = seen
    assert len(drawn.rows) == 16
    # The policy is the base still, so P / q is the constraint alone.
    assert np.exp(drawn.target - drawn.proposal) == pytest.approx(np.isfinite(drawn.target).astype(float), abs=1e-4)
    for prompt in set(drawn.prompts):
        mine = np.array([p == prompt for p in drawn.prompts])
        assert np.exp(made.sampled_state.log_z([prompt])[0]) == pytest.approx(
            np.isfinite(drawn.target[mine]).mean(), abs=1e-3
        )
    assert set(drawn.prompts) <= set(PROMPTS)


def test_moments_are_fitted_to_the_base_and_kept(folder, tmp_path):
    target = Moments(lambda prompts, completions: [float(" " in text) for text in completions], (0.5,))
    made = trainer(folder, tmp_path, target=target, steps=2)
    made.add_callback(StopAt(1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # how well it fits is not what is asked here
        made.train()
    assert made.target.coefficients is not None and math.isfinite(made.target.coefficients[0])
    resumed = trainer(folder, tmp_path, target=target, steps=2)
    resumed._fit_moments = lambda: pytest.fail("fitted again")
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    assert resumed.target.coefficients == made.target.coefficients


def test_an_adapter_has_the_model_without_it_as_base(folder, tmp_path):
    from peft import LoraConfig

    adapter = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    made = trainer(folder, tmp_path, steps=2, more={"peft_config": adapter}, rate=1e-2)
    made.train()
    assert made.reference.own_base and made.reference.model is None
    base = trainer(folder, tmp_path / "plain", steps=1)
    rows = list(enumerate(made.train_dataset.examples))
    drawn = made._draw(made.model, rows, 0)
    with base.reference.running() as model:
        assert drawn.base == pytest.approx(base._drawer.log_probs(model, drawn.rows), abs=1e-4)
    assert np.abs(drawn.base - drawn.proposal).max() > 1e-3
    with pytest.raises(BadInput, match="offline proposal"):
        trainer(folder, tmp_path, more={"peft_config": adapter}, proposal="offline")


def test_prompts_are_read_once_and_keep_their_text(folder, tmp_path):
    chat = [{"role": "user", "content": "What is 12 + 30?"}]
    rows = [{"prompt": "A field"}, {"prompt": "A field"}, {"prompt": chat}, {"prompt": "word " * 60}]
    with pytest.warns(UserWarning, match="1 prompt cut at the start to leave room for 5 tokens"):
        made = trainer(folder, tmp_path, rows=rows, target=RewardTilt(lambda p, c: [len(text) for text in c]))
    examples = made.train_dataset.examples
    assert len(examples) == 3 and max(len(example.prompt) for example in examples) == 48 - 5
    assert made._drawer.prompt_text(examples[0].prompt) == "A field"
    assert "12 + 30" in made._drawer.prompt_text(examples[1].prompt)
    assert "<|user|>" not in made._drawer.prompt_text(examples[1].prompt)


def test_other_prompts_can_be_judged(folder, tmp_path):
    made = trainer(folder, tmp_path, steps=1)
    held_out = made.evaluate()
    assert made.predict(ROWS[:2]).metrics["test_js"] == made.evaluate(ROWS[:2])["eval_js"] == held_out["eval_js"]


def test_what_can_not_be_is_refused(folder, tmp_path):
    with pytest.raises(BadInput, match="reverse_kl is infinite where the constraint forbids"):
        trainer(folder, tmp_path, divergence="reverse_kl")
    with pytest.raises(BadInput, match="leave out the reference's refresh"):
        trainer(folder, tmp_path, more={"refresh": (0.5, 2)})
    with pytest.raises(BadInput, match="samples should be at least 1"):
        Sampled(samples=0)
    pairs = [{"prompt": "a", "chosen": "b", "rejected": "c"}]
    args = TrainingArguments(output_dir=str(tmp_path), report_to=[], use_cpu=True)
    with pytest.raises(BadInput, match="'dpo' is of pairs, not of samples"):
        SamplingTrainer(str(folder), "dpo", args, pairs)


def test_where_nothing_is_possible_nothing_moves(folder, tmp_path):
    never = Constraint(lambda prompts, completions: [False] * len(completions))
    made = trainer(folder, tmp_path, target=never, steps=1)
    before = weights(made)
    with pytest.warns(UserWarning, match="nothing is learned"):
        made.train()
    assert torch.equal(before, weights(made)) and made.sampled_state.baseline == 0
