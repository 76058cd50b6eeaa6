"""The reference in a training: a model in memory, an adapter switched off, or log-probabilities computed beforehand."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from polyculture.align.data.dataset import EncodedDataset
from polyculture.align.data.layout import Layout
from polyculture.align.log_probs.forward import Abilities
from polyculture.align.reference.fingerprint import fingerprint
from polyculture.align.reference.scores import frozen_copy, has_adapter, reference_log_probs, without_adapter
from polyculture.errors import BadInput
from polyculture.llm.loading import load
from polyculture.progress import Progress, silent


class ReferenceModel:
    """What the policy is compared with.

    One that is not live is on the policy's device only while log-probabilities are computed: then it goes back to where
    it was, and one that was loaded is let go.

    Args:
        policy: the model to be trained, as it is before the training and before anything wraps it.
        given: the reference, or where to load it from. None is the policy as it is now; where an adapter is trained,
            that is the policy without it.
        live: whether it will be needed during the training, not only for log-probabilities beforehand.
        dtype: to load it in.
        autocast: gives the context that the policy is run in, so that both are computed in the same types.

    Raises:
        BadInput: it can't be loaded, or its vocabulary is not the policy's.

    Attributes:
        model: the live one, or None.
        fingerprint: of what it was when log-probabilities were last asked for.
    """

    def __init__(
        self,
        policy: Any,
        given: Any = None,
        *,
        live: bool = False,
        dtype: Any = "float32",
        autocast: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
    ) -> None:
        self.policy, self.live, self.dtype, self.autocast = policy, live, dtype, autocast
        self.own_base = given is None and has_adapter(policy)
        self.fingerprint = ""
        self.model: Any = None
        self._given = given
        if given is not None and not isinstance(given, (str, Path)):
            _check_vocabulary(given, policy)
            trained = {id(parameter) for parameter in policy.parameters()}
            if any(id(parameter) in trained for parameter in given.parameters()):  # PEFT wraps a model in place
                self._given = frozen_copy(given) if live else frozen_copy(given).to("cpu")
        if live and not self.own_base:
            self.model = frozen_copy(policy) if given is None else self._loaded().eval().requires_grad_(False)
            _to(self.model, _device(policy))

    @property
    def is_policy_before(self) -> bool:
        """Whether the reference is the policy as it was before training, and no copy of that is kept."""
        return self.model is None and self._given is None and not self.own_base

    def shard(self, accelerator: Any, *, fsdp: bool, deepspeed: bool) -> None:
        """Shard a model in memory as the policy is going to be.

        Args:
            accelerator: of the trainer.
            fsdp: whether it shards with FSDP.
            deepspeed: whether it does with DeepSpeed.

        Raises:
            BadInput: DeepSpeed can't shard a second model here.
        """
        if self.model is None:
            return
        if deepspeed:
            raise BadInput(
                "the reference model is needed beside the policy, which DeepSpeed does not shard here; use FSDP, an "
                "adapter, no watch, or an objective that needs its log-probabilities of the data alone"
            )
        if fsdp and accelerator.is_fsdp2:
            from accelerate.utils.fsdp_utils import fsdp2_prepare_model

            self.model = fsdp2_prepare_model(accelerator, self.model).eval()
        elif fsdp:
            self.model = accelerator.prepare_model(self.model, evaluation_mode=True)

    @contextlib.contextmanager
    def running(self) -> Iterator[Any]:
        """A live model, as a context in which it can be run."""
        if self.model is None and not self.own_base:
            raise BadInput("the reference model is not kept in memory")
        beside = without_adapter(self.policy) if self.own_base else contextlib.nullcontext(self.model)
        with beside as model, self.autocast():
            yield model

    def scored(
        self,
        data: Sequence[EncodedDataset | None],
        layout: Layout,
        abilities: Abilities,
        accelerator: Any,
        *,
        folder: Path,
        batch_size: int,
        progress: Progress = silent,
    ) -> list[EncodedDataset | None]:
        """Each data set with this reference's log-probabilities, from ``folder`` where they are there already.

        Args:
            data: data sets; they stay as they are. One that has this reference's is given back.
            layout: how examples lie in a batch.
            abilities: of the model.
            accelerator: of the trainer; each process computes a part.
            folder: where they are kept.
            batch_size: examples at once.
            progress: told the examples.
        """
        if all(one is None or self.has_scored(one) for one in data):
            return list(data)
        with self._for_scoring(computing_device(self.policy, accelerator)) as model:
            self.fingerprint = fingerprint(model)
            return [
                one
                if one is None or self.has_scored(one)
                else EncodedDataset(
                    one.examples,
                    reference_log_probs(
                        model,
                        one.examples,
                        layout=layout,
                        abilities=abilities,
                        folder=folder,
                        known_as=self.fingerprint,
                        batch_size=batch_size,
                        rank=accelerator.process_index,
                        world=accelerator.num_processes,
                        share=_of_all_processes,
                        progress=progress,
                    ),
                    self.fingerprint,
                    one.kind,
                )
                for one in data
            ]

    def has_scored(self, data: EncodedDataset) -> bool:
        """Whether a data set has the log-probabilities of this reference."""
        return bool(self.fingerprint) and data.ref is not None and data.scored_by == self.fingerprint

    @contextlib.contextmanager
    def _for_scoring(self, device: Any = None) -> Iterator[Any]:
        device = _device(self.policy) if device is None else device
        if self.model is not None or self.own_base:
            with self.running() as model, placed(model, device):
                yield model
            return
        model = self.policy if self._given is None else self._loaded()
        with placed(model, device), self.autocast():
            yield model

    def _loaded(self) -> Any:
        if not isinstance(self._given, (str, Path)):
            return self._given
        model = load(self._given, None, self.dtype)[0]
        _check_vocabulary(model, self.policy)
        return model


def computing_device(policy: Any, accelerator: Any) -> Any:
    """Where a policy can be run before it is trained: FSDP and DeepSpeed leave it on the CPU until then.

    Args:
        policy: the model to be trained, not wrapped yet.
        accelerator: of the trainer.
    """
    device = _device(policy)
    return accelerator.device if str(device) == "cpu" else device


@contextlib.contextmanager
def placed(model: Any, device: Any) -> Iterator[Any]:
    """A model on a device for the block, then back where it was; if there is no room for it, it stays, with a warning.

    Args:
        model: is moved.
        device: where to.
    """
    home = _device(model)
    try:
        _to(model, device)
    except torch.OutOfMemoryError:
        _to(model, home)
        warnings.warn(
            f"the whole model has no room on {device}, so what is computed before the training is computed on {home}, "
            "which is slow; load it in a shorter type (dtype)",
            stacklevel=2,
        )
    try:
        yield model
    finally:
        _to(model, home)


def _check_vocabulary(model: Any, policy: Any) -> None:
    theirs, ours = (m.config.get_text_config().vocab_size for m in (model, policy))
    if theirs != ours:
        raise BadInput(
            f"the reference's vocabulary has {theirs} tokens and the model's {ours}; give a reference that "
            "shares the model's tokenizer"
        )


def _device(model: Any) -> Any:
    return next(model.parameters()).device


def _to(model: Any, device: Any) -> None:
    if _device(model) != device:  # quantised models, and those spread over several devices, refuse any move
        model.to(device)


def _of_all_processes(found: dict[int, Any]) -> dict[int, Any]:
    from accelerate.utils import gather_object

    return dict(gather_object(list(found.items())))
