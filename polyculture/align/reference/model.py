"""The reference in a training: a model in memory, an adapter switched off, or log-probabilities computed beforehand."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polyculture.align.data.dataset import EncodedDataset
from polyculture.align.data.layout import Layout
from polyculture.align.log_probs.forward import Abilities
from polyculture.align.reference.scores import frozen_copy, has_adapter, reference_log_probs, without_adapter
from polyculture.errors import BadInput
from polyculture.llm.loading import load
from polyculture.progress import Progress, silent


class ReferenceModel:
    """What the policy is compared with.

    Args:
        policy: the model to be trained, as it is before the training and before anything wraps it.
        given: the reference, or where to load it from. None is the policy as it is now; where an adapter is trained,
            that is the policy without it.
        live: whether it will be needed during the training, not only for log-probabilities beforehand.
        dtype: to load it in.

    Raises:
        BadInput: it can't be loaded, or its vocabulary is not the policy's.
    """

    def __init__(self, policy: Any, given: Any = None, *, live: bool = False, dtype: Any = "float32") -> None:
        self.policy = policy
        self.model: Any = None
        self.own_base = given is None and has_adapter(policy)
        if given is not None:
            model = load(given, None, dtype)[0] if isinstance(given, (str, Path)) else given
            theirs, ours = (m.config.get_text_config().vocab_size for m in (model, policy))
            if theirs != ours:
                raise BadInput(
                    f"the reference's vocabulary has {theirs} tokens and the model's {ours}; give a reference that "
                    "shares the model's tokenizer"
                )
            device = next(policy.parameters()).device
            trained = {id(parameter) for parameter in policy.parameters()}
            shared = any(id(parameter) in trained for parameter in model.parameters())  # PEFT wraps a model in place
            self.model = (frozen_copy(model) if shared else model.eval().requires_grad_(False)).to(device)
        elif live and not self.own_base:
            self.model = frozen_copy(policy)

    @property
    def is_policy_before(self) -> bool:
        """Whether the reference is the policy as it was before training, and no copy of that is kept."""
        return self.model is None and not self.own_base

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

    def running(self) -> contextlib.AbstractContextManager[Any]:
        """The model, as a context in which it can be run."""
        if self.model is not None:
            return contextlib.nullcontext(self.model)
        if self.own_base:
            return without_adapter(self.policy)
        raise BadInput("the reference model is not kept in memory")

    def score(
        self,
        data: Sequence[EncodedDataset | None],
        layout: Layout,
        abilities: Abilities,
        accelerator: Any,
        *,
        folder: Path,
        batch_size: int,
        progress: Progress = silent,
    ) -> None:
        """Give each data set the reference's log-probabilities, from ``folder`` where they are there already.

        Args:
            data: data sets; one that has them keeps them.
            layout: how examples lie in a batch.
            abilities: of the model.
            accelerator: of the trainer; each process computes a part.
            folder: where they are kept.
            batch_size: examples at once.
            progress: told the examples.
        """
        context = contextlib.nullcontext(self.policy) if self.is_policy_before else self.running()
        with context as model:
            for one in data:
                if one is not None and one.ref is None:
                    one.ref = reference_log_probs(
                        model,
                        one.examples,
                        layout=layout,
                        abilities=abilities,
                        folder=folder,
                        batch_size=batch_size,
                        rank=accelerator.process_index,
                        world=accelerator.num_processes,
                        share=_of_all_processes,
                        progress=progress,
                    )


def _of_all_processes(found: dict[int, Any]) -> dict[int, Any]:
    from accelerate.utils import gather_object

    return dict(gather_object(list(found.items())))
