"""Training steps of direct preference optimisation, through both trainers.

A Llama of 4 layers, 128 wide, 4 heads, two of them for keys and values, float32, no dropout; 8 pairs a step, those of
every step the same; DPO with beta 0.1, AdamW, gradients clipped at norm 1. A call is ``trainer.train()`` of a few
steps: collating, forward, loss, backward, clipping, optimiser and log, with the reference's log-probabilities computed
beforehand, untimed, on both sides. TRL is told not to use its bfloat16 and its checkpointing, which it does by default.
"""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.harness import Call, Disagreement, Row

PAIRS = 8
PEER = "trl, `DPOTrainer`"


@dataclass(frozen=True)
class Size:
    """What is trained on what.

    Args:
        vocabulary: number of tokens.
        prompt: mean tokens of a prompt.
        completion: mean tokens of a completion.
        steps: in a call.
        checkpointing: whether activations are computed anew in the backward pass.
        layers: of the model.
        width: of the model.
    """

    vocabulary: int
    prompt: int
    completion: int
    steps: int = 4
    checkpointing: bool = False
    layers: int = 4
    width: int = 128

    def __str__(self) -> str:
        return (
            f"{self.steps} steps of {PAIRS} pairs, prompts of {self.prompt} tokens, completions of {self.completion}, "
            f"{self.vocabulary:,} tokens in the vocabulary"
        )


def rows(quick: bool) -> list[Row]:
    vocabularies = (104, 1_000) if quick else (104, 32_000)
    long, short = ((24, 8), (6, 12)) if quick else ((448, 64), (32, 96))
    more: dict[str, Any] = {"layers": 2, "width": 32, "steps": 2} if quick else {}
    found = []
    for vocabulary in vocabularies:
        steps = {} if quick or vocabulary < 10_000 else {"steps": 2}
        for shape, (prompt, completion) in (("long", long), ("short", short)):
            size = Size(vocabulary, prompt, completion, **more | steps)
            found.append(_training(f"dpo-{shape}-prompts-{vocabulary}", size))
    vocabulary = vocabularies[1]
    found.append(
        _training(f"dpo-checkpointing-{vocabulary}", Size(vocabulary, *long, checkpointing=True, **more | {"steps": 2}))
    )
    size = Size(vocabulary, *long, **more)
    found.append(
        Row(
            f"dpo-reference-{vocabulary}",
            "DPO, log-probabilities of the reference",
            str(size).replace("steps", "batches"),
            partial(_ours_reference, size),
            _same_sums,
            PEER,
            partial(_trl_reference, size),
            note="TRL calls this `compute_ref_log_probs`; writing them to disk is left out on both sides",
        )
    )
    return found


def _training(name: str, size: Size) -> Row:
    return Row(
        name,
        f"DPO, training steps{' with activation checkpointing' if size.checkpointing else ''}",
        str(size),
        partial(_ours, size),
        _same_steps,
        PEER,
        partial(_trl, size),
        items=(size.steps, "steps"),
        note="ours computes a pair's prompt once, and logits of its completions alone; on a processor TRL computes "
        "those of all tokens, on a GPU of the completions",
    )


def preferences(size: Size, batches: int = 1) -> list[dict[str, str]]:
    """Pairs of random words, the lengths spread by a quarter about their means."""
    import numpy as np

    draw = np.random.default_rng(0)

    def words(mean: int) -> str:
        number = draw.integers(mean - mean // 4, mean + mean // 4, endpoint=True)
        return " ".join(f"w{word}" for word in draw.integers(size.vocabulary - 2, size=number))

    return [
        {"prompt": words(size.prompt), "chosen": " " + words(size.completion), "rejected": " " + words(size.completion)}
        for _ in range(batches * PAIRS)
    ]


def tokenizer(vocabulary: int) -> Any:
    """Every word ``w0``, ``w1``, ... is a token; the last two are the end of a sequence and padding."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = [*(f"w{i}" for i in range(vocabulary - 2)), "</s>", "<pad>"]
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="w0"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>", pad_token="<pad>")


def policy(size: Size) -> Any:
    """The model, the same at every call."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.width,
        intermediate_size=size.width * 11 // 4,
        num_hidden_layers=size.layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        bos_token_id=None,
        eos_token_id=size.vocabulary - 2,
        pad_token_id=size.vocabulary - 1,
    )
    return LlamaForCausalLM(config)


