"""AlignmentTrainer: the loss of a step, the reference, adapters, and what stops it."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from polyculture.align.data.dataset import EncodedDataset
from polyculture.align.preparation import check_joined, check_same_processes, switch_off_dropout
from polyculture.align.stopping import LogAtCheckpoints
from polyculture.align.trainer import AlignmentTrainer
from polyculture.align.watching.settings import Watch
from polyculture.errors import BadInput, UnknownMethod

Rows = list[dict[str, Any]]


def trainer(model: Any, rows: Rows, out: Path, objective: Any = "dpo", **given: Any) -> AlignmentTrainer:
    from transformers import TrainingArguments

    settings = {
        "max_steps": 3, "learning_rate": 1e-2, "lr_scheduler_type": "constant", "per_device_train_batch_size": 8,
        "logging_steps": 1, "use_cpu": True, "report_to": [], "disable_tqdm": True, "save_strategy": "no",
        "dataloader_pin_memory": False,
    }  # fmt: skip
    arguments = TrainingArguments(output_dir=str(out), **(settings | given.pop("args", {})))
    held_out = given.pop("held_out", None)
    return AlignmentTrainer(model, objective, arguments, rows, held_out, max_length=64, **given)


def weights(trained: AlignmentTrainer) -> Tensor:
    return torch.cat([p.detach().flatten() for p in trained.model.parameters()])


def losses(trained: AlignmentTrainer) -> list[float]:
    return [row["loss"] for row in trained.state.log_history if "loss" in row]


def test_the_first_loss_is_ln_2_and_pairs_are_learned(tiny_model: str, preferences: Rows, tmp_path: Path) -> None:
    trained = trainer(tiny_model, preferences, tmp_path, hyper={"beta": 0.5}, args={"max_steps": 12})
    trained.train()
    assert losses(trained)[0] == pytest.approx(0.693147, abs=1e-5)
    assert losses(trained)[-1] < 0.4
    last = [row for row in trained.state.log_history if "rewards/accuracies" in row][-1]
    assert last["rewards/accuracies"] == 1.0 and last["rewards/margins"] > 0
    assert {"logps/chosen", "logps/rejected", "logps_per_token/chosen", "grad_norm"} <= set(last)


@pytest.mark.parametrize("objective", ["dpo", "sft", "0.5*dpo+1*sft", "kto", "simpo"])
def test_a_step_is_the_mean_over_its_examples_however_they_are_split(
    tiny_model: str, preferences: Rows, tmp_path: Path, objective: str
) -> None:
    """KTO's reference point is a mean over the batch, so its steps agree in size but not in every digit."""
    whole = trainer(tiny_model, preferences, tmp_path / "a", objective)
    whole.train()
    split = trainer(
        tiny_model,
        preferences,
        tmp_path / "b",
        objective,
        args={"per_device_train_batch_size": 1, "gradient_accumulation_steps": 8},
    )
    split.train()
    near = 2e-2 if objective == "kto" else 2e-5
    assert losses(split) == pytest.approx(losses(whole), abs=near)
    if objective != "kto":
        torch.testing.assert_close(weights(split), weights(whole), atol=2e-4, rtol=0)


def test_sharing_prompts_changes_nothing(tiny_model: str, preferences: Rows, tmp_path: Path) -> None:
    runs = [trainer(tiny_model, preferences, tmp_path / str(share), share_prompts=share) for share in (True, False)]
    for run in runs:
        run.train()
    assert [run.layout.share for run in runs] == [True, False]
    torch.testing.assert_close(weights(runs[0]), weights(runs[1]), atol=2e-4, rtol=0)


