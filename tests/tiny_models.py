"""Tiny real models, made in seconds: transformers' own architectures with random weights and a trained tokenizer.

``tiny_llama(folder)`` saves a model and its tokenizer where ``from_pretrained`` finds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

TEXTS = (
    "The quick brown fox jumps over the lazy dog, and the dog sleeps on.",
    "Diversity without quality is noise; quality without diversity is a monoculture.",
    "What is 12 + 30? The answer is 42. What is 7 * 6? The answer is 42.",
    'Reply in JSON: {"name": "Ada", "age": 36, "tags": ["maths", "engines"]}',
    "def add(a, b):\n    return a + b\n\nprint(add(1, 2))",
    "A field that grows many crops resists what kills one of them. Plant wheat, rye, oats and clover.",
)

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def train_tokenizer(texts: Sequence[str] = TEXTS, *, vocab_size: int = 384, chat: bool = True, bos: bool = True) -> Any:
    """A byte-level BPE tokenizer: any string goes through it and back unchanged.

    Args:
        texts: what it is trained on.
        vocab_size: at least 270: 256 bytes and the special tokens.
        chat: give it a chat template.
        bos: give it a begin-of-sequence token, put before every text.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<pad>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
    tokenizer.train_from_iterator(
        list(texts),
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>" if bos else None,
        eos_token="</s>",
        pad_token="<pad>",
        extra_special_tokens=special[3:],
    )
    if chat:
        fast.chat_template = CHAT_TEMPLATE
    return fast


def _save(folder: Path, kind: str, seed: int, tokenizer: Any, sizes: dict[str, Any]) -> Path:
    import torch
    import transformers

    tokenizer = tokenizer or train_tokenizer()
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **sizes,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = getattr(transformers, f"{kind}ForCausalLM")(config)
        # The initial weights give a nearly uniform next token; louder ones give a model with opinions.
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.mul_(4.0)
    folder = Path(folder)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny_llama(
    folder: Path,
    *,
    seed: int = 0,
    tokenizer: Any = None,
    hidden_size: int = 32,
    layers: int = 2,
    context: int = 256,
    **more: Any,
) -> Path:
    """A Llama of about 40 thousand weights."""
    sizes = {
        "hidden_size": hidden_size,
        "intermediate_size": 2 * hidden_size,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": context,
    }
    return _save(folder, "Llama", seed, tokenizer, sizes | more)


def tiny_mixtral(
    folder: Path,
    *,
    seed: int = 0,
    tokenizer: Any = None,
    experts: int = 4,
    top_k: int = 2,
    context: int = 256,
    **more: Any,
) -> Path:
    """A Mixtral: every block a mixture of experts."""
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "num_local_experts": experts,
        "num_experts_per_tok": top_k,
        "max_position_embeddings": context,
        "sliding_window": None,
    }
    return _save(folder, "Mixtral", seed, tokenizer, sizes | more)


def tiny_qwen_moe(
    folder: Path,
    *,
    seed: int = 0,
    tokenizer: Any = None,
    experts: int = 4,
    top_k: int = 2,
    context: int = 256,
    **more: Any,
) -> Path:
    """A Qwen3 mixture of experts."""
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "moe_intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "num_experts": experts,
        "num_experts_per_tok": top_k,
        "max_position_embeddings": context,
    }
    return _save(folder, "Qwen3Moe", seed, tokenizer, sizes | more)
