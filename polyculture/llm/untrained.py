"""A tiny model that has learned nothing: for dry runs and checks that need a real architecture and no download."""

from __future__ import annotations

from typing import Any


def untrained_model(seed: int = 0, *, context: int = 2048, width: int = 32) -> tuple[Any, Any]:
    """A Llama of some ten thousand random weights and a tokenizer of one token a byte, both in memory.

    Args:
        seed: of the weights; torch's global generator is left as it was.
        context: tokens it can take.
        width: size of its hidden states, a multiple of 4.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<s>", "</s>", "<pad>"]
    names = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    bytes_only = Tokenizer(models.BPE(vocab={name: i for i, name in enumerate(names)}, merges=[]))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_only.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bytes_only, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    return untrained_llama(tokenizer, seed=seed, context=context, width=width), tokenizer


def untrained_llama(tokenizer: Any, *, seed: int, context: int, width: int, key_value_heads: int = 2) -> Any:
    """A Llama of random weights, two layers and four heads, for a tokenizer's vocabulary.

    Args:
        tokenizer: of transformers, with tokens for beginning, end and padding.
        seed: of the weights; torch's global generator is left as it was.
        context: tokens it can take.
        width: size of its hidden states, a multiple of 4.
        key_value_heads: how many of the heads have keys and values of their own.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=key_value_heads,
        max_position_embeddings=context,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).eval()