def test_the_reference_is_computed_once_and_found_again(
    tiny_model: str, preferences: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from polyculture.align.reference import scores as reference

    calls = []
    score = reference._score
    monkeypatch.setattr(reference, "_score", lambda *given: calls.append(1) or score(*given))
    first = trainer(tiny_model, preferences, tmp_path / "a", reference_cache=tmp_path / "cache")
    assert len(calls) == 1 and len(list((tmp_path / "cache").glob("*.safetensors"))) == 1
    second = trainer(tiny_model, preferences, tmp_path / "b", "ipo", reference_cache=tmp_path / "cache")
    assert len(calls) == 1
    for a, b in zip(first.train_dataset.ref, second.train_dataset.ref, strict=True):
        assert all((x == y).all() for x, y in zip(a, b, strict=True))
    trainer(tiny_model, preferences[:-1], tmp_path / "c", reference_cache=tmp_path / "cache")
    assert len(calls) == 2  # other data, other file
    damaged = next((tmp_path / "cache").glob("*.safetensors"))
    damaged.write_bytes(b"cut short")
    trainer(tiny_model, preferences, tmp_path / "d", reference_cache=tmp_path / "cache")
    trainer(tiny_model, preferences[:-1], tmp_path / "d", reference_cache=tmp_path / "cache")
    assert len(calls) == 3  # the damaged one is made again, the other is not


def test_objectives_without_a_reference_compute_none(tiny_model: str, preferences: Rows, tmp_path: Path) -> None:
    assert trainer(tiny_model, preferences, tmp_path, "simpo").train_dataset.ref is None


def test_an_adapter_trains_and_its_reference_is_the_model_without_it(
    tiny_model: str, preferences: Rows, tmp_path: Path
) -> None:
    from peft import LoraConfig

    config = LoraConfig(r=4, lora_alpha=64, target_modules="all-linear", task_type="CAUSAL_LM")
    for objective in ("dpo", "tdpo"):  # its reference beforehand, and beside the policy
        torch.manual_seed(0)
        trained = trainer(
            tiny_model, preferences, tmp_path / objective, objective, peft_config=config, args={"max_steps": 8}
        )
        trained.train()
        assert losses(trained)[0] == pytest.approx(0.693147, abs=1e-4) and losses(trained)[-1] < losses(trained)[0]
        trained.save_model(str(tmp_path / objective / "adapter"))
        assert (tmp_path / objective / "adapter" / "adapter_config.json").exists()


def test_another_model_can_be_the_reference(tiny_model: str, preferences: Rows, tmp_path: Path) -> None:
    from tests.tiny_models import tiny_llama, train_tokenizer

    other = tiny_llama(tmp_path / "other", seed=5, context=256)
    compared = trainer(tiny_model, preferences, tmp_path / "a", reference=str(other))
    compared.train()
    assert abs(losses(compared)[0] - 0.693147) > 1e-3
    wide = tiny_llama(tmp_path / "wide", tokenizer=train_tokenizer(vocab_size=400), context=256)
    with pytest.raises(BadInput, match=r"the reference's vocabulary has .* tokens and the model's"):
        trainer(tiny_model, preferences, tmp_path / "b", reference=str(wide))
    with pytest.raises(BadInput, match="nowhere"):
        trainer(tiny_model, preferences, tmp_path / "c", reference=str(tmp_path / "nowhere"))


def test_modifiers_reach_the_loss(tiny_model: str, preferences: Rows, tmp_path: Path) -> None:
    plain = trainer(tiny_model, preferences, tmp_path / "a")
    ld = trainer(tiny_model, preferences, tmp_path / "b", ld_alpha=0.0)
    wpo = trainer(tiny_model, preferences, tmp_path / "c", wpo=True)
    for run in (plain, ld, wpo):
        run.train()
    assert len({round(losses(run)[1], 6) for run in (plain, ld, wpo)}) == 3
    with pytest.raises(BadInput, match="LD and WPO are of pairs"):
        trainer(tiny_model, preferences, tmp_path / "d", "kto", wpo=True)


def test_a_reference_that_follows_is_kept_in_checkpoints(tiny_model: str, preferences: Rows, tmp_path: Path) -> None:
    args = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    whole = trainer(tiny_model, preferences, tmp_path / "a", refresh=(0.5, 2), args=args)
    whole.train()
    assert (tmp_path / "a" / "checkpoint-2" / "reference.safetensors").exists()
    again = trainer(tiny_model, preferences, tmp_path / "b", refresh=(0.5, 2), args=args)
    again.train(resume_from_checkpoint=str(tmp_path / "a" / "checkpoint-2"))
    assert torch.equal(weights(again), weights(whole))
    fixed = trainer(tiny_model, preferences, tmp_path / "c", args=args)
    fixed.train()
    with pytest.raises(BadInput, match=r"checkpoint-2 holds no reference\.safetensors"):
        again.train(resume_from_checkpoint=str(tmp_path / "c" / "checkpoint-2"))
    assert not torch.equal(weights(fixed), weights(whole))


def test_a_function_of_a_few_lines_is_an_objective(tiny_model: str, preferences: Rows, tmp_path: Path) -> None:
    def weighted(policy_chosen: Tensor, policy_rejected: Tensor, importance: Tensor, *, beta: float = 0.1) -> Tensor:
        return -importance * logsigmoid(beta * (policy_chosen - policy_rejected))

    rows = [{**row, "importance": float(i % 2)} for i, row in enumerate(preferences)]
    trained = trainer(tiny_model, rows, tmp_path, weighted, hyper={"beta": 0.3})
    trained.train()
    assert trained.objective.columns == ("importance",) and losses(trained)[-1] < losses(trained)[0]
    with pytest.raises(BadInput, match="needs the column 'importance'"):
        trainer(tiny_model, preferences, tmp_path, weighted)


def test_a_loss_that_takes_the_mean_itself_is_refused(tiny_model: str, preferences: Rows, tmp_path: Path) -> None:
    def averaged(policy_chosen: Tensor, policy_rejected: Tensor) -> Tensor:
        return -logsigmoid(policy_chosen - policy_rejected).mean()

    with pytest.raises(BadInput, match=r"'averaged' gives a tensor of shape \(\) for 8 examples; return one loss"):
        trainer(tiny_model, preferences, tmp_path, averaged).train()


def test_held_out_pairs_are_judged(tiny_model: str, preferences: Rows, tmp_path: Path) -> None:
    found = trainer(tiny_model, preferences[:16], tmp_path, held_out=preferences[16:]).evaluate()
    assert found["eval_loss"] == pytest.approx(0.693147, abs=1e-5)
    assert {"eval_rewards/accuracies", "eval_logps/chosen"} <= set(found)


def test_other_rows_can_be_judged_while_the_reference_is_there(
    tiny_model: str, preferences: Rows, tmp_path: Path
) -> None:
    trained = trainer(tiny_model, preferences[:16], tmp_path / "a")
    assert trained.evaluate(preferences[16:])["eval_loss"] == pytest.approx(0.693147, abs=1e-5)
    trained.train()
    with pytest.raises(BadInput, match="the reference was this model before it was trained"):
        trained.evaluate(preferences[16:])
    beside = trainer(tiny_model, preferences[:16], tmp_path / "b", reference=tiny_model)
    beside.train()
    assert beside.evaluate(preferences[16:])["eval_loss"] != pytest.approx(0.693147, abs=1e-4)


def test_predict_takes_rows_and_gives_their_metrics(tiny_model: str, preferences: Rows, tmp_path: Path) -> None:
    trained = trainer(tiny_model, preferences[:16], tmp_path, held_out=preferences[16:])
    found = trained.predict(preferences[16:])
    held_out = trained.evaluate()
    assert found.predictions is None and found.metrics["test_loss"] == held_out["eval_loss"]
    assert found.metrics["test_logps/chosen"] == held_out["eval_logps/chosen"]


def test_arguments_that_are_not_taken_say_where_they_belong(tiny_model: str, preferences: Rows, tmp_path: Path) -> None:
    for given, remedy in (
        ({"beta": 0.1}, r"takes no beta=: options of the objective go in hyper=\{'beta': \.\.\.\}"),
        ({"learning_rate": 1e-6}, "those of the training in args=TrainingArguments"),
        ({"tokenizer": object()}, "tokenizer= is not taken: give it as processing_class="),
        ({"compute_metrics": len}, "compute_metrics= is not taken: no predictions are kept; measure in a callback"),
        ({"compute_loss_func": len}, "give the loss as the objective"),
    ):
        with pytest.raises(BadInput, match=remedy):
            trainer(tiny_model, preferences, tmp_path, **given)
    assert trainer(tiny_model, preferences[:2], tmp_path, compute_metrics=None).compute_metrics is None


def test_labels_that_are_all_the_same_are_told(tiny_model: str, preferences: Rows, tmp_path: Path) -> None:
    rows = [{"prompt": row["prompt"], "completion": row["chosen"], "label": True} for row in preferences[:8]]
    with pytest.warns(UserWarning, match="data: every label is true, so 'kto' has nothing to tell apart.*with sft"):
        trained = trainer(tiny_model, rows, tmp_path, "kto", name="data")
    trained.train()  # as in TRL
    assert losses(trained)[-1] < losses(trained)[0]
    with pytest.warns(UserWarning, match=r"every label is false, .* give both kinds$"):
        trainer(tiny_model, [{**row, "label": False} for row in rows], tmp_path, "bco")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer(tiny_model, [*rows, {**rows[0], "completion": " Rest.", "label": False}], tmp_path, "kto")


def test_batches_can_be_grouped_by_length(tiny_model: str, preferences: Rows, tmp_path: Path) -> None:
    rows = [{**row, "chosen": row["chosen"] + " and rye" * (i % 5)} for i, row in enumerate(preferences)]
    grouped = {"train_sampling_strategy": "group_by_length", "eval_strategy": "steps", "eval_steps": 1}
    trained = trainer(tiny_model, rows, tmp_path, args=grouped, held_out=preferences[:3])
    trained.train()
    assert len(losses(trained)) == 3 and sum("eval_loss" in row for row in trained.state.log_history) == 3
    with pytest.raises(BadInput, match="use group_by_length"):
        trainer(tiny_model, rows, tmp_path, args={"train_sampling_strategy": "batch_rebalance"}).train()


def test_a_watch_does_not_swallow_the_log_of_its_step(tiny_model: str, preferences: Rows, tmp_path: Path) -> None:
    watch = Watch(every=1, prompts=1, samples=1, max_new_tokens=4)
    trained = trainer(tiny_model, preferences[:16], tmp_path, held_out=preferences[16:], watch=watch)
    trained.train()
    assert len(losses(trained)) == 3
    assert sum("watch/reward" in row for row in trained.state.log_history) == 4


def test_a_watch_without_divergence_holds_no_second_model(tiny_model: str, preferences: Rows, tmp_path: Path) -> None:
    watch = Watch(every=3, prompts=1, samples=1, max_new_tokens=4, divergence=False)
    trained = trainer(tiny_model, preferences[:16], tmp_path, held_out=preferences[16:], watch=watch)
    assert trained.reference.model is None
    trained.train()
    seen = [row for row in trained.state.log_history if "watch/entropy" in row]
    assert len(seen) == 2 and not any("watch/reverse_kl" in row for row in seen)


def test_a_loss_that_is_not_a_number_stops_with_the_batch_saved(
    tiny_model: str, preferences: Rows, tmp_path: Path
) -> None:
    def broken(policy_chosen: Tensor, policy_rejected: Tensor) -> Tensor:
        return (policy_chosen - policy_rejected) * float("nan")

    with pytest.raises(
        BadInput, match=r"the loss is nan at step 1 \(data row \d+, .*saved in .*lower the learning rate"
    ):
        trainer(tiny_model, preferences, tmp_path, broken, name="data").train()
    saved = json.loads((tmp_path / "bad-batch-step-1.json").read_text())
    assert len(saved["rows"]) == 8 and saved["rows"][0]["prompt"].startswith("<s>")


def test_a_gradient_that_is_not_finite_stops(tiny_model: str, preferences: Rows, tmp_path: Path) -> None:
    def steep(policy_chosen: Tensor, policy_rejected: Tensor) -> Tensor:
        return (policy_chosen - policy_chosen.detach()).abs().sqrt() + 0 * policy_rejected  # infinite slope at 0

    with pytest.raises(BadInput, match="gradient is not finite at step 1"):
        trainer(tiny_model, preferences, tmp_path, steep).train()


def test_processes_that_never_joined_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    check_joined(1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(BadInput, match=r"2 processes were launched, but this one sees 1.*ACCELERATE_USE_CPU"):
        check_joined(1)
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "1")  # one torchrun a machine, started by mpirun
    check_joined(2)
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    with pytest.raises(BadInput, match="2 processes were launched"):
        check_joined(1)


def test_mistakes_are_named(tiny_model: str, preferences: Rows, tmp_path: Path) -> None:
    with pytest.raises(UnknownMethod, match="did you mean 'dpo'"):
        trainer(tiny_model, preferences, tmp_path, "dpoo")
    with pytest.raises(BadInput, match=r"beta of .* should be above 0, not 0"):
        trainer(tiny_model, preferences, tmp_path, hyper={"beta": 0.0}).train()
    with pytest.raises(BadInput, match=r"needs the columns prompt, completion, label"):
        trainer(tiny_model, [{"prompt": "a"}], tmp_path, "kto")
    with pytest.warns(UserWarning, match="the model takes 256 tokens"):
        from transformers import TrainingArguments

        long = AlignmentTrainer(
            tiny_model, "dpo", TrainingArguments(str(tmp_path), use_cpu=True), preferences, max_length=10_000
        )
    assert long.max_length == 256


def test_dropout_is_off_unless_asked_for(tmp_path: Path, tiny_model: str, preferences: Rows) -> None:
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)

    def rate(**given: Any) -> float:
        config = GPT2Config(
            vocab_size=len(tokenizer), n_embd=16, n_layer=1, n_head=2, n_positions=128, bos_token_id=0, eos_token_id=1
        )
        made = trainer(GPT2LMHeadModel(config), preferences, tmp_path, processing_class=tokenizer, **given)
        return float(made.model.transformer.drop.p)

    assert rate() == 0.0 and rate(dropout=True) == pytest.approx(0.1)


