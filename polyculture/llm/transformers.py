"""Transformers models in this process: batched sampling and scoring that compute a shared prompt once."""

from __future__ import annotations

import copy
import hashlib
import secrets
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from polyculture.errors import BadInput
from polyculture.llm.asks import NO_WATCH, Ask, GeneratesByAsk, Watch, admit
from polyculture.llm.base import Completion, Prompt, Sampling, prompt_key, sample_seed
from polyculture.llm.batches import batches, can_share, left_padded, prefill, runs
from polyculture.llm.chat import PromptReader, completion_ids
from polyculture.llm.loading import load, on_device
from polyculture.llm.sampling import RawLogprobs, SeededSampling, StopStrings, nothing_configured, stop_at, warpers
from polyculture.llm.scoring import Read, Scorer, log_probabilities


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
        share_prompts: compute a prompt that has several samples or completions once, where its cache can be
            copied (a recurrent layer's can't).

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
        self.share_prompts = share_prompts and can_share(self.model)
        self._reader = PromptReader(self.tokenizer, chat, self.name)

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
        return self._reader.text(prompt)

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """The prompt's token ids.

        Raises:
            BadInput: it is empty and the tokenizer has no begin-of-sequence token, or the template refuses it.
        """
        return self._reader.ids(prompt)

    def answer_asks(
        self, asks: Sequence[Ask], *, sampling: Sampling, seed: int | None, watch: Watch = NO_WATCH
    ) -> list[Completion]:
        """One completion for each ask, in order; those of one prompt are computed together, short prompts first."""
        seed = secrets.randbits(62) if seed is None else seed
        ids = _by_prompt((ask.prompt for ask in asks), self.prompt_ids)
        room = [self._room(tokens, sampling.max_tokens) for tokens in ids]
        answers: dict[int, Completion] = {}
        order = sorted(range(len(asks)), key=lambda i: (-room[i], len(ids[i]), ids[i], i))
        for batch in batches(order, self.batch_size, lambda i: room[i]):
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
        input_ids, mask = left_padded(prompts, self._pad_id, self.device)
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
        with nothing_configured(self.model):
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
        ends = completion_ids(self.tokenizer, completions, [bool(prompt) for prompt in prompts])
        return self.token_logprobs(starts, ends)

    def token_logprobs(
        self, prompts: Sequence[list[int]], completions: Sequence[list[int]], read: Read = log_probabilities
    ) -> list[np.ndarray]:
        """``logprobs`` on token ids; prompts have at least one token.

        Args:
            prompts: token ids, one list a completion.
            completions: token ids.
            read: what to keep instead of log-probabilities: it is handed the (tokens, vocabulary) logits of one
                completion and its token ids, and gives an array.

        Raises:
            BadInput: a prompt with its completion is longer than the context.
        """
        for start, end in zip(prompts, completions, strict=True):
            if self.context is not None and len(start) + len(end) > self.context:
                raise BadInput(
                    f"{self.name}: the prompt has {len(start)} tokens and the completion {len(end)}, the model takes "
                    f"{self.context} together; shorten them, or use a model with a longer context"
                )
        return Scorer(self.model, self._pad_id, self.batch_size, self.share_prompts, read).score(prompts, completions)

    def _shared_prefix(self, prompts: list[list[int]]) -> dict[str, Any]:
        """A cache of all but the last token of every prompt, each distinct prompt computed once."""
        distinct = list(runs(range(len(prompts)), lambda i: prompts[i]))
        if not self.share_prompts or len(distinct) == len(prompts) or min(map(len, prompts)) < 2:
            return {}
        cache = prefill(self.model, [prompts[rows[0]][:-1] for rows in distinct], self._pad_id)
        which = [k for k, rows in enumerate(distinct) for _ in rows]
        cache.batch_select_indices(torch.tensor(which, device=self.device))
        return {"past_key_values": cache}

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
