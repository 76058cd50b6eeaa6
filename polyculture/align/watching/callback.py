"""What a training towards preferences is watched for: reward, diversity, likelihoods, divergence from the reference.

The metrics are listed in :mod:`polyculture.align.watching.evaluation`, the signs that raise the alarm in
:mod:`polyculture.align.watching.alarm`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import shutil
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from polyculture.align.watching.alarm import FallAlarm
from polyculture.align.watching.evaluation import PolicyEvaluation
from polyculture.align.watching.log import Observation, WatchLog, alarm_in_words
from polyculture.align.watching.measures import make_reward
from polyculture.align.watching.ranks import Ranks
from polyculture.align.watching.samples import Tokens, undisturbed
from polyculture.align.watching.settings import Watch
from polyculture.errors import BadInput, ModelFailure
from polyculture.llm.base import Prompt
from polyculture.space.embedders import make_embedder

FILE = "watch.jsonl"
KEPT = "before-alarm"
"""Folder of the model of before the alarm, in the folder of ``watch.jsonl``."""
_DIVERGED = "The training has diverged: lower its learning rate, or go back to an earlier checkpoint"


class WatchCallback(TrainerCallback):
    """Watches a training of transformers' Trainer, and keeps what it sees in ``watch.jsonl``.

    When the alarm rises, the model of the last checkpoint before it is kept in ``before-alarm``, because the trainer
    removes old checkpoints.

    The training is not disturbed: random streams, modes and flags are as they were, and the weights come out the same
    as without it. A run resumed from a checkpoint goes on with the file as it was at that step, and ends with the same
    evaluations as one that was never stopped.

    Under DDP the prompts and pairs are divided among the processes; under FSDP and DeepSpeed ZeRO 3, whose forward
    passes need every process, each computes all of them. In both cases the first process computes rewards and
    diversity while the others wait for it, and says whether to stop, so that all stop together; a reward that takes
    longer than the time limit of the process group ends the training.

    Args:
        watch: settings.
        prompts: held-out prompts: texts (continued as they stand), chat messages (which go through the chat template),
            or token ids exactly as in training. Repeated ones count once; of more
            than ``watch.prompts`` some are drawn.
        pairs: held-out (prompt, chosen, rejected), each as token ids with the end of the sequence; may be empty.
        reference: a frozen model of the same vocabulary. None is the base model of a PEFT policy; for any other policy
            there are then no divergences.
        out: folder of ``watch.jsonl``.
        log: is handed each evaluation's metrics with the prefix ``watch/``; ``trainer.log``.
        processing_class: tokenizer; None takes the trainer's.
        end: more tokens that end an answer, besides those of the model's generation config and the tokenizer's own.
        autocast: gives the context in which policy and reference are run; ``trainer.accelerator.autocast``. Without it
            a policy that is trained in bfloat16 differs from its reference by rounding.

    Attributes:
        observations: the evaluations so far.
        monitor: what raises the alarm.

    Raises:
        BadInput: there is no prompt, or a setting can't be used.
        UnknownMethod: there is no such reward or embedder.
        ModelFailure: at an evaluation, the policy's logits are NaN.
    """

    def __init__(
        self,
        watch: Watch,
        *,
        prompts: Sequence[Prompt | Tokens],
        pairs: Sequence[tuple[Tokens, Tokens, Tokens]] = (),
        reference: Any = None,
        out: Path | str,
        log: Callable[[dict[str, float]], None] | None = None,
        processing_class: Any = None,
        end: Sequence[int] = (),
        autocast: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
    ) -> None:
        if not len(prompts):
            raise BadInput("watching a training needs at least one held-out prompt")
        self.watch = watch
        self.reference = reference
        self.monitor = _monitor(watch, 1)
        self._prompts = list(prompts)
        self._pairs = list(pairs)
        self._log = log
        self._tokenizer = processing_class
        self._more_ends = tuple(end)
        self._autocast = autocast
        self._reward = make_reward(watch.reward)
        self._embedder = make_embedder(watch.embedder)
        self._file = WatchLog(Path(out) / FILE)
        self._ranks = Ranks()
        self._every = max(1, watch.every)
        self._evaluation: PolicyEvaluation | None = None

    @property
    def observations(self) -> list[Observation]:
        """The evaluations so far."""
        return self._file.observations

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Take up what an earlier part of the run saw, or evaluate the untrained policy."""
        self._ranks = Ranks.here(sharded=in_parts(given["model"]))
        self._every = self.watch.every or max(1, -(-state.max_steps // 10))
        self._tokenizer = self._tokenizer or given.get("processing_class")
        if self._tokenizer is None:
            raise BadInput("watching a training needs its tokenizer; give processing_class")
        self._evaluation = PolicyEvaluation(
            self.watch,
            given["model"],
            self._tokenizer,
            prompts=self._prompts,
            pairs=self._pairs,
            reference=self.reference,
            reward=self._reward,
            embedder=self._embedder,
            ranks=self._ranks,
            end=self._more_ends,
            autocast=self._autocast,
        )
        if self._ranks.rank == 0:
            self._file.start(state.global_step, self._every)
        self._file.observations = self._ranks.agreed(self._file.observations)
        self.monitor = _monitor(self.watch, 1 - (-state.max_steps // self._every))
        for seen in self.observations:
            if all(len(values) == self._evaluation.prompts for values in seen.by_prompt.values()):
                self._judge(seen.step, seen.by_prompt)
        if not self.observations:
            self._evaluate(args, state, control, given["model"])

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Evaluate where it is time to, and after the last step."""
        if state.global_step % self._every == 0 or state.global_step >= state.max_steps:
            self._evaluate(args, state, control, given["model"])

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Evaluate where training was stopped, unless the best checkpoint has been loaded in the meantime."""
        if not (args.load_best_model_at_end and state.best_model_checkpoint):
            self._evaluate(args, state, control, given["model"])

    def _evaluate(self, args: Any, state: Any, control: Any, model: Any) -> None:
        step = int(state.global_step)
        if self._evaluation is None or (self.observations and self.observations[-1].step >= step):
            return
        started = time.perf_counter()
        try:
            with undisturbed(model, self.reference):
                metrics, by_prompt, samples = self._ranks.agreed(self._evaluation.measure(model))
        except ModelFailure as error:
            raise ModelFailure(f"step {step}: {error}. {_DIVERGED}") from error
        if math.isnan(metrics["entropy"]):
            raise ModelFailure(f"step {step}: the policy's logits are NaN. {_DIVERGED}")
        before = self.monitor.alarm
        self._judge(step, by_prompt)
        alarm = self.monitor.alarm
        settings = {} if self.observations else dataclasses.asdict(self.watch)
        told = None if alarm is None else dataclasses.asdict(alarm)
        seconds = round(time.perf_counter() - started, 3)
        seen = Observation(step, metrics, samples, told, settings, seconds, by_prompt)
        if self._ranks.rank == 0:
            self._file.append(seen)
        else:
            self._file.observations.append(seen)
        if self._log is not None:
            self._log({f"watch/{name}": value for name, value in metrics.items() if math.isfinite(value)})
        if alarm is not None and before is None:
            if self._ranks.rank == 0:
                warnings.warn(self._warning(Path(args.output_dir)), UserWarning, stacklevel=2)
            if self.watch.alarm == "stop":
                control.should_training_stop = True

    def _judge(self, step: int, by_prompt: Mapping[str, Sequence[float]]) -> None:
        if self.watch.alarm != "off" and by_prompt:
            self.monitor.observe(step, by_prompt["top_k_entropy"], by_prompt["top_k_mass"])

    def _warning(self, folder: Path) -> str:
        """Keep the model of before the alarm; what to tell of it."""
        alarm = self.monitor.alarm
        assert alarm is not None
        saw = alarm_in_words(alarm.reason, k=self.watch.k, window=self.watch.window, collapse=self.watch.collapse)
        steps = [step for step in saved_steps(folder) if step <= alarm.stop_at]
        where = (
            f"no checkpoint of it or before it is in {folder}; save more often, or keep more of them (save_steps, "
            "save_total_limit)"
        )
        if steps:
            kept = self._file.path.parent / KEPT
            keep_model(folder / f"checkpoint-{steps[-1]}", kept)
            where = f"the model of checkpoint-{steps[-1]} is kept in {kept}"
        stopping = "; training stops here" if self.watch.alarm == "stop" else ""
        return (
            f"step {alarm.step}: the policy shows a sign of over-optimisation ({alarm.reason}): {saw}. "
            f"The last step before it is {alarm.stop_at}: {where}{stopping}"
        )


def keep_model(checkpoint: Path, target: Path) -> None:
    """Keep a checkpoint's model, without what only a training needs, as links where the disk allows them.

    Args:
        checkpoint: the folder.
        target: the folder to make; one that is there is replaced.
    """

    def link(source: str, copied: str) -> None:
        try:
            os.link(source, copied)
        except OSError:
            shutil.copy2(source, copied)

    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(target)
    skipped = shutil.ignore_patterns(
        "optimizer*", "scheduler*", "scaler*", "rng_state*", "training_args*", "trainer_state*"
    )
    shutil.copytree(checkpoint, target, copy_function=link, ignore=skipped)


def saved_steps(folder: Path) -> list[int]:
    """The steps of which a trainer's folder holds a checkpoint, in order."""
    named = (path.name.removeprefix("checkpoint-") for path in folder.glob("checkpoint-*") if path.is_dir())
    return sorted(int(name) for name in named if name.isdecimal())


def in_parts(model: Any) -> bool:
    """Whether no process has the whole model: FSDP, or DeepSpeed ZeRO 3."""
    by_fsdp = any(
        "FSDP" in kind.__name__ or "FullySharded" in kind.__name__ for m in model.modules() for kind in type(m).__mro__
    )
    return by_fsdp or any(hasattr(parameter, "ds_id") for parameter in model.parameters())


def _monitor(watch: Watch, planned: int) -> FallAlarm:
    return FallAlarm(planned, watch.window, watch.tolerance, watch.collapse)