def test_dropout_that_a_model_keeps_as_a_number_is_off_too(tiny_model: str) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model, attention_dropout=0.3)
    assert model.model.layers[0].self_attn.attention_dropout == 0.3
    switch_off_dropout(model)
    assert model.model.layers[0].self_attn.attention_dropout == 0.0


def test_dropout_that_layers_look_up_is_off_too() -> None:
    from transformers import FalconConfig, FalconForCausalLM

    config = FalconConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, hidden_dropout=0.5,
        attention_dropout=0.5,
    )  # fmt: skip
    model = FalconForCausalLM(config).train()
    switch_off_dropout(model)
    ids = torch.arange(20)[None]
    assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)
    assert model.config.hidden_dropout == 0.5  # as it is saved


def test_nothing_random_is_left() -> None:
    import transformers

    sizes = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    layers = transformers.OPTConfig(**sizes, ffn_dim=32, word_embed_proj_dim=32, layerdrop=0.5, attention_dropout=0.5)
    experts = transformers.MixtralConfig(
        **sizes, intermediate_size=32, num_key_value_heads=1, router_jitter_noise=0.5, attention_dropout=0.5
    )
    for config in (layers, experts):
        model = transformers.AutoModelForCausalLM.from_config(config).train()
        ids = torch.arange(20)[None]
        assert not torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits), config.model_type
        switch_off_dropout(model)
        assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits), config.model_type


