"""The reference in a training: whose log-probabilities the data hold, where the model is, in what types it runs."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainingArguments

from polyculture.align.data.layout import Layout
from polyculture.align.log_probs.forward import Abilities
from polyculture.align.reference import model as module
from polyculture.align.reference.model import ReferenceModel
from polyculture.align.sampled.trainer import SamplingTrainer
from polyculture.align.trainer import AlignmentTrainer
from polyculture.errors import BadInput
from tests.tiny_models import tiny_llama

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_llama(tmp_path_factory.mktemp("models") / "other", seed=5))


def trainer(model: Any, rows: Any, out: Path, objective: str = "dpo", **given: Any) -> AlignmentTrainer:
    settings: dict[str, Any] = {
        "max_steps": 2, "learning_rate": 1e-2, "use_cpu": True, "report_to": [], "disable_tqdm": True,
        "save_strategy": "no", "dataloader_pin_memory": False, "logging_steps": 1,
    }  # fmt: skip
    arguments = TrainingArguments(str(out), **(settings | given.pop("args", {})))
    return AlignmentTrainer(model, objective, arguments, rows, max_length=64, **given)


def loaded(folder: str) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def same(one: Any, another: Any) -> bool:
    return all(np.array_equal(a, b) for x, y in zip(one, another, strict=True) for a, b in zip(x, y, strict=True))


def test_two_trainers_over_one_data_set_each_have_their_own_reference(
    tiny_model: str, other: str, preferences: Rows, tmp_path: Path
) -> None:
    first = trainer(tiny_model, preferences, tmp_path / "a")
    data = first.train_dataset
    second = trainer(tiny_model, data, tmp_path / "b", reference=other)
    alone = trainer(tiny_model, preferences, tmp_path / "c", reference=other)
    assert not same(first.train_dataset.ref, second.train_dataset.ref)
    assert same(second.train_dataset.ref, alone.train_dataset.ref)
    assert first.train_dataset is data and data.scored_by == first.reference.fingerprint


def test_the_same_reference_is_not_asked_twice(tiny_model: str, preferences: Rows, tmp_path: Path) -> None:
    first = trainer(tiny_model, preferences, tmp_path / "a")
    assert trainer(tiny_model, first.train_dataset, tmp_path / "b").train_dataset.ref is not None
    first.train()
    # Its own data can be judged though the reference is gone, others can't.
    assert np.isfinite(first.evaluate(first.train_dataset)["eval_loss"])
    with pytest.raises(BadInput, match="the reference was this model before it was trained"):
        first.evaluate(preferences[:3])
    after = trainer(first.model, first.train_dataset, tmp_path / "c", processing_class=first.processing_class)
    assert not same(after.train_dataset.ref, first.train_dataset.ref), "it was trained, so it is another reference"


def test_a_reference_that_is_changed_in_memory_is_another(
    tiny_model: str, other: str, preferences: Rows, tmp_path: Path
) -> None:
    given = loaded(other)
    made = trainer(tiny_model, preferences, tmp_path, reference=given)
    before = made.train_dataset.ref
    with torch.no_grad():
        given.lm_head.weight *= 0.5
    (again,) = made._scored((made.encoded(preferences, "rows"),))
    assert not same(before, again.ref)


def test_data_encoded_for_another_kind_of_objective_are_refused(
    tiny_model: str, preferences: Rows, tmp_path: Path
) -> None:
    data = trainer(tiny_model, preferences, tmp_path).train_dataset
    for objective in ("kto", "sft"):
        with pytest.raises(BadInput, match=f"was encoded as pairs, and '{objective}' trains on"):
            trainer(tiny_model, data, tmp_path, objective)


class Moves:
    """Records where models are moved, on a machine of one device."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, policy: Any) -> None:
        self.places: dict[int, str] = {}
        self.seen: list[str] = []
        monkeypatch.setattr(module, "_device", lambda m: "gpu" if m is policy else self.places.get(id(m), "cpu"))

    def watched(self, model: Any) -> Any:
        def to(device: Any) -> Any:
            self.places[id(model)] = str(device)
            self.seen.append(str(device))
            return model

        model.to = to
        return model


def score(reference: ReferenceModel) -> None:
    with reference._for_scoring() as model:
        assert module._device(model) == "gpu", "while log-probabilities are computed"


