"""Examples as token ids: the prompt of a pair once, completions with the end of the sequence, and what was cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from polyculture.align.data.examples import Example, Number, Rejected, prompt_text
from polyculture.align.data.ragged import Ragged
from polyculture.align.data.splitting import as_turn
from polyculture.errors import BadInput
from polyculture.llm.base import as_messages
from polyculture.llm.chat import PromptReader, completion_ids
from polyculture.llm.framing import start_token
from polyculture.progress import Progress, silent
from polyculture.wording import counted

BLOCK = 1024


@dataclass(frozen=True)
class Encoded:
    """One example as token ids.

    Args:
        prompt: ids of the prompt, one or more.
        completions: ids of each completion, the end of the sequence included unless it was cut.
        numbers: columns of numbers.
        desirable: of labels, whether the completion is wanted.
        place: where it comes from.
    """

    prompt: list[int]
    completions: tuple[list[int], ...]
    numbers: Mapping[str, Number]
    desirable: bool = True
    place: str = ""


class EncodedExamples(Sequence[Encoded]):
    """Many examples, their tokens held as one array and made into lists when an example is asked for.

    Args:
        examples: may be a generator, so that they are never all there as lists.
    """

    def __init__(self, examples: Iterable[Encoded]) -> None:
        self._rest: list[tuple[Mapping[str, Number], bool, str]] = []
        self.tokens = Ragged(self._taken(examples), np.int32)

    def _taken(self, examples: Iterable[Encoded]) -> Iterator[Sequence[list[int]]]:
        for example in examples:
            self._rest.append((example.numbers, example.desirable, example.place))
            yield (example.prompt, *example.completions)

    def __len__(self) -> int:
        return len(self.tokens)

    @overload
    def __getitem__(self, index: int) -> Encoded: ...

    @overload
    def __getitem__(self, index: slice) -> list[Encoded]: ...

    def __getitem__(self, index: int | slice) -> Any:
        """An example; of a slice, a list of them."""
        which = range(len(self))[index]
        if isinstance(which, range):
            return [self[i] for i in which]
        prompt, *completions = (ids.tolist() for ids in self.tokens[which])
        return Encoded(prompt, tuple(completions), *self._rest[which])

    def prompt(self, index: int) -> np.ndarray:
        """The ids of an example's prompt."""
        return self.tokens[index][0]

    def labels(self) -> set[bool]:
        """Which of wanted (true) and unwanted there are."""
        return {desirable for _, desirable, _ in self._rest}


@dataclass(frozen=True)
class Cuts:
    """What did not fit: how many prompts were cut at the start, how many completions at the end, and how many tokens.

    Args:
        max_length: most tokens of prompt and completion.
        prompts: prompts cut.
        completions: completions cut; these do not end with the end of the sequence.
        tokens: tokens lost.
    """

    max_length: int
    prompts: int = 0
    completions: int = 0
    tokens: int = 0

    def __add__(self, other: Cuts) -> Cuts:
        prompts, completions = self.prompts + other.prompts, self.completions + other.completions
        return Cuts(self.max_length, prompts, completions, self.tokens + other.tokens)

    def __str__(self) -> str:
        if not self.tokens:
            return f"nothing was cut: all fit {self.max_length} tokens"
        return (
            f"cut to fit {self.max_length} tokens: {counted(self.prompts, 'prompt')} at the start and "
            f"{counted(self.completions, 'completion')} at the end, {counted(self.tokens, 'token')} in all"
        )