def test_encoded_data_are_taken_as_they_are(tiny_model: str, preferences: Rows, tmp_path: Path) -> None:
    first = trainer(tiny_model, preferences, tmp_path)
    data = EncodedDataset(first.train_dataset.examples)
    again = trainer(tiny_model, data, tmp_path)  # type: ignore[arg-type]
    assert again.train_dataset.examples is data.examples and data.ref is None


def test_a_moving_reference_with_tied_weights_is_kept_in_checkpoints(preferences: Rows, tmp_path: Path) -> None:
    from tests.tiny_models import tiny_llama

    model = str(tiny_llama(tmp_path / "tied", tie_word_embeddings=True))
    args = {"max_steps": 3, "save_strategy": "steps", "save_steps": 2}
    whole = trainer(model, preferences, tmp_path / "out", refresh=(0.5, 1), args=args)
    whole.train()
    again = trainer(model, preferences, tmp_path / "out", refresh=(0.5, 1), args=args)
    again.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-2"))
    assert torch.equal(weights(whole), weights(again))


@pytest.mark.parametrize("objective", ["dpo", "sft", "0.5*dpo+1*sft"])
def test_the_held_out_loss_is_the_mean_over_examples_not_over_batches(
    tiny_model: str, preferences: Rows, tmp_path: Path, objective: str
) -> None:
    rows = [{**row, "chosen": row["chosen"] + " and rye" * i} for i, row in enumerate(preferences[:5])]
    found = []
    for size in (2, 5):  # 2 + 2 + 1, or one batch
        args = {"per_device_eval_batch_size": size}
        trained = trainer(tiny_model, preferences, tmp_path / str(size), objective, held_out=rows, args=args)
        trained.train()
        found.append({k: v for k, v in trained.evaluate().items() if "runtime" not in k and "second" not in k})
    assert found[0] == pytest.approx(found[1], abs=2e-4) and "eval_loss" in found[0]


