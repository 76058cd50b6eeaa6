"""Transformers models in this process: batched sampling and scoring that compute a shared prompt once."""

from __future__ import annotations

import copy
import hashlib
import itertools
import secrets
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from polyculture.errors import BadInput
from polyculture.llm.asks import NO_WATCH, Ask, GeneratesByAsk, Watch, admit
from polyculture.llm.base import Completion, Prompt, Sampling, as_messages, as_text, prompt_key, sample_seed
from polyculture.llm.loading import load, on_device
from polyculture.llm.sampling import RawLogprobs, SeededSampling, StopStrings, stop_at, warpers

SCORE_BYTES = 256 * 2**20
"""Most bytes the logits of one scoring batch may take."""


class TransformersLLM(GeneratesByAsk):
    """A causal language model of transformers.

    A string prompt is sent as a user message when the tokenizer has a chat template and ``chat`` is not False, and is
    continued as it stands otherwise. Messages go through the chat template; a tokenizer without one is given the plain
    transcript of ``as_text`` ("User: ...", ending in "Assistant:"). An empty prompt is the begin-of-sequence token.

    The same seed gives the same samples, whatever else is in the call: each sample draws from its own generator, made
    from the seed, the prompt and the sample's index. (Batches of another size round differently, in the last bits of a
    logit; a draw that falls within that of a boundary can differ.) Of the model's generation config only the
    end-of-sequence tokens are used; ``Sampling`` says everything else.

    Args:
        model: hub id, local folder, folder of a PEFT adapter, or a model in memory.
        tokenizer: a tokenizer, or where to load it from; by default where the model is.
        name: the name it goes by; by default the id, the folder or the model's own name.
        device: "cpu", "cuda", "cuda:1"...; by default the first GPU if there is one. A model in memory stays put.
        dtype: "auto" (as saved), "float32", "bfloat16", "float16" or a torch dtype.
        batch_size: most sequences computed at once.
        chat: True and False force string prompts to be, or not to be, user messages.
        logits_processors: transformers LogitsProcessors run on the raw logits, before temperature and truncation.
        share_prompts: compute a prompt that has several samples or completions once.

    Raises:
        BadInput: there is no such model, or it can't be loaded.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        *,
        name: str | None = None,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype = "auto",
        batch_size: int = 16,
        chat: bool | None = None,
        logits_processors: Sequence[Any] = (),
        share_prompts: bool = True,
    ) -> None:
        if batch_size < 1:
            raise BadInput(f"batch_size should be at least 1, not {batch_size}")
        self.source = Path(model) if isinstance(model, (str, Path)) else None
        self.model, self.tokenizer = load(model, tokenizer, dtype)
        if self.source is not None or device is not None:
            self.model = on_device(self.model, device)
        self.model.eval()
        self.name = name or (str(model) if self.source else self.model.config._name_or_path or "in memory")
        self.batch_size = batch_size
        self.chat = chat
        self.logits_processors = tuple(logits_processors)
        self.share_prompts = share_prompts

    def with_processors(self, *processors: Any) -> TransformersLLM:
        """The same model in memory, sampled through other LogitsProcessors."""
        other = copy.copy(self)
        other.logits_processors = processors
        return other

    @property
    def identity(self) -> str:
        """What tells this model's answers from another's: its weights, how prompts reach it, and its processors."""
        processors = [f"{type(p).__qualname__}{sorted(map(str, vars(p).items()))}" for p in self.logits_processors]
        text = f"{self._weights()}|{self.model.dtype}|{self.chat}|{self.tokenizer.chat_template}|{processors}"
        return f"{self.name}@{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def _weights(self) -> str:
        if self.source is not None:
            files = sorted(p for p in self.source.rglob("*") if p.is_file()) if self.source.is_dir() else []
            return str(self.source) + str([(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files])
        return str([(name, p.double().sum().item()) for name, p in self.model.named_parameters()])

    @property
    def context(self) -> int | None:
        """Tokens of prompt and completion the model can take, or None if it sets no limit."""
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None)

    def prompt_text(self, prompt: Prompt) -> str:
        """The prompt as the model sees it, special tokens of the chat template included."""
        return self._rendered(prompt)[0]

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """The prompt's token ids.

        Raises:
            BadInput: it is empty and the tokenizer has no begin-of-sequence token, or the template refuses it.
        """
        text, is_template = self._rendered(prompt)
        # A template writes its own special tokens; adding them again would begin the sequence twice.
        ids = list(self.tokenizer(text, add_special_tokens=not is_template)["input_ids"])
        if ids and ids[-1] == self.tokenizer.eos_token_id and not is_template and not text.endswith(self._eos_text):
            ids.pop()
        if not ids and self.tokenizer.bos_token_id is None:
            raise BadInput(
                f"{self.name}: the prompt is empty and the tokenizer has no begin-of-sequence token; give text"
            )
        return ids or [self.tokenizer.bos_token_id]

    @property
    def _eos_text(self) -> str:
        return self.tokenizer.eos_token or "\0"

    def _rendered(self, prompt: Prompt) -> tuple[str, bool]:
        has_template = bool(getattr(self.tokenizer, "chat_template", None))
        as_chat = not isinstance(prompt, str) or (has_template if self.chat is None else self.chat)
        if not as_chat or not has_template:
            return as_text(as_messages(prompt) if as_chat else prompt), False
        try:
            text = self.tokenizer.apply_chat_template(as_messages(prompt), tokenize=False, add_generation_prompt=True)
        except Exception as error:  # a template raises whatever it likes, most often jinja2's TemplateError
            raise BadInput(f"{self.name}: the chat template refuses the messages: {error}") from error
        return text, True

    def answer_asks(
        self, asks: Sequence[Ask], *, sampling: Sampling, seed: int | None, watch: Watch = NO_WATCH
    ) -> list[Completion]:
        """One completion for each ask, in order; those of one prompt are computed together, short prompts first."""
        seed = secrets.randbits(62) if seed is None else seed
        ids = _by_prompt((ask.prompt for ask in asks), self.prompt_ids)
        room = [self._room(tokens, sampling.max_tokens) for tokens in ids]
        answers: dict[int, Completion] = {}
        order = sorted(range(len(asks)), key=lambda i: (-room[i], len(ids[i]), ids[i], i))
        for batch in _batches(order, self.batch_size, lambda i: room[i]):
            admitted, refusal = admit(watch, batch)
            if admitted:
                seeds = [sample_seed(seed, asks[i].prompt, asks[i].sample) for i in admitted]
                completions = self._sample([ids[i] for i in admitted], room[batch[0]], sampling, seeds)
                for position, completion in zip(admitted, completions, strict=True):
                    answers[position] = completion
                    watch.arrived(position, completion)
            if refusal:
                raise refusal
        return [answers[i] for i in range(len(asks))]

    def _room(self, prompt: list[int], wanted: int) -> int:
        if self.context is None:
            return wanted
        if len(prompt) >= self.context:
            raise BadInput(
                f"{self.name}: the prompt has {len(prompt)} tokens, the model takes {self.context} "
                "with its completion; shorten the prompt, or use a model with a longer context"
            )
        return min(wanted, self.context - len(prompt))

    @torch.inference_mode()
    def _sample(self, prompts: list[list[int]], room: int, sampling: Sampling, seeds: list[int]) -> list[Completion]:
        from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

        eos = self._eos_ids()
        raw = RawLogprobs()
        processors = [raw, *self.logits_processors]
        if sampling.temperature > 0:
            processors += [*warpers(sampling), SeededSampling(seeds)]
        input_ids, mask = self._left_padded(prompts)
        length = input_ids.shape[1]
        config = GenerationConfig(
            max_new_tokens=room,
            do_sample=False,
            num_beams=1,
            eos_token_id=eos or None,
            pad_token_id=self._pad_id,
            repetition_penalty=1.0,
            return_dict_in_generate=True,
        )
        output = self.model.generate(
            input_ids,
            attention_mask=mask,
            generation_config=config,
            logits_processor=LogitsProcessorList(processors),
            stopping_criteria=StoppingCriteriaList(
                [StopStrings(self.tokenizer, sampling.stop, length)] if sampling.stop else []
            ),
            **self._shared_prefix(prompts),
        )
        sequences = output.sequences
        terms = raw.terms(sequences).cpu().numpy()
        rows = sequences[:, length:].cpu().tolist()
        return [
            self._completion(row, terms[i], prompt, room, eos, sampling.stop)
            for i, (row, prompt) in enumerate(zip(rows, prompts, strict=True))
        ]

    def _completion(
        self, row: list[int], terms: np.ndarray, prompt: list[int], room: int, eos: list[int], stop: tuple[str, ...]
    ) -> Completion:
        end = next((i + 1 for i, token in enumerate(row) if token in eos), None)
        tokens = row[: end or len(row)]
        text = self.tokenizer.decode(tokens, skip_special_tokens=True)
        finish = "stop" if end is not None else "length"
        if stop:
            ended = stop_at(self.tokenizer, tokens, stop)
            if ended is not None:
                text, count = ended
                tokens, finish = tokens[:count], "stop"
        kept = tuple(float(term) for term in terms[: len(tokens)])
        return Completion(text, len(tokens), len(prompt), float(sum(kept)), kept, finish, self.name)

    def logprobs(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[np.ndarray]:
        """Natural-log probability of each token of each completion after its prompt, at temperature 1.

        A completion is tokenized on its own, without special tokens: neither begin- nor end-of-sequence is scored.

        Args:
            prompts: one a completion; completions of one prompt share its computation.
            completions: texts.

        Returns:
            One float64 array a pair; an empty completion has an empty one.

        Raises:
            BadInput: the lists differ in length, or a prompt with its completion is longer than the context.
        """
        if len(prompts) != len(completions):
            raise BadInput(
                f"there are {len(prompts)} prompts and {len(completions)} completions; give one prompt for each"
            )
        starts = _by_prompt(prompts, self.prompt_ids)
        ends = [list(self.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in completions]
        return self.token_logprobs(starts, ends)

    @torch.inference_mode()
    def token_logprobs(self, prompts: Sequence[list[int]], completions: Sequence[list[int]]) -> list[np.ndarray]:
        """``logprobs`` on token ids; prompts have at least one token.

        Raises:
            BadInput: a prompt with its completion is longer than the context.
        """
        for start, end in zip(prompts, completions, strict=True):
            if self.context is not None and len(start) + len(end) > self.context:
                raise BadInput(
                    f"{self.name}: the prompt has {len(start)} tokens and the completion {len(end)}, the model takes "
                    f"{self.context} together; shorten them, or use a model with a longer context"
                )
        scores: dict[int, np.ndarray] = {i: np.zeros(0) for i, end in enumerate(completions) if not end}
        order = sorted(
            (i for i in range(len(prompts)) if completions[i]), key=lambda i: (prompts[i], len(completions[i]))
        )
        alone: list[int] = []
        for together in _runs(order, lambda i: prompts[i]):
            if self.share_prompts and len(together) > 1 and len(prompts[together[0]]) > 1:
                scores |= self._score_shared(prompts[together[0]], {i: completions[i] for i in together})
            else:
                alone += together
        alone.sort(key=lambda i: len(prompts[i]) + len(completions[i]))
        for batch in self._score_batches(alone, completions):
            sequences = [[*prompts[i], *completions[i]] for i in batch]
            input_ids, mask = self._left_padded(sequences)
            longest = max(len(completions[i]) for i in batch)
            positions = (mask.cumsum(1) - 1).clamp(min=0)
            # Padding on the left makes every completion end in the last column, so few logits need be kept.
            logits = self._logits(input_ids, mask, positions, keep=longest + 1)
            for row, i in enumerate(batch):
                length = len(completions[i])
                scores[i] = _terms(logits[row, -length - 1 : -1], completions[i])
        return [scores[i] for i in range(len(prompts))]

    def _score_shared(self, prompt: list[int], ends: dict[int, list[int]]) -> dict[int, np.ndarray]:
        scores = {}
        prefix = self._prefill([prompt[:-1]])
        for batch in self._score_batches(list(ends), ends):
            cache = copy.deepcopy(prefix)
            cache.batch_repeat_interleave(len(batch))
            longest = max(len(ends[i]) for i in batch)
            # The last token of the prompt goes in again: its logits score the first token of the completion.
            rows = [[prompt[-1], *ends[i][:-1]] for i in batch]
            input_ids = torch.tensor([row + [self._pad_id] * (longest - len(row)) for row in rows], device=self.device)
            mask = torch.tensor(
                [[1] * (len(prompt) - 1 + len(row)) + [0] * (longest - len(row)) for row in rows], device=self.device
            )
            positions = torch.arange(len(prompt) - 1, len(prompt) - 1 + longest, device=self.device)
            logits = self._logits(input_ids, mask, positions.expand(len(rows), -1), past_key_values=cache)
            for row, i in enumerate(batch):
                scores[i] = _terms(logits[row, : len(ends[i])], ends[i])
        return scores

    def _score_batches(self, order: list[int], ends: Any) -> Iterable[list[int]]:
        batch: list[int] = []
        for i in order:
            longest = max([len(ends[j]) for j in batch] + [len(ends[i])]) + 1
            size = (len(batch) + 1) * longest * self.model.config.get_text_config().vocab_size * 4
            if batch and (len(batch) == self.batch_size or size > SCORE_BYTES):
                yield batch
                batch = []
            batch.append(i)
        if batch:
            yield batch

    def _logits(self, input_ids: Any, mask: Any, positions: Any, keep: int = 0, **more: Any) -> Any:
        return self.model(
            input_ids=input_ids,
            attention_mask=mask,
            position_ids=positions,
            logits_to_keep=keep,
            use_cache=bool(more),
            **more,
        ).logits

    def _shared_prefix(self, prompts: list[list[int]]) -> dict[str, Any]:
        """A cache of all but the last token of every prompt, each distinct prompt computed once."""
        distinct = list(_runs(range(len(prompts)), lambda i: prompts[i]))
        if not self.share_prompts or len(distinct) == len(prompts) or min(map(len, prompts)) < 2:
            return {}
        cache = self._prefill([prompts[rows[0]][:-1] for rows in distinct])
        which = [k for k, rows in enumerate(distinct) for _ in rows]
        cache.batch_select_indices(torch.tensor(which, device=self.device))
        return {"past_key_values": cache}

    def _prefill(self, prompts: list[list[int]]) -> Any:
        from transformers import DynamicCache

        input_ids, mask = self._left_padded(prompts)
        cache = DynamicCache(config=self.model.config)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        self._logits(input_ids, mask, positions, keep=1, past_key_values=cache)
        return cache

    def _left_padded(self, sequences: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        longest = max(map(len, sequences))
        ids = [[self._pad_id] * (longest - len(s)) + s for s in sequences]
        mask = [[0] * (longest - len(s)) + [1] * len(s) for s in sequences]
        return torch.tensor(ids, device=self.device), torch.tensor(mask, device=self.device)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    @property
    def _pad_id(self) -> int:
        # Padding is masked, so any id does for a tokenizer without one.
        candidates = (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id, 0)
        return next(token for token in candidates if token is not None)

    def _eos_ids(self) -> list[int]:
        configured = getattr(self.model.generation_config, "eos_token_id", None)
        if configured is None:
            configured = self.tokenizer.eos_token_id
        return [] if configured is None else [configured] if isinstance(configured, int) else list(configured)


def _by_prompt(prompts: Iterable[Prompt], compute: Callable[[Prompt], list[int]]) -> list[list[int]]:
    """``compute`` of every prompt, done once for each distinct one."""
    known: dict[str, list[int]] = {}
    found = []
    for prompt in prompts:
        key = "text " + prompt if isinstance(prompt, str) else prompt_key(prompt)
        if key not in known:
            known[key] = compute(prompt)
        found.append(known[key])
    return found


def _runs(order: Iterable[int], key: Callable[[int], Any]) -> Iterable[list[int]]:
    return (list(group) for _, group in itertools.groupby(order, key))


def _batches(order: Sequence[int], size: int, key: Callable[[int], Any]) -> Iterable[list[int]]:
    """Runs of at most ``size`` with the same key."""
    for run in _runs(order, key):
        for start in range(0, len(run), size):
            yield run[start : start + size]


def _terms(logits: torch.Tensor, tokens: list[int]) -> np.ndarray:
    """Log-probability of each token under its row of logits, a row at a time in float32."""
    chosen = torch.tensor(tokens, device=logits.device)[:, None]
    raw = logits.float()
    return (raw.gather(1, chosen)[:, 0] - raw.logsumexp(dim=1)).double().cpu().numpy()
