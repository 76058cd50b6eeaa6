"""How a prompt becomes the tokens a transformers model sees: chat template, plain transcript, or the text itself."""

from __future__ import annotations

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
        text, from_template = self._rendered(prompt)
        # A template writes its own special tokens; adding them again would begin the sequence twice.
        ids = list(self.tokenizer(text, add_special_tokens=not from_template)["input_ids"])
        eos = self.tokenizer.eos_token
        if not from_template and eos and ids[-1:] == [self.tokenizer.eos_token_id] and not text.endswith(eos):
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