def test_held_out_rows_may_come_in_several_sets(tiny_model: str, preferences: Rows, tmp_path: Path) -> None:
    sets = {"near": preferences[:4], "far": preferences[4:9]}
    trained = trainer(tiny_model, preferences[9:], tmp_path, held_out=sets)
    trained.train()
    assert {"eval_near_loss", "eval_far_loss"} <= set(trained.evaluate())


def test_a_held_out_batch_that_gives_no_number_is_named(tiny_model: str, preferences: Rows, tmp_path: Path) -> None:
    def broken(policy_chosen: Tensor, policy_rejected: Tensor, part: Tensor) -> Tensor:
        return policy_chosen - policy_rejected + (part / part - 1)

    train, other = ([{**row, "part": float(part)} for row in preferences] for part in (1, 0))
    trained = trainer(tiny_model, train, tmp_path, broken)
    with pytest.raises(BadInput, match=r"the loss is nan at step 1 \(held-out data row 1, held-out data row 2"):
        trained.evaluate(other[:4])


def test_a_run_grouped_by_length_goes_on_in_the_same_order(tiny_model: str, preferences: Rows, tmp_path: Path) -> None:
    rows = [{**row, "chosen": row["chosen"] + " and rye" * (i % 5)} for i, row in enumerate(preferences)]
    args = {"train_sampling_strategy": "group_by_length", "max_steps": 6, "save_strategy": "steps", "save_steps": 4}
    whole = trainer(tiny_model, rows, tmp_path, args=args)
    whole.train()
    again = trainer(tiny_model, rows, tmp_path, args=args)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))  # in the second pass over the data
    assert torch.equal(weights(whole), weights(again))


