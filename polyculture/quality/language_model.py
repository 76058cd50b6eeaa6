"""Scores that a causal language model gives: what they share, computed in one pass whatever their number."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from polyculture.errors import BadInput
from polyculture.pool import Pool
from polyculture.quality.pairs import Pair, blocks, pair_key, pairs

if TYPE_CHECKING:
    import torch

    from polyculture.llm.transformers import TransformersLLM

BLOCK_PAIRS = 1024
"""Pairs that are held, sorted by length and reduced to scores at a time."""

CHUNK_BYTES = 32 * 2**20
"""Most bytes of logits that are brought to float32 at once."""


@dataclass(frozen=True)
class Reading:
    """What a model says about one response.

    Args:
        logprobs: (T,) natural-log probability of each token of the response after its prompt.
        entropies: (T,) entropy in nats of the distribution each was drawn from, over the whole vocabulary.
        bare: (T,) log-probability of each token without the prompt; empty where no score asked for it.
        vocabulary: entries of the vocabulary, padding included.
    """

    logprobs: np.ndarray
    entropies: np.ndarray
    bare: np.ndarray
    vocabulary: int


@dataclass(eq=False)
class ModelQuality:
    """A score of a response under a causal language model; subclasses say which.

    Texts longer than the context are cut and a warning says how many: first the prompt at its start, then the
    response at its end.

    Args:
        model: hub id, local folder, folder of a PEFT adapter, or (model, tokenizer) in memory.
        prompt: column of prompts (texts or chat messages; several with commas between); none scores responses without.
        response: column of responses; none is the pool's text.
        max_length: most tokens of prompt and response; none is the model's context.
        batch_size: most sequences computed at once.
        dtype: "auto" (as saved), "float32", "bfloat16" or "float16".
        device: "cpu", "cuda", "cuda:1"...; none is the first GPU if there is one.
        chat: whether a text prompt is a user message; none: if the tokenizer has a chat template.
    """

    model: str | tuple[Any, Any]
    prompt: str | None = "prompt"
    response: str | None = "response"
    max_length: int | None = None
    batch_size: int = 16
    dtype: str = "auto"
    device: str | None = None
    chat: bool | None = None

    per_text: ClassVar[bool] = True
    uses_entropy: ClassVar[bool] = False
    uses_bare: ClassVar[bool] = False

    @property
    @abstractmethod
    def name(self) -> str:
        """What reports call it."""

    @abstractmethod
    def of(self, reading: Reading) -> float:
        """The score of one response."""

    @classmethod
    def test_params(cls) -> dict[str, Any]:
        """Options to try it with: an untrained model, on texts without prompts."""
        from polyculture.llm.untrained import untrained_model

        return {"model": untrained_model(), "prompt": None, "response": None}

    def score(self, pool: Pool) -> np.ndarray:
        """One score a row, (n,) float64, higher is better."""
        return score_together(pool, [self])[0]

    def score_pairs(self, held: Sequence[Pair]) -> np.ndarray:
        """One score a (prompt, response), (n,) float64."""
        return _scores(held, [self])[0]

    def row_texts(self, pool: Pool) -> Iterable[str]:
        """What a row's score depends on, one string a row."""
        return (pair_key(pair) for pair in pairs(pool, self.prompt, self.response))

    @property
    def identity(self) -> str:
        """What tells this score from another of its name: the model and every option that can change it."""
        aside = ("model", "batch_size", "device")
        options = [(f.name, getattr(self, f.name)) for f in fields(self) if f.name not in aside]
        return f"{self.llm.identity} {options}"

    @cached_property
    def llm(self) -> TransformersLLM:
        """The model, loaded at its first use."""
        from polyculture.llm.transformers import TransformersLLM

        held = (self.model, None) if isinstance(self.model, str) else self.model
        if not isinstance(held, (tuple, list)) or len(held) != 2:
            raise BadInput("model should be a path, a hub id, or (model, tokenizer)")
        return TransformersLLM(*held, device=self.device, dtype=self.dtype, batch_size=self.batch_size, chat=self.chat)

    def __getstate__(self) -> dict[str, Any]:
        """Without the loaded model, where another process can load it itself."""
        return {k: v for k, v in self.__dict__.items() if k != "llm" or not isinstance(self.model, str)}

    @property
    def settings(self) -> tuple[Any, ...]:
        """What scores must agree on to share a pass."""
        model = self.model if isinstance(self.model, str) else tuple(map(id, self.model))
        return (model, *(getattr(self, f.name) for f in fields(ModelQuality) if f.name != "model"))


