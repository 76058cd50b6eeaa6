"""What a model, its tokenizer, and the processes must be before a training."""

from __future__ import annotations

import copy
import math
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from polyculture.align.adapters import check_base
from polyculture.align.data.dataset import EncodedDataset
from polyculture.align.mixture import Mixture, parse_objective
from polyculture.align.objective import Objective
from polyculture.align.traits import Loss
from polyculture.errors import BadInput, need
from polyculture.llm.loading import load

RANDOM = ("drop", "jitter")
"""In the names of what makes a pass random: dropout, left-out layers, the noise of mixtures of experts."""

ELSEWHERE = {
    "tokenizer": "give it as processing_class=",
    "ref_model": "give it as reference=",
    "data_collator": "the batches are laid out here",
    "compute_loss_func": "give the loss as the objective, a function of log-probabilities",
    "compute_metrics": "no predictions are kept; measure in a callback's on_evaluate, or on samples with watch=",
    "preprocess_logits_for_metrics": "no logits are kept; measure in a callback's on_evaluate",
}
"""What TRL or transformers' Trainer takes and this one does not, and what to do."""

SIZES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")
"""Where launchers say how many processes there are: torchrun and accelerate, then mpirun of several kinds."""


def as_objective(which: str | Loss | Objective | Mixture, hyper: Mapping[str, Any]) -> Objective | Mixture:
    """An objective from whatever names one.

    Args:
        which: a name, a weighted sum, a function, or an objective.
        hyper: hyper-parameters.

    Raises:
        UnknownMethod: there is no such objective or hyper-parameter.
        BadInput: a value can't be read, or a mixture that is made already is given some.
    """
    if isinstance(which, str):
        return parse_objective(which, **hyper)
    if isinstance(which, Mixture):
        if hyper:
            raise BadInput("a mixture's objectives have their hyper-parameters already")
        return which
    return Objective.of(which, **hyper)


def check_options(options: Mapping[str, Any]) -> None:
    """Check what is handed on to transformers' Trainer.

    Args:
        options: its arguments, by name.

    Raises:
        BadInput: it takes no such argument, or what is given would not be used.
    """
    from transformers import Trainer

    known = signature(Trainer.__init__).parameters
    for name, value in options.items():
        if name in ELSEWHERE and value is not None:
            raise BadInput(f"{name}= is not taken: {ELSEWHERE[name]}")
        if name not in known and name not in ELSEWHERE:
            raise BadInput(
                f"the trainer takes no {name}=: options of the objective go in hyper={{'{name}': ...}}, those of the "
                "training in args=TrainingArguments(...)"
            )


def check_joined(processes: int) -> None:
    """Check that the processes that were launched train together.

    Args:
        processes: how many this one sees.

    Raises:
        BadInput: it sees fewer than were launched.
    """
    launched = next((int(os.environ[name]) for name in SIZES if name in os.environ), 1)
    if launched != processes:
        raise BadInput(
            f"{launched} processes were launched, but this one sees {processes}: they have not joined, and each would "
            "train alone; on CPUs set ACCELERATE_USE_CPU=true (or use_cpu=True), on GPUs launch with torchrun or "
            "accelerate launch, one process a GPU"
        )


def check_same_processes(checkpoint: Path, processes: int) -> None:
    """Check that a training goes on with as many processes as it was stopped with.

    With another number a step is of other and of more or fewer examples: some would be seen twice and others never.

    Args:
        checkpoint: folder of a checkpoint of transformers' Trainer.
        processes: how many there are now.

    Raises:
        BadInput: there were more or fewer.
    """
    before = len(list(checkpoint.glob("rng_state*.pth")))
    if before and before != processes:
        raise BadInput(
            f"{checkpoint} is of {before} processes, and now there are {processes}: a step would be of other examples; "
            f"launch {before}, or begin anew with --fresh, or in another folder with --model {checkpoint}"
        )


@dataclass(frozen=True)
class Prepared:
    """A model that is ready to be trained.

    Args:
        model: a transformers model, with its adapter if it has one.
        tokenizer: the model's.
        max_length: most tokens of a prompt and a completion that fit it.
        vocabulary: tokens that it has.
    """

    model: Any
    tokenizer: Any
    max_length: int
    vocabulary: int