def test_a_gradient_is_looked_at_though_it_is_not_clipped(tiny_model: str, preferences: Rows, tmp_path: Path) -> None:
    def steep(policy_chosen: Tensor, policy_rejected: Tensor) -> Tensor:
        return (policy_chosen - policy_chosen.detach()).abs().sqrt() + 0 * policy_rejected

    with pytest.raises(BadInput, match="gradient is not finite at step 1"):
        trainer(tiny_model, preferences, tmp_path / "a", steep, args={"max_grad_norm": 0.0}).train()
    free = trainer(tiny_model, preferences, tmp_path / "b", args={"max_grad_norm": 0.0})
    free.train()
    assert losses(free)[-1] < losses(free)[0]


def test_a_model_that_an_adapter_wraps_can_be_named_as_the_reference(
    tiny_model: str, preferences: Rows, tmp_path: Path
) -> None:
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    trained = trainer(
        model, preferences, tmp_path, reference=model, peft_config=config, processing_class=tokenizer
    )  # PEFT changes the model in place
    trained.train()
    assert losses(trained)[0] == pytest.approx(0.693147, abs=1e-5) and losses(trained)[-1] < losses(trained)[0]


def test_a_run_goes_on_with_as_many_processes(tmp_path: Path) -> None:
    for rank in range(2):
        (tmp_path / f"rng_state_{rank}.pth").touch()
    check_same_processes(tmp_path, 2)
    with pytest.raises(BadInput, match=r"is of 2 processes, and now there are 1: .* launch 2"):
        check_same_processes(tmp_path, 1)


def test_a_checkpoint_at_the_end_of_an_epoch_has_its_line_in_the_log(
    tiny_model: str, preferences: Rows, tmp_path: Path
) -> None:
    args = {"max_steps": 6, "save_strategy": "epoch", "logging_steps": 100}
    trained = trainer(tiny_model, preferences, tmp_path, args=args, callbacks=[LogAtCheckpoints()])
    trained.train()
    assert [row["step"] for row in trained.state.log_history if "loss" in row] == [3, 6]