def _settings(size: Size, folder: str) -> dict[str, Any]:
    """What both trainers are told."""
    return {
        "output_dir": folder,
        "max_steps": size.steps,
        "per_device_train_batch_size": PAIRS,
        "per_device_eval_batch_size": PAIRS,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 1.0,
        "gradient_checkpointing": size.checkpointing,
        "bf16": False,
        "use_cpu": True,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "seed": 0,
    }


def trainer(size: Size, folder: str, batches: int = 1) -> Any:
    """Ours."""
    from transformers import TrainingArguments

    from polyculture.align.trainer import AlignmentTrainer

    return AlignmentTrainer(
        policy(size),
        "dpo",
        TrainingArguments(**_settings(size, folder)),
        preferences(size, batches),
        processing_class=tokenizer(size.vocabulary),
        hyper={"beta": 0.1},
        max_length=1024,
    )


def trl_trainer(size: Size, folder: str, batches: int = 1, *, precompute: bool = True) -> Any:
    """TRL's."""
    from datasets import Dataset, disable_caching
    from trl import DPOConfig, DPOTrainer

    disable_caching()
    config = DPOConfig(
        **_settings(size, folder), beta=0.1, max_length=1024, precompute_ref_log_probs=precompute, disable_dropout=True
    )
    return DPOTrainer(
        policy(size),
        args=config,
        train_dataset=Dataset.from_list(preferences(size, batches)),
        processing_class=tokenizer(size.vocabulary),
    )


def _ours(size: Size) -> Call:
    with tempfile.TemporaryDirectory() as folder:
        return _steps(trainer(size, folder))


def _trl(size: Size) -> Call:
    with tempfile.TemporaryDirectory() as folder:
        return _steps(trl_trainer(size, folder))


def _steps(made: Any) -> Call:
    gc.freeze()  # train() begins with a collection, which would go through everything that the libraries made
    first: list[dict[str, float]] = []

    def call() -> list[dict[str, float]]:
        made.train()
        if not first:  # later calls train on from there
            logs = [entry for entry in made.state.log_history if "grad_norm" in entry]
            first.extend({"loss": float(entry["loss"]), "gradient": float(entry["grad_norm"])} for entry in logs)
        return first

    return call


def _ours_reference(size: Size) -> Call:
    from polyculture.align.reference.scores import reference_log_probs

    with tempfile.TemporaryDirectory() as folder:
        made = trainer(size, folder, size.steps)

    def call() -> list[list[float]]:
        found = reference_log_probs(
            made.model,
            made.train_dataset.examples,
            layout=made.layout,
            abilities=made.abilities,
            folder=None,
            batch_size=PAIRS,
        )
        return [[float(one.sum(dtype=float)) for one in scores] for scores in found]

    return call


def _trl_reference(size: Size) -> Call:
    import torch
    from torch.utils.data import DataLoader

    with tempfile.TemporaryDirectory() as folder:
        made = trl_trainer(size, folder, size.steps)
    made.model.eval()
    held = made.train_dataset.remove_columns(["ref_chosen_logps", "ref_rejected_logps"])

    def call() -> list[list[float]]:
        loader = DataLoader(held, batch_size=PAIRS, collate_fn=made.data_collator)
        found = [torch.stack(made.compute_ref_log_probs(made.model, batch), dim=1) for batch in loader]
        return torch.cat(found).tolist()

    return call


def _same_steps(ours: Sequence[dict[str, float]], peer: Sequence[dict[str, float]], relative: float = 1e-3) -> str:
    if len(ours) != len(peer):
        raise Disagreement(f"ours took {len(ours)} steps, the peer {len(peer)}")
    said = []
    for what, name in (("losses", "loss"), ("norms of the gradients", "gradient")):
        pairs = [(a[name], b[name]) for a, b in zip(ours, peer, strict=True)]
        apart = max(abs(a - b) / max(abs(b), 1e-12) for a, b in pairs)
        if not apart <= relative:
            raise Disagreement(f"{what} differ by up to {apart:.1e} of themselves: {pairs}")
        said.append(f"{what} by {apart:.0e}")
    return f"over {len(ours)} steps, relative differences are at most: {', '.join(said)}"


def _same_sums(ours: Any, peer: Any, relative: float = 1e-4) -> str:
    import numpy as np

    apart = float(np.abs(np.asarray(ours) / np.asarray(peer) - 1).max())
    if not apart <= relative:
        raise Disagreement(f"log-probabilities of completions differ by up to {apart:.1e} of themselves")
    return f"log-probabilities of completions differ by at most {apart:.0e} of themselves"