def test_a_given_reference_goes_back_to_where_it_was(
    tiny_model: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = loaded(tiny_model)
    moves = Moves(monkeypatch, policy)
    given = moves.watched(loaded(other).train())
    reference = ReferenceModel(policy, given)
    assert not moves.seen, "it is moved when it is needed"
    score(reference)
    assert moves.seen == ["gpu", "cpu"]
    assert reference.model is None and given.training and given.lm_head.weight.requires_grad
    with pytest.raises(BadInput, match="not kept in memory"), reference.running():
        pass
    with pytest.raises(RuntimeError, match="out of memory"), reference._for_scoring():
        raise RuntimeError("out of memory")
    assert moves.seen == ["gpu", "cpu"] * 2


def test_a_live_reference_stays(tiny_model: str, other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = loaded(tiny_model)
    moves = Moves(monkeypatch, policy)
    given = moves.watched(loaded(other))
    reference = ReferenceModel(policy, given, live=True)
    score(reference)
    with reference.running() as model:
        assert model is given and not given.training and not given.lm_head.weight.requires_grad
    assert moves.seen == ["gpu"]


def test_what_fsdp_leaves_on_the_cpu_is_scored_where_it_trains(
    tiny_model: str, other: str, preferences: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = loaded(tiny_model)
    moves = Moves(monkeypatch, None)
    accelerator = SimpleNamespace(device="gpu", process_index=0, num_processes=1)
    assert module.computing_device(policy, accelerator) == "gpu"
    for reference in (ReferenceModel(moves.watched(policy)), ReferenceModel(policy, moves.watched(loaded(other)))):
        moves.seen.clear()
        data = trainer(tiny_model, preferences, tmp_path, "simpo").train_dataset
        reference.scored([data], Layout(2), Abilities(), accelerator, folder=tmp_path, batch_size=8)
        assert moves.seen == ["gpu", "cpu"]


def test_a_model_without_room_is_run_where_it_is() -> None:
    class Large(torch.nn.Linear):
        def to(self, device: Any) -> Any:
            raise torch.OutOfMemoryError

    model = Large(1, 1)
    with pytest.warns(UserWarning, match="no room on meta, so .* computed on cpu"), module.placed(model, "meta"):
        assert model.weight.device.type == "cpu"


def test_a_reference_that_was_loaded_is_let_go(
    tiny_model: str, other: str, preferences: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Any] = []

    def load(*given: Any) -> Any:
        found = original(*given)
        kept.append(weakref.ref(found[0]))
        return found

    original = module.load
    monkeypatch.setattr(module, "load", load)
    made = trainer(tiny_model, preferences, tmp_path, reference=other)
    made.train()
    gc.collect()
    assert len(kept) == 1 and kept[0]() is None
    assert np.isfinite(made.evaluate(preferences[:3])["eval_loss"]), "it is loaded again for other rows"
    assert len(kept) == 2


def test_the_policy_itself_as_reference_is_kept_as_it_was(tiny_model: str, preferences: Rows, tmp_path: Path) -> None:
    policy, tokenizer = loaded(tiny_model), AutoTokenizer.from_pretrained(tiny_model)
    made = trainer(policy, preferences, tmp_path, reference=policy, processing_class=tokenizer)
    before = made.train_dataset.ref
    made.train()
    (again,) = made._scored((made.encoded(preferences, "rows"),))
    assert same(before, again.ref)


def test_a_reference_of_another_vocabulary_is_refused(tiny_model: str, tmp_path: Path) -> None:
    bigger = loaded(tiny_model)
    bigger.resize_token_embeddings(bigger.config.vocab_size + 8)
    with pytest.raises(BadInput, match="the reference's vocabulary has"):
        ReferenceModel(loaded(tiny_model), bigger)


@pytest.mark.parametrize("objective", ["dpo", "tdpo"])  # its reference beforehand, and beside the policy
def test_policy_and_reference_are_computed_in_the_same_types(
    tiny_model: str, preferences: Rows, tmp_path: Path, objective: str
) -> None:
    args = {
        "bf16": True,
        "per_device_train_batch_size": len(preferences),
        "per_device_eval_batch_size": len(preferences),
    }
    made = trainer(tiny_model, preferences, tmp_path, objective, args=args)
    made.train()
    first = next(row for row in made.state.log_history if "loss" in row)
    assert first["loss"] == pytest.approx(0.693147, abs=2e-5)
    exact = trainer(tiny_model, preferences, tmp_path, objective, args=args | {"bf16": False})
    if objective == "dpo":
        assert not same(made.train_dataset.ref, exact.train_dataset.ref), "another type is not found in the cache"


def test_a_sampled_training_has_the_reference_it_was_given(tiny_model: str, other: str, tmp_path: Path) -> None:
    args = TrainingArguments(str(tmp_path), use_cpu=True, report_to=[], dataloader_pin_memory=False)
    made = SamplingTrainer(tiny_model, None, args, [{"prompt": "A field"}], reference=other, max_length=64)
    with made.reference.running() as base:
        assert torch.equal(base.lm_head.weight, loaded(other).lm_head.weight)