def test_a_token_that_the_model_lacks_is_named(tiny_model: str, preferences: Rows, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = (kind.from_pretrained(tiny_model) for kind in (AutoModelForCausalLM, AutoTokenizer))
    tokenizer.add_tokens(["planted"])
    rows = [*preferences[:3], {**preferences[3], "chosen": "It is planted."}]
    with pytest.raises(BadInput, match=r"row 4: token 384 \('planted'\) is beyond the 384 that the model has"):
        trainer(model, rows, tmp_path, processing_class=tokenizer)
    model.resize_token_embeddings(512)  # padded beyond the tokenizer
    padded = trainer(model, rows, tmp_path, processing_class=tokenizer)
    padded.train()
    assert losses(padded)[0] == pytest.approx(0.693147, abs=1e-5) and losses(padded)[-1] < losses(padded)[0]


def test_two_visible_gpus_do_not_double_the_batch(tiny_model: str, preferences: Rows, tmp_path: Path) -> None:
    from transformers import TrainingArguments

    args = TrainingArguments(str(tmp_path), use_cpu=True, report_to=[], per_device_train_batch_size=4)
    assert args.device.type == "cpu"
    args._n_gpu = 2
    plain = AlignmentTrainer(tiny_model, "dpo", args, preferences, max_length=64)
    assert plain._train_batch_size == 4 and plain.args.n_gpu == 1


def load_balance(router_logits: Any, mask: Tensor, experts: int, active: int) -> Tensor:
    """Switch Transformers, equations 4 to 6, over all layers: experts times the sum of share times mean probability."""
    kept = mask.flatten().bool()
    p = torch.cat([layer[kept] for layer in router_logits]).softmax(-1)
    chosen = torch.zeros_like(p).scatter(1, p.topk(active, dim=1).indices, 1.0)
    return experts * (chosen.mean(0) * p.mean(0)).sum()


def test_the_experts_load_is_balanced_where_the_model_says_so(preferences: Rows, tmp_path: Path) -> None:
    from tests.tiny_models import tiny_mixtral

    plain = trainer(str(tiny_mixtral(tmp_path / "plain")), preferences, tmp_path)
    assert plain.abilities.share_prompts
    folder = tiny_mixtral(tmp_path / "m", output_router_logits=True, router_aux_loss_coef=0.5)
    args = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "max_steps": 1, "learning_rate": 0.0}
    trained = trainer(str(folder), preferences[:4], tmp_path, args=args)
    assert not trained.abilities.share_prompts and "balanced" in trained.abilities.why
    model, batches = trained.model.train(), list(trained.get_train_dataloader())
    wanted = []
    for batch in batches:
        ids, length = batch["input_ids"], batch["input_ids"].shape[1]
        mask = torch.arange(length) < batch["lengths"][:, None]
        logits = model(input_ids=ids, attention_mask=mask.long(), output_router_logits=True).router_logits
        wanted.append(0.5 * load_balance(logits, mask, 4, 2))
    gate = model.model.layers[0].mlp.gate.weight
    (slope,) = torch.autograd.grad(wanted[0], gate, retain_graph=True)
    counts = trained._get_num_items_in_batch(batches, torch.device("cpu"))
    loss = trained.compute_loss(model, batches[0], num_items_in_batch=counts)
    assert float(loss.detach()) == pytest.approx((0.693147 + float(wanted[0].detach())) / 2, abs=1e-4)
    assert trained._metrics["train"].means(trained.accelerator)["aux_loss"] == pytest.approx(
        2 * float(wanted[0].detach())
    )
    loss.backward()
    dpo = trainer(str(tmp_path / "plain"), preferences[:4], tmp_path, share_prompts=False, args=args)
    dpo.compute_loss(dpo.model.train(), batches[0], num_items_in_batch=counts).backward()
    torch.testing.assert_close(gate.grad, dpo.model.model.layers[0].mlp.gate.weight.grad + slope / 2, atol=1e-5, rtol=0)
    trained.train()
    both = float(sum(wanted).detach() / 2)
    assert losses(trained)[0] == pytest.approx(0.693147 + both, abs=1e-4)
    assert trained.state.log_history[0]["aux_loss"] == pytest.approx(2 * both, abs=1e-4)