@dataclass(frozen=True)
class Encoder:
    """Turns examples into token ids.

    Plain prompts are tokenised as they are, with the tokenizer's special tokens; chat messages go through its chat
    template. A completion is tokenised apart from its prompt, as text that goes on from another, so that the prompt's
    tokens are those that the policy will be asked with, and ends with the end-of-sequence token.

    Args:
        tokenizer: a transformers tokenizer.
        max_length: most tokens of a prompt and a completion. Completions are cut at the end to what half of it, or a
            shorter prompt, leaves; then prompts at the start.

    Raises:
        BadInput: the tokenizer has no end-of-sequence token, or max_length leaves no room for a prompt and an answer.
    """

    tokenizer: Any
    max_length: int = 1024

    def __post_init__(self) -> None:
        if self.tokenizer.eos_token_id is None:
            raise BadInput(
                "the tokenizer has no end-of-sequence token, so the policy would never learn to stop; set "
                "tokenizer.eos_token to one of its tokens and save it with the model"
            )
        if self.max_length < 2:
            raise BadInput(f"max_length should leave room for a prompt and a completion, not be {self.max_length}")

    def encode(
        self, examples: Sequence[Example], progress: Progress = silent
    ) -> tuple[EncodedExamples, list[Rejected], Cuts]:
        """The examples as token ids, those that can't be used any more with the reason, and what was cut.

        Args:
            examples: what to encode.
            progress: told the examples.

        Raises:
            BadInput: the chat template refuses an example, or none is left.
        """
        rejected: list[Rejected] = []
        cut = [0, 0, 0]
        encoded = EncodedExamples(self._encoded(examples, rejected, cut, progress))
        if not encoded:
            raise BadInput(
                f"no example is left: {rejected[0].place}: {rejected[0].reason}" if rejected else "there is no example"
            )
        return encoded, rejected, Cuts(self.max_length, *cut)

    def _encoded(
        self, examples: Sequence[Example], rejected: list[Rejected], cut: list[int], progress: Progress
    ) -> Iterator[Encoded]:
        for start in range(0, len(examples), BLOCK):
            block = examples[start : start + BLOCK]
            for example, prompt, completions in zip(block, self._prompts(block), self._completions(block), strict=True):
                prompt, kept = self._fit(prompt, completions, cut)
                if len(kept) == 2 and kept[0] == kept[1]:
                    reason = f"chosen and rejected are the same tokens when cut to {self.max_length}"
                    shown = dict(zip(("chosen", "rejected"), example.texts(), strict=True))
                    rejected.append(Rejected(example.place, reason, {"prompt": prompt_text(example.prompt), **shown}))
                    continue
                yield Encoded(prompt, tuple(kept), example.numbers, example.desirable, example.place)
            progress("reading tokens", start + len(block), len(examples))

    def _prompts(self, block: Sequence[Example]) -> list[list[int]]:
        reader = PromptReader(self.tokenizer, chat=False, name="the tokenizer")
        keys = [repr(example.prompt) for example in block]
        distinct = {key: example.prompt for key, example in zip(keys, block, strict=True) if example.prompt}
        known = dict(zip(distinct, reader.all_ids(list(distinct.values())), strict=True))
        return [known[key] if key in known else [start_token(self.tokenizer)] for key in keys]

    def _completions(self, block: Sequence[Example]) -> list[list[list[int]]]:
        texts = [text for example in block for text in self._written(example)]
        after = [bool(example.prompt) for example in block for _ in example.completions]
        ids = completion_ids(self.tokenizer, texts, after)
        end = self.tokenizer.eos_token_id
        flat = iter(one if end in one[-2:] else [*one, end] for one in ids)
        return [[next(flat) for _ in example.completions] for example in block]

    def _written(self, example: Example) -> list[str]:
        """The completions as they stand in the text that the model is given, the prompt left out."""
        plain = [one for one in example.completions if isinstance(one, str)]
        if len(plain) == len(example.completions):
            return plain
        if not getattr(self.tokenizer, "chat_template", None):
            return [f" {text}" for text in example.texts()]  # a transcript's turn, after "Assistant:"
        asked = as_messages(example.prompt)

        def written(turns: list[dict[str, str]], answer_next: bool) -> str:
            try:
                text: str = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=answer_next)
            except Exception as error:  # a template raises whatever it likes, most often jinja2's TemplateError
                raise BadInput(f"{example.place}: the chat template refuses the messages: {error}") from error
            return text

        before = written(asked, True)
        found = []
        for completion in example.completions:
            turns = as_turn(completion) if isinstance(completion, str) else completion
            whole = written([*asked, *map(dict, turns)], False)
            if not whole.startswith(before):
                raise BadInput(
                    f"{example.place}: with the answer, the chat template writes the prompt differently than without "
                    "it, so the tokens of the answer can't be told; use a template whose generation prompt begins the "
                    "answer"
                )
            found.append(whole[len(before) :])
        return found

    def _fit(self, prompt: list[int], completions: list[list[int]], cut: list[int]) -> tuple[list[int], list[Any]]:
        room = self.max_length - min(len(prompt), self.max_length // 2)
        kept = [one[:room] for one in completions]
        longest = max((len(one) for one in kept), default=0)
        shown = prompt[max(0, len(prompt) + longest - self.max_length) :]
        cut[0] += len(shown) < len(prompt)
        cut[1] += sum(len(a) < len(b) for a, b in zip(kept, completions, strict=True))
        cut[2] += len(prompt) - len(shown) + sum(map(len, completions)) - sum(map(len, kept))
        return shown, kept
