"""Training on the policy's own samples towards a target distribution: f-DPG in the loop of transformers' Trainer.

f-DPG (2023, arXiv:2302.08215), Algorithm 1. A row of data is a prompt. At each optimiser step the proposal (the policy,
or a copy of it that is refreshed) samples completions at temperature 1 with nothing cut off, so that its log-
probabilities are exact; the target is a frozen base model tilted by what is wanted
(:mod:`polyculture.align.sampled.targets`); Z and the baseline run on (:mod:`polyculture.align.sampled.state`) and are
kept in every checkpoint. Samples come from generators made of the seed, the step and the prompt: a stopped run that is
resumed draws what it would have drawn.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from polyculture.align.data.dataset import EncodedDataset
from polyculture.align.data.encoding import Encoded
from polyculture.align.data.examples import prompt_text, read_examples
from polyculture.align.objective import Objective
from polyculture.align.objectives.f_dpg import UNBOUNDED, divergence_estimates, pseudo_reward
from polyculture.align.reference.model import ReferenceModel
from polyculture.align.reference.scores import frozen_copy, has_adapter
from polyculture.align.sampled.draws import Drawer, Draws
from polyculture.align.sampled.settings import FDPG, Sampled
from polyculture.align.sampled.state import ProposalRefresh, SampledState
from polyculture.align.sampled.targets import Constraint, Moments, make_target
from polyculture.align.trainer import AlignmentTrainer
from polyculture.align.watching.samples import end_tokens, undisturbed
from polyculture.errors import BadInput
from polyculture.files import atomic, write_json
from polyculture.llm.base import sample_seed
from polyculture.progress import Progress, silent
from polyculture.wording import counted

STATE, PROPOSAL = "sampled_state.json", "proposal.safetensors"
MOMENT_SAMPLES = 512
ESTIMATE = {"forward_kl": "kl_p_pi", "reverse_kl": "kl_pi_p", "chi2_p_pi": "kl_p_pi", "chi2_pi_p": "kl_pi_p"}
"""The estimate that is nearest to a divergence; tv and js are estimated themselves."""
EVAL = "eval "


class SamplingTrainer(AlignmentTrainer):
    """Trains with an objective of samples; everything else is AlignmentTrainer's.

    A batch is of prompts: ``args.per_device_train_batch_size`` prompts with ``sampled.samples`` completions each. The
    loss of a step is the mean over all its samples. Logged are the target's own numbers (the share of samples that meet
    the constraint, or the mean reward), estimates of the divergences from the target, the effective number of samples
    and the largest weight, Z, and the baseline; of held-out prompts the same, with the estimated divergence as loss.

    Args:
        model: as for AlignmentTrainer.
        objective: an objective of samples; None is f-DPG with the Jensen-Shannon divergence, or that of ``sampled``.
        args: as for AlignmentTrainer.
        train_dataset: rows with a prompt; a prompt that is there twice counts once.
        eval_dataset: held-out rows.
        processing_class: the tokenizer.
        sampled: target and samples; FDPG has the divergence too.
        reference: the base model of the target; None is the model as it is given.
        alignment: anything else AlignmentTrainer takes.

    Raises:
        BadInput: the objective is not of samples, the divergence from the target would be infinite, the model is
            sharded, or the base is to move.

    Attributes:
        sampled_state: Z of each prompt, and the baseline.
        target: what it is trained towards.
    """

    def __init__(
        self,
        model: Any,
        objective: Any = None,
        args: Any = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        *,
        sampled: Sampled | None = None,
        reference: Any = None,
        **alignment: Any,
    ) -> None:
        self.sampled = sampled or FDPG()
        if objective is None:
            objective = self.sampled.objective if isinstance(self.sampled, FDPG) else FDPG().objective
        self.target = make_target(self.sampled.target, beta=self.sampled.beta, eps=self.sampled.eps)
        self.sampled_state = SampledState(self.sampled.window)
        self._texts: dict[tuple[int, ...], str] = {}
        if alignment.get("refresh") is not None:
            raise BadInput("the target stands on a base model that does not move: leave out the reference's refresh")
        super().__init__(
            model, objective, args, train_dataset, eval_dataset, processing_class, reference=reference, **alignment
        )
        self._check()
        if not self.reference.live:  # the objective needs none, but the target does
            dtype, autocast = alignment.get("dtype", "float32"), self.accelerator.autocast
            self.reference = ReferenceModel(self.model, reference, live=True, dtype=dtype, autocast=autocast)
        self.data_collator: Any = _prompts  # type: ignore[assignment]
        self._estimates: dict[str, list[float]] = {}
        self._refresh: ProposalRefresh | None = None
        self._proposal: Any = None
        if self.sampled.proposal == "offline":
            if has_adapter(self.model):
                raise BadInput(
                    "an offline proposal is a copy of the whole model; with an adapter, sample from the policy"
                )
            self._refresh = ProposalRefresh(self.sampled.refresh_every)
            self._proposal = frozen_copy(self.model)
        self._drawer = Drawer(
            self.processing_class,
            self.sampled.samples,
            self.sampled.max_new_tokens,
            self.max_length,
            self.sampled.at_once,
            end_tokens(self.model, self.processing_class),
            self.layout.pad,
            self.abilities,
            prepare=self._prepare_inputs,
            context=self.compute_loss_context_manager,
            texts=self._texts,
        )

    def _check(self) -> None:
        if self.objective.kind != "samples":
            raise BadInput(f"objective '{self.objective.name}' is of {self.objective.kind}, not of samples")
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            raise BadInput("sampling needs the whole model in each process: launch without FSDP and DeepSpeed")
        forbids = isinstance(self.target, Constraint) and not self.target.eps
        if forbids and self._divergence in UNBOUNDED:
            raise BadInput(
                f"{self._divergence} is infinite where the constraint forbids what the policy can sample; give eps "
                "(such as 1e-3), or choose the divergence forward_kl, js or tv"
            )

    def encoded(self, rows: Any, source: str, progress: Progress = silent) -> EncodedDataset:
        """The prompts of rows, each once, cut at the start so that there is room for a completion.

        Args:
            rows: as for AlignmentTrainer.
            source: where they come from.
            progress: told the examples.
        """
        if isinstance(rows, EncodedDataset) or self.objective.kind != "samples":
            return super().encoded(rows, source, progress)
        room = min(self.sampled.max_new_tokens, self.max_length // 2)
        held = super().encoded(rows, source, progress).examples
        examples, _ = read_examples(rows, "samples", source=source)
        texts = {example.place: prompt_text(example.prompt) for example in examples}
        distinct: dict[tuple[int, ...], Encoded] = {}
        cut = 0
        for example in held:
            prompt = example.prompt[-(self.max_length - room) :]
            cut += len(prompt) < len(example.prompt)
            distinct.setdefault(tuple(prompt), replace(example, prompt=prompt, completions=()))
            self._texts.setdefault(tuple(prompt), texts[example.place])
        if cut:
            warnings.warn(
                f"{source}: {counted(cut, 'prompt')} cut at the start to leave room for {counted(room, 'token')}",
                stacklevel=3,
            )
        return EncodedDataset(list(distinct.values()))

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: torch.device) -> tuple[list[Any], Any]:
        """The batches of one step: the samples drawn for its prompts, in parts, and how many there are."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        if not batches:
            return batches, None
        if isinstance(self.target, Moments) and self.target.coefficients is None:
            self._fit_moments()
        seed = sample_seed(self.args.seed, f"step {self.state.global_step}", self.accelerator.process_index)
        proposal = self.model if self._proposal is None else self._proposal
        drawn = [self._draw(proposal, batch["rows"], seed) for batch in batches]
        baseline = self.sampled_state.baseline  # as it is before these samples
        for name, value in self._take_in(Draws.joined(drawn)).items():
            self._estimates.setdefault(name, []).append(value)
        count = float(sum(self._everyones(sum(len(one.rows) for one in drawn))))
        return [self._parts(one, baseline) for one in drawn], torch.tensor(count)

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Any:
        return None  # counted where the samples are drawn

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """Forward and backward of one batch, part by part."""
        losses = [super(SamplingTrainer, self).training_step(model, part, num_items_in_batch) for part in inputs]
        return torch.stack(losses).sum()

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """These sequences' part of the mean loss over all samples of the step.

        Raises:
            BadInput: the loss is not finite.
        """
        given = {name: inputs[name] for name in ("proposal_samples", "target_samples", "log_z", "baseline")}
        given["policy_samples"] = self._drawer.sums(model, inputs)
        items = float(len(inputs["index"]) if num_items_in_batch is None else num_items_in_batch)
        loss = self.objective.total(given, items, items)
        self._check_finite(loss, inputs)
        if model.training:
            loss = loss * self.accelerator.num_processes
        return (loss, {}) if return_outputs else loss

    def prediction_step(
        self, model: Any, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> tuple[Tensor, None, None]:
        """The estimated divergence on held-out prompts, from samples with the same seeds at every evaluation."""
        if isinstance(self.target, Moments) and self.target.coefficients is None:
            self._fit_moments()
        drawn = self._draw(self.model, inputs["rows"], sample_seed(self.args.seed, "held out", 0))
        state = SampledState(0)
        state.add_weights(drawn.prompts, drawn.target - drawn.proposal)
        found = self._found(drawn, drawn.proposal, state.log_z(drawn.prompts))
        for name, value in found.items():
            self._estimates.setdefault(EVAL + name, []).append(value)
        return torch.tensor(found[self._watched], device=self.args.device), None, None

    def evaluation_loop(self, *args: Any, metric_key_prefix: str = "eval", **more: Any) -> Any:
        """As transformers' own, with the estimates."""
        self._drain(EVAL)
        found = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **more)
        everyones = self._everyones(self._drain(EVAL))
        for name in dict.fromkeys(name for theirs in everyones for name in theirs):
            values = [theirs[name] for theirs in everyones if name in theirs]
            found.metrics[f"{metric_key_prefix}_{name}"] = float(np.mean(values))
        return found

    def floating_point_ops(self, inputs: Any) -> int:
        """The operations of one batch's training."""
        return sum(int(super(SamplingTrainer, self).floating_point_ops(part)) for part in inputs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with the means of the estimates since the last time."""
        if "loss" in logs:
            logs |= self._drain("") | {"z": self.sampled_state.mean_z, "baseline": self.sampled_state.baseline}
        super().log(logs, start_time)

    def _draw(self, model: Any, rows: Sequence[tuple[int, Encoded]], seed: int) -> Draws:
        with undisturbed(model, self.model, self.reference.model):
            return self._drawer.draw(model, self.reference.running, self.target, rows, seed)

    def _take_in(self, drawn: Draws) -> dict[str, float]:
        """Move Z, the baseline and the proposal on with every process's samples; this step's estimates."""
        for prompts, logs in self._everyones((drawn.prompts, (drawn.target - drawn.proposal).tolist())):
            self.sampled_state.add_weights(prompts, logs)
        log_z = self.sampled_state.log_z(drawn.prompts)
        policy = drawn.proposal
        if self._proposal is not None:
            with undisturbed(self.model):
                policy = self._drawer.log_probs(self.model, drawn.rows)
        own = self._found(drawn, policy, log_z)
        of_proposal = own if self._proposal is None else self._found(drawn, drawn.proposal, log_z)
        sampled, target, z = (torch.from_numpy(x) for x in (policy, drawn.target, log_z))
        rewards = pseudo_reward(sampled, target, z, divergence=self._divergence).numpy()
        finite = rewards[np.isfinite(rewards)]
        own["pseudo_reward"] = float(finite.mean()) if len(finite) else math.nan
        everyones = self._everyones((own, of_proposal[self._watched], rewards.tolist()))
        for _, _, theirs in everyones:
            self.sampled_state.add_rewards(theirs)
        found = {name: float(np.mean([one[name] for one, _, _ in everyones])) for name in own}
        behind = float(np.mean([one for _, one, _ in everyones]))
        if self._refresh is not None and self._refresh.step(found[self._watched], behind):
            self._proposal.load_state_dict(self.model.state_dict())
        if log_z.max(initial=-math.inf) == -math.inf:
            warnings.warn(
                "the target is 0 for every sample of these prompts so far: nothing is learned from them until one is "
                "possible; take more samples, or smooth the target (eps)",
                stacklevel=3,
            )
        return found

    def _found(self, drawn: Draws, policy: np.ndarray, log_z: np.ndarray) -> dict[str, float]:
        given = [torch.from_numpy(x) for x in (policy, drawn.proposal, drawn.target, log_z)]
        tokens = [len(example.completions[0]) for _, example in drawn.rows]
        told = self.target.told(drawn.target - drawn.base)
        return divergence_estimates(*given) | told | {"tokens": float(np.mean(tokens))}

    def _parts(self, drawn: Draws, baseline: float) -> list[dict[str, Any]]:
        """A batch's samples as tensors, in parts."""
        log_z = self.sampled_state.log_z(drawn.prompts)
        columns = {"proposal_samples": drawn.proposal, "target_samples": drawn.target, "log_z": log_z}
        columns["baseline"] = np.full(len(log_z), baseline)
        return [
            self._drawer.layout([(*drawn.rows[i], {}) for i in those])
            | {name: torch.from_numpy(values[those]) for name, values in columns.items()}
            for those in self._drawer.parts(drawn.rows)
        ]

    @property
    def _divergence(self) -> Any:
        hyper = self.objective.hyper
        return hyper.get("divergence", "js") if isinstance(self.objective, Objective) else "js"

    @property
    def _watched(self) -> str:
        return ESTIMATE.get(self._divergence, self._divergence)

    def _everyones(self, own: Any) -> list[Any]:
        """What every process has, in the order of the processes."""
        if self.accelerator.num_processes == 1:
            return [own]
        from accelerate.utils import gather_object

        return list(gather_object([own]))

    def _drain(self, prefix: str) -> dict[str, float]:
        """Means of the finite estimates of that prefix, which begin anew."""
        found = {}
        for name in [n for n in self._estimates if n.startswith(EVAL) == (prefix == EVAL)]:
            values = np.asarray(self._estimates.pop(name))
            if np.isfinite(values).any():
                found[name.removeprefix(prefix)] = float(values[np.isfinite(values)].mean())
        return found

    def _fit_moments(self) -> None:
        """Fit the target's coefficients to samples of the base model."""
        assert isinstance(self.target, Moments)
        rows = list(enumerate((self.train_dataset or self.eval_dataset).examples[:MOMENT_SAMPLES]))
        seed = sample_seed(self.args.seed, "moments", 0)
        with undisturbed(self.model, self.reference.model), self.reference.running() as base:
            flat, prompts, texts = self._drawer.sample(base, rows, seed, -(-MOMENT_SAMPLES // len(rows)))
        self.target, fitted = self.target.fit(prompts, texts)
        if fitted.error > 0.01 or fitted.effective_samples < len(flat) / 20:
            warnings.warn(
                f"the moments are {fitted.error:.2g} away from what is wanted after {fitted.iterations} steps, with "
                f"{fitted.effective_samples:.0f} effective samples of {len(flat)}: the base model is far from them",
                stacklevel=3,
            )

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if self.args.should_save:
            # Before the rest: a checkpoint is complete when its trainer_state.json is there, which comes last.
            folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
            held: dict[str, Any] = {"state": self.sampled_state.state_dict()}
            held["coefficients"] = self.target.coefficients if isinstance(self.target, Moments) else None
            held["refresh"] = None if self._refresh is None else self._refresh.state_dict()
            write_json(folder / STATE, held)
            if self._proposal is not None:
                with atomic(folder / PROPOSAL, "wb") as file:
                    # Copies: weights that are tied share their memory, which safetensors refuses.
                    file.write(save({name: value.clone() for name, value in self._proposal.state_dict().items()}))
        super()._save_checkpoint(model, trial)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        folder = Path(resume_from_checkpoint)
        held = json.loads((folder / STATE).read_text(encoding="utf-8"))
        self.sampled_state.load_state_dict(held["state"])
        if isinstance(self.target, Moments) and held["coefficients"] is not None:
            self.target = replace(self.target, coefficients=tuple(held["coefficients"]))
        if self._refresh is not None:
            self._refresh.load_state_dict(held["refresh"])
            self._proposal.load_state_dict(load_file(folder / PROPOSAL))


def _prompts(rows: Sequence[tuple[int, Encoded, Mapping[str, Any]]]) -> dict[str, Any]:
    """A batch of prompts, to be sampled from."""
    return {"index": torch.tensor([index for index, *_ in rows]), "rows": [(index, row) for index, row, _ in rows]}