def score_together(pool: Pool, scorers: Sequence[ModelQuality]) -> list[np.ndarray]:
    """Several scores of one model, (n,) each, from the same forward passes.

    Args:
        pool: rows with prompts and responses.
        scorers: of one model, with the same columns and options.

    Raises:
        BadInput: the scorers differ in model, columns or options, or a row can't be read.
    """
    if not scorers or len({scorer.settings for scorer in scorers}) > 1:
        raise BadInput("scores that share a pass should have the same model, columns and options; score them apart")
    first = scorers[0]
    rows = pairs(pool, first.prompt, first.response)
    found = [_scores(block, scorers) for block in blocks(rows, BLOCK_PAIRS)]
    return [np.concatenate([np.zeros(0), *(block[i] for block in found)]) for i in range(len(scorers))]


def _scores(held: Sequence[Pair], scorers: Sequence[ModelQuality]) -> list[np.ndarray]:
    """Scores of a block of pairs; equal pairs are computed once."""
    keys = [pair_key(pair) for pair in held]
    distinct = dict(zip(keys, held, strict=True))
    readings = dict(zip(distinct, _read(scorers[0], list(distinct.values()), scorers), strict=True))
    return [np.array([s.of(readings[key]) for key in keys], dtype=np.float64) for s in scorers]


def _read(shared: ModelQuality, held: Sequence[Pair], scorers: Sequence[ModelQuality]) -> list[Reading]:
    from polyculture.llm.framing import start_token, tokenize_pairs

    llm = shared.llm
    prompts, responses = tokenize_pairs(llm, held, shared.max_length)
    entropy = any(scorer.uses_entropy for scorer in scorers)
    terms = llm.token_logprobs(prompts, responses, with_entropy if entropy else without_entropy)
    nothing = np.zeros((0, 2))
    bare = [np.zeros(0)] * len(held)
    if any(scorer.uses_bare for scorer in scorers):
        bare = llm.token_logprobs([[start_token(llm.tokenizer)]] * len(held), responses)
    size = llm.model.config.get_text_config().vocab_size
    return [
        Reading(t[:, 0], t[:, 1], b, size) for t, b in zip((t if len(t) else nothing for t in terms), bare, strict=True)
    ]


def with_entropy(rows: torch.Tensor, tokens: list[int]) -> np.ndarray:
    """Log-probability of each token and entropy of its row, (T, 2), over (T, V) logits."""
    return _terms(rows, tokens, True)


def without_entropy(rows: torch.Tensor, tokens: list[int]) -> np.ndarray:
    """Log-probability of each token and 0, (T, 2), over (T, V) logits."""
    return _terms(rows, tokens, False)


def _terms(rows: torch.Tensor, tokens: list[int], entropy: bool) -> np.ndarray:
    import torch

    found = torch.zeros(len(tokens), 2, dtype=torch.float64)
    chosen = torch.tensor(tokens, device=rows.device)[:, None]
    step = max(1, CHUNK_BYTES // (4 * rows.shape[1]))
    for begin in range(0, len(tokens), step):
        part = slice(begin, begin + step)
        log_p = rows[part].float().log_softmax(dim=1)
        found[part, 0] = log_p.gather(1, chosen[part])[:, 0].double().cpu()
        if entropy:
            # A token of probability 0 adds nothing: exp(-inf) * -inf would be NaN.
            found[part, 1] = -(log_p.exp() * log_p.clamp(min=torch.finfo(log_p.dtype).min)).sum(1).double().cpu()
    return found.numpy()
