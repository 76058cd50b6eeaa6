"""AlignmentTrainer: transformers' Trainer with an objective of log-probabilities.

Whatever transformers' Trainer does it does too: accelerate, DDP and FSDP, mixed precision, gradient accumulation,
activation checkpointing, checkpoints and resuming, trackers, callbacks, PEFT adapters. What is added is the way from
rows to a loss: rows become token ids, a pair's prompt is encoded once, log-probabilities come without the logits of
the whole batch, the reference's are computed once and kept, and the loss of a step is the mean over all its examples,
however they are spread over micro-batches and processes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainingArguments

from polyculture.align.data.dataset import EncodedDataset
from polyculture.align.data.encoding import Encoder
from polyculture.align.data.layout import Layout
from polyculture.align.data.reading import RowReader
from polyculture.align.failures import check_gradient, check_loss
from polyculture.align.log_probs.forward import balance_weight, probe, score_batch
from polyculture.align.log_probs.given import inputs_of
from polyculture.align.mixture import Mixture
from polyculture.align.modifiers import wpo_weights
from polyculture.align.objective import Objective
from polyculture.align.order import train_sampler
from polyculture.align.pooled import PooledMeans
from polyculture.align.preparation import (
    as_objective,
    check_joined,
    check_options,
    prepared,
    set_for_us,
    warn_of_one_label,
)
from polyculture.align.reference.model import ReferenceModel, computing_device, placed
from polyculture.align.reference.refresh import ReferenceRefresh, load_reference, save_reference
from polyculture.align.training_metrics import MetricSums, counts, own_examples
from polyculture.align.traits import Loss
from polyculture.align.watching.callback import Watch, WatchCallback
from polyculture.align.watching.samples import pad_token
from polyculture.errors import BadInput
from polyculture.progress import Progress, silent


class AlignmentTrainer(Trainer):
    """Trains a causal language model with an objective.

    Args:
        model: a transformers causal language model, or where to load one from (then with its tokenizer, in float32
            unless ``dtype`` says otherwise).
        objective: a name of ``polyculture.align.METHODS``, a weighted sum such as "0.8*dpo+0.2*sft", a function of log-
            probabilities, or an Objective.
        args: transformers' TrainingArguments.
        train_dataset: rows with TRL's columns (a list of dicts, or a datasets.Dataset), as in
            polyculture.align.data.examples.
        eval_dataset: held-out rows, or a dict of several; the watch samples on the prompts of the first.
        processing_class: the tokenizer.
        hyper: hyper-parameters of the objective, by name.
        reference: the model that the policy is compared with, or where to load it from. None is the model as it is
            given, or, where an adapter is trained, the model without it.
        peft_config: a PEFT configuration: train an adapter.
        ld_alpha: weight of the tokens beyond a pair's shorter completion (LD-DPO); 1 is plain.
        wpo: weigh each pair by how likely the policy writes it (WPO).
        refresh: (alpha, steps): every so many steps move the reference by alpha towards the policy (TR-DPO); the
            paper's are (0.6, 512).
        max_length: most tokens of a prompt and a completion.
        share_prompts: compute a prompt that several completions share once, where the model allows it.
        dropout: keep the model's dropout; by default it is switched off, so that policy and reference are comparable.
        dtype: to load a model in: "float32", "bfloat16", "auto".
        reference_cache: folder of the reference's log-probabilities; None keeps them under ``args.output_dir``.
        watch: how the training is watched; None does not watch.
        watch_folder: where what it sees is kept; by default ``args.output_dir``.
        name: of the data, for messages.
        progress: told what comes before the training.
        trainer: anything else transformers' Trainer takes, but for ``compute_metrics``: no predictions are kept.

    Raises:
        BadInput: the data don't fit the objective; a model in memory has no tokenizer; the reference can't be used;
            launched processes did not join; an argument is not taken.

    A mixture of experts whose configuration says ``output_router_logits`` is trained on its load-balancing loss too, as
    in transformers' own training: ``router_aux_loss_coef`` times the mean of the batches' losses, weighted by their
    examples.

    Attributes:
        reader: turned the rows into tokens: ``reader.rejected`` can't be trained on, ``reader.cuts`` did not fit.
        abilities: whether prompts are shared and the head is replaced.
    """

    loss_is_scaled_for_ga = True

    def __init__(
        self,
        model: Any,
        objective: str | Loss | Objective | Mixture = "dpo",
        args: TrainingArguments | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        *,
        hyper: Mapping[str, Any] | None = None,
        reference: Any = None,
        peft_config: Any = None,
        ld_alpha: float = 1.0,
        wpo: bool = False,
        refresh: tuple[float, int] | None = None,
        max_length: int = 1024,
        share_prompts: bool = True,
        dropout: bool = False,
        dtype: Any = "float32",
        reference_cache: Path | None = None,
        watch: Watch | None = None,
        watch_folder: Path | None = None,
        name: str = "",
        progress: Progress = silent,
        **trainer: Any,
    ) -> None:
        check_options(trainer)
        self.objective = as_objective(objective, hyper or {})
        self.ld_alpha, self.wpo, self.refresh = ld_alpha, wpo, refresh
        if (ld_alpha != 1 or wpo) and self.objective.kind != "pairs":
            raise BadInput(f"LD and WPO are of pairs; objective '{self.objective.name}' is of {self.objective.kind}")
        policy = prepared(model, processing_class, max_length, peft_config=peft_config, dropout=dropout, dtype=dtype)
        processing_class, self.max_length = policy.tokenizer, policy.max_length
        args = set_for_us(args or TrainingArguments(output_dir="aligned"), policy.model)
        self.reader = RowReader(self.objective, Encoder(processing_class, self.max_length), policy.vocabulary)
        self.name = name
        train = None if train_dataset is None else self.encoded(train_dataset, name or "training data", progress)
        if train is not None and self.objective.kind == "labels":
            warn_of_one_label(train, name or "training data", self.objective.name)
        of_name = eval_dataset if isinstance(eval_dataset, dict) else {"": eval_dataset}
        held_out: Any = {
            key: self.encoded(rows, f"{name or 'held-out data'} {key}".strip(), progress)
            for key, rows in of_name.items()
            if rows is not None
        }
        self.layout = Layout(pad_token(processing_class), share=share_prompts)
        super().__init__(
            policy.model,
            args,
            data_collator=self.layout,
            train_dataset=train,
            eval_dataset=held_out if isinstance(eval_dataset, dict) else held_out.get(""),
            processing_class=processing_class,
            **trainer,
        )
        check_joined(self.accelerator.num_processes)
        with placed(self.model, computing_device(self.model, self.accelerator)):
            self.abilities = probe(self.model, self.model.config.get_text_config().vocab_size, 2 * self.max_length)
        self.layout = self.data_collator = Layout(self.layout.pad, share=share_prompts and self.abilities.share_prompts)
        self._metrics = {"train": MetricSums(), "eval": MetricSums()}
        self._judged: Any = None
        self._means = PooledMeans()
        self.add_callback(self._means)
        self._balance = balance_weight(self.model)
        self._live = self.objective.needs_vocabulary or refresh is not None
        beside = self._live or (watch is not None and watch.divergence)
        autocast = self.accelerator.autocast
        self.reference = ReferenceModel(self.model, reference, live=beside, dtype=dtype, autocast=autocast)
        self._kept = reference_cache or Path(args.output_dir) / "reference"
        self.train_dataset, *scored = self._scored((train, *held_out.values()), progress)
        held_out = dict(zip(held_out, scored, strict=True))
        self.eval_dataset = held_out if isinstance(eval_dataset, dict) else held_out.get("")
        if beside:
            self.reference.shard(self.accelerator, fsdp=self.is_fsdp_enabled, deepspeed=self.is_deepspeed_enabled)
        if refresh is not None:
            if self.is_fsdp_enabled or self.is_deepspeed_enabled:
                raise BadInput(
                    "a reference in shards can't follow the policy; leave out the refresh, or train replicas"
                )
            if self.reference.model is None:
                raise BadInput("an adapter's reference is the model without it, which can't move; give reference=")
            alpha, every = refresh
            self.add_callback(ReferenceRefresh(self.reference.model, self.model, alpha=alpha, every=every))
        if watch is not None:
            self._add_watch(watch, watch_folder)

    def encoded(self, rows: Any, source: str, progress: Progress = silent) -> EncodedDataset:
        """Rows as an encoded data set.

        Args:
            rows: a list of dicts or a datasets.Dataset, or an encoded data set, which is given back.
            source: where they come from, for messages.
            progress: told the examples.

        Raises:
            BadInput: they don't fit the objective or the model, or none is left.
        """
        return self.reader.read(rows, source, progress)

    def evaluate(self, eval_dataset: Any = None, *args: Any, **more: Any) -> dict[str, float]:
        """Evaluate on the held-out rows, or on others.

        Args:
            eval_dataset: rows, or an encoded data set; None takes the trainer's own.
            args: as in transformers.
            more: as in transformers.

        Raises:
            BadInput: other rows need the reference, which was the model before it was trained and is no more.
        """
        if eval_dataset is not None and not isinstance(eval_dataset, (str, dict)):
            eval_dataset = self._to_judge(eval_dataset, "held-out data")
        found: dict[str, float] = super().evaluate(eval_dataset, *args, **more)
        return found

    def predict(self, test_dataset: Any, *args: Any, **more: Any) -> Any:
        """As :meth:`evaluate` on other rows; metrics are named ``test_loss`` and so on, and no predictions are kept.

        Args:
            test_dataset: rows, or an encoded data set.
            args: as in transformers.
            more: as in transformers.

        Raises:
            BadInput: as of :meth:`evaluate`.
        """
        return super().predict(self._to_judge(test_dataset, "test data"), *args, **more)

    def _to_judge(self, rows: Any, source: str) -> Any:
        data = self.encoded(rows, source)
        trained = self.state.global_step > 0 and self.reference.is_policy_before
        known = not self.objective.needs_reference or self._live or self.reference.has_scored(data)
        if trained and not known:
            raise BadInput(
                "these rows need the reference's log-probabilities, and the reference was this model before it was "
                "trained; give them as eval_dataset at the start, or give reference="
            )
        return self._scored((data,))[0]

    def _scored(self, data: Sequence[EncodedDataset | None], progress: Progress = silent) -> list[Any]:
        if not self.objective.needs_reference or self._live:
            return list(data)
        size = self.args.per_device_eval_batch_size
        return self.reference.scored(
            data, self.layout, self.abilities, self.accelerator, folder=self._kept, batch_size=size, progress=progress
        )

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return train_sampler(self.args, self.train_dataset) or super()._get_train_sampler(train_dataset)

    def _get_eval_sampler(self, eval_dataset: Any) -> None:
        return None  # in order; transformers would group by length here too, but reads other data

    def _run_epoch(self, *args: Any, **given: Any) -> None:
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(*args, **given)
        else:  # resumed from its last step: in the midst of an epoch, transformers would train one more
            self.control.should_training_stop = True

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The batch's part of the mean loss over all examples of the step.

        Raises:
            BadInput: the loss is not finite; the batch is saved and named.
        """
        passed = score_batch(
            model,
            inputs,
            self.abilities,
            statistics=("log_sum_sq",) if self.wpo else (),
            reference=self.reference.running if self._live else None,
            balance=self._balance > 0,
        )
        given = inputs_of(self.objective.kind, passed, inputs, ld_alpha=self.ld_alpha)
        weights = None
        if self.wpo and passed.statistics is not None:
            weights = wpo_weights(passed.log_probs, passed.statistics["log_sum_sq"], inputs["mask"])
        # Accelerate fills an epoch's last batch up with examples that have been: they are computed, and count nothing.
        size = len(inputs["index"])
        own = inputs.get("own", size) if model.training else own_examples(self.accelerator, size)
        given = {name: values[:own] for name, values in given.items()}
        weights = None if weights is None else weights[:own]
        counted = counts([{**inputs, "own": own}]) if num_items_in_batch is None else num_items_in_batch
        examples, tokens = counted.tolist()
        objective = self._means.fill(self.objective, given, self.accelerator, training=model.training)
        loss = objective.total(given, examples, tokens, weights=weights) if own else passed.log_probs[:0].sum()
        metrics = self._metrics["train" if model.training else "eval"]
        metrics.add(self.objective, given)
        if not model.training:
            metrics.add_losses(objective, given, own, weights)
        if passed.balance is not None:
            loss = loss + self._balance * passed.balance * (own / max(examples, 1))
            metrics.add_mean("aux_loss", passed.balance, own)
        self._check_finite(loss, inputs)
        # DDP and FSDP average over processes; the counts are of all.
        loss = loss * self.accelerator.num_processes if model.training else loss
        return (loss, {}) if return_outputs else loss

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Any:
        if not batch_samples:
            return None
        last = batch_samples[-1]
        last["own"] = own_examples(self.accelerator, len(last["index"]))
        found = counts(batch_samples).to(device, torch.float32)
        return self.accelerator.reduce(found, reduction="sum") if self.accelerator.num_processes > 1 else found

    def prediction_step(
        self, model: Any, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> tuple[Any, None, None]:
        """The mean loss of a held-out batch; its metrics are kept for the log."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss = self.compute_loss(model, inputs)
        return loss.detach(), None, None

    def evaluation_loop(self, dataloader: Any, *args: Any, metric_key_prefix: str = "eval", **more: Any) -> Any:
        """As transformers' own, with the objective's metrics, and as its loss the mean over examples, not batches."""
        self._judged = dataloader.dataset
        found = super().evaluation_loop(dataloader, *args, metric_key_prefix=metric_key_prefix, **more)
        self._judged = None
        means = self._metrics["eval"].means(self.accelerator)
        found.metrics.update({f"{metric_key_prefix}_{name}": value for name, value in means.items()})
        return found

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with the means of the objective's metrics since the last time."""
        if "loss" in logs:
            logs |= self._metrics["train"].means(self.accelerator)
        super().log(logs, start_time)

    def _add_watch(self, watch: Watch, folder: Path | None) -> None:
        held_out = self.eval_dataset
        data = next(iter(held_out.values()), None) if isinstance(held_out, dict) else held_out
        if data is None:
            raise BadInput("watching a training needs held-out rows to sample on; give eval_dataset")
        pairs = [(e.prompt, *e.completions) for e in data.examples] if self.objective.kind == "pairs" else []
        self.watching = WatchCallback(
            watch,
            prompts=[example.prompt for example in data.examples],
            pairs=pairs,
            reference=self.reference.model if watch.divergence else None,
            out=folder or Path(self.args.output_dir),
            log=self._log_beside,
            processing_class=self.processing_class,
            autocast=self.accelerator.autocast,
        )
        self.add_callback(self.watching)

    def _log_beside(self, logs: dict[str, float]) -> None:
        """Log between the steps' own lines: transformers takes any log for the one that was due."""
        due = self.control.should_log
        self.log(logs)
        self.control.should_log = due

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the model as a whole, though its checkpoints may be in shards: transformers would save no weights then.

        Args:
            output_dir: by default ``args.output_dir``.
        """
        plugin = None if _internal_call else getattr(self.accelerator.state, "fsdp_plugin", None)
        kind = None if plugin is None else plugin.state_dict_type
        if plugin is not None:
            plugin.set_state_dict_type("FULL_STATE_DICT")
        super().save_model(output_dir, _internal_call)
        if plugin is not None:
            plugin.set_state_dict_type(kind)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if self.refresh is not None and self.args.should_save:
            # Before the rest: a checkpoint is complete when its trainer_state.json is there, which comes last.
            save_reference(self.reference.model, Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}")
        super()._save_checkpoint(model, trial)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self.refresh is not None:
            load_reference(self.reference.model, Path(resume_from_checkpoint))

    def _check_finite(self, loss: torch.Tensor, inputs: Mapping[str, Any]) -> None:
        data = self.train_dataset if self._judged is None else self._judged
        folder, decode = Path(self.args.output_dir), self.processing_class.decode
        check_loss(loss, inputs, data, step=self.state.global_step + 1, folder=folder, decode=decode)

    def _clip_grad_norm(self, model: Any) -> Any:
        norm = super()._clip_grad_norm(model)
        if self.accelerator.scaler is None:  # of float16: it leaves such a step out, and scales less
            check_gradient(norm, self.state.global_step + 1)
        return norm