def prepared(
    model: Any, tokenizer: Any, max_length: int, *, peft_config: Any = None, dropout: bool = False, dtype: Any
) -> Prepared:
    """A model, loaded if need be, that is ready to be trained.

    Args:
        model: a transformers model, or where to load one from.
        tokenizer: the model's; None loads it with the model.
        max_length: most tokens of a prompt and a completion that are wanted; if the model takes fewer, it is warned.
        peft_config: a PEFT configuration: put an adapter on it.
        dropout: leave its dropout on.
        dtype: to load it in.

    Raises:
        BadInput: a model in memory has no tokenizer, or an adapter is to be put on an adapter.
    """
    if peft_config is not None:
        check_base(model)
    if isinstance(model, (str, Path)):
        model, tokenizer = load(model, tokenizer, dtype)
    elif tokenizer is None:
        raise BadInput("a model in memory needs its tokenizer: give processing_class=tokenizer")
    max_length, vocabulary = fitting_length(model, max_length), vocabulary_of(model)
    if peft_config is not None:
        model = need("peft", "train").get_peft_model(model, peft_config)
    if not dropout:
        switch_off_dropout(model)
    return Prepared(model, tokenizer, max_length, vocabulary)


def fitting_length(model: Any, max_length: int) -> int:
    """The tokens that fit both what is asked for and the model's window, with a warning if that is less.

    Args:
        model: a transformers model.
        max_length: what is asked for.
    """
    window = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if isinstance(window, int) and window < max_length:
        warnings.warn(
            f"max_length is {max_length}, but the model takes {window} tokens; {window} is used", stacklevel=5
        )
        return window
    return max_length


def set_for_us(args: Any, model: Any) -> Any:
    """Change the training arguments that would be in the way, and give them back.

    Args:
        args: transformers' TrainingArguments.
        model: to be trained.
    """
    if model.config.get_text_config() is not model.config:  # what sees or hears has no gradient from text alone
        args.ddp_find_unused_parameters = True
    args.remove_unused_columns = False  # the rows are encoded here; none of their columns goes to the model
    args.max_grad_norm = args.max_grad_norm or math.inf  # clips nothing, but is computed and looked at
    args._n_gpu = min(args.n_gpu, 1)  # nn.DataParallel would tear our batches apart; processes do it right
    return args


def switch_off_dropout(model: nn.Module) -> None:
    """Set every dropout rate to 0, and other noise: policy and reference are compared on the same footing.

    Args:
        model: is changed; the configuration that is saved with it is not.
    """
    quiet: dict[int, Any] = {}
    for module in model.modules():
        if isinstance(module, _DropoutNd):
            module.p = 0.0
        _set_noise_off(module)  # rates that models keep as numbers and hand to functions
        config = vars(module).get("config")  # layers that look their rates up at each pass
        if config is not None and not hasattr(module, "save_pretrained"):
            if id(config) not in quiet:
                quiet[id(config)] = copy.copy(config)
                _set_noise_off(quiet[id(config)])
            if vars(quiet[id(config)]) != vars(config):
                module.config = quiet[id(config)]


def vocabulary_of(model: Any) -> int:
    """How many tokens a model has; it may be more than its tokenizer has.

    Args:
        model: a transformers model, before an adapter is put on it.
    """
    embedding = model.get_input_embeddings()
    rows = len(getattr(embedding, "weight", ()))  # DeepSpeed may have them elsewhere
    return max(rows, int(model.config.get_text_config().vocab_size))


def warn_of_one_label(data: EncodedDataset, source: str, objective: str) -> None:
    """Warn if answers with labels are all wanted, or none is: there is nothing to tell apart.

    Args:
        data: to be trained on.
        source: where they come from.
        objective: its name.
    """
    labels = data.examples.labels()
    if len(labels) == 1:
        only = str(labels.pop()).lower()
        instead = "; to learn wanted answers alone, train with sft" if only == "true" else ""
        warnings.warn(
            f"{source}: every label is {only}, so '{objective}' has nothing to tell apart: it moves all that it sees "
            f"the same way; give both kinds{instead}",
            stacklevel=3,
        )


def _set_noise_off(held: Any) -> None:
    for name, value in list(vars(held).items()):
        if isinstance(value, float) and any(part in name for part in RANDOM):
            setattr(held, name, 0.0)
