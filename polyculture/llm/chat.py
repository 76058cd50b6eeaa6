"""How texts become the tokens a transformers model sees.

A prompt goes through the chat template, is a plain transcript, or the text itself; a completion goes on from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from polyculture.errors import BadInput
from polyculture.llm.base import Prompt, as_messages, as_text


@dataclass(frozen=True)
class PromptReader:
    """Prompts as text and as token ids.

    Args:
        tokenizer: a transformers tokenizer.
        chat: whether a string is a user message; None: if the tokenizer has a chat template.
        name: of the model, for messages.
    """

    tokenizer: Any
    chat: bool | None
    name: str

    def text(self, prompt: Prompt) -> str:
        """The prompt as the model sees it, special tokens of the chat template included.

        Raises:
            BadInput: the chat template refuses the messages.
        """
        return self._rendered(prompt)[0]

    def ids(self, prompt: Prompt) -> list[int]:
        """The prompt's token ids, at least one.

        Raises:
            BadInput: the prompt is empty and the tokenizer has no begin-of-sequence token, or the template refuses it.
        """
        return self.all_ids([prompt])[0]

    def all_ids(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """The token ids of several prompts, as :meth:`ids` gives them, sooner than one by one.

        Raises:
            BadInput: as :meth:`ids`.
        """
        rendered = [self._rendered(prompt) for prompt in prompts]
        # A template writes its own special tokens, and some texts were written by one: adding them again would begin
        # the sequence twice.
        begin = self.tokenizer.bos_token
        bare = [from_template or bool(begin and text.startswith(begin)) for text, from_template in rendered]
        found: list[list[int]] = [[] for _ in rendered]
        for kind in (False, True):
            those = [i for i, one in enumerate(bare) if one == kind]
            texts = [rendered[i][0] for i in those]
            ids = self.tokenizer(texts, add_special_tokens=not kind)["input_ids"] if texts else []
            for i, one in zip(those, ids, strict=True):
                found[i] = self._open_ended(list(one), rendered[i][0], kind)
        return found

    def _open_ended(self, ids: list[int], text: str, bare: bool) -> list[int]:
        eos = self.tokenizer.eos_token
        if not bare and eos and ids[-1:] == [self.tokenizer.eos_token_id] and not text.endswith(eos):
            ids.pop()  # some tokenizers end every text; a prompt goes on
        if not ids and self.tokenizer.bos_token_id is None:
            raise BadInput(
                f"{self.name}: the prompt is empty and the tokenizer has no begin-of-sequence token; give text"
            )
        return ids or [self.tokenizer.bos_token_id]

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


def completion_ids(tokenizer: Any, texts: Sequence[str], after: Sequence[bool] | None = None) -> list[list[int]]:
    """Token ids of texts that go on from another one, without special tokens.

    SentencePiece and its like write a space before whatever they are given. Within a text there is none: a model that
    goes on from "Assistant: [" writes "Yes", not " Yes". So there the texts are tokenized behind a line break, and its
    tokens are left out.

    Args:
        tokenizer: a transformers tokenizer.
        texts: the texts.
        after: whether there is anything before each; None says there is before all.
    """

    def plain(those: Sequence[str]) -> list[list[int]]:
        return [list(ids) for ids in tokenizer(list(those), add_special_tokens=False)["input_ids"]] if those else []

    before, alone, behind = plain(["\n", "a", "\na"])
    size = len(before)
    if behind[:size] != before or behind[size:] == alone:
        return plain(texts)
    goes_on = [True] * len(texts) if after is None else after
    found = plain([f"\n{text}" if on else text for text, on in zip(texts, goes_on, strict=True)])
    for i, on in enumerate(goes_on):
        if on:  # a line break may be one token with what follows
            found[i] = found[i][size:] if found[i][:size] == before else plain([texts[i]])[0]
    return found
