"""What a tokenizer does to rows and conversations."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from lalora.errors import LaloraError, first_sentence
from lalora.text.appended import added
from lalora.text.chat import chat

_CONVERSATION = [
    {"role": "user", "content": "How much is one and one?"},
    {"role": "assistant", "content": "It is two."},
]


@dataclass(frozen=True)
class Tokens:
    """A tokenizer.

    Attributes:
        pad: The token that it pads with; None where it has none.
        pad_is_end: Whether that is its end-of-text token.
        padding_side: `left` or `right`.
        chat_template: Whether it has one.
        answers: How the assistant's tokens of a conversation are told: `marked` by the template, `told apart` by
            comparing prompts with and without the answer, `all` where neither works and every token counts, or why a
            conversation cannot be encoded.
        appended: What it appends to every text, which lalora leaves out.
    """

    pad: str | None
    pad_is_end: bool
    padding_side: str
    chat_template: bool
    answers: str
    appended: tuple[str, ...]

    def __str__(self) -> str:
        """Tell it in a line."""
        pads = f"pads with {self.pad}" if self.pad else "has no token to pad with"
        pads += ", its end-of-text token" if self.pad_is_end else ""
        if not self.chat_template:
            template = "no chat template: conversations are refused"
        else:
            template = "chat template: " + {
                "marked": "it says which tokens are the assistant's, and only these count",
                "told apart": "it does not say which tokens are the assistant's, but lalora can tell; only these count",
                "all": "which tokens are the assistant's cannot be told, so every token of a conversation counts",
            }.get(self.answers, self.answers)
        ends = f"; appends {', '.join(self.appended)}, which is left out" if self.appended else ""
        return f"{pads}, on the {self.padding_side}; {template}{ends}"


def tokens_of(tokenizer: PreTrainedTokenizerBase) -> Tokens:
    """Ask a tokenizer, with a conversation of two messages."""
    try:
        appended = tuple(str(token) for token in tokenizer.convert_ids_to_tokens(added(tokenizer)[1]))
    except LaloraError as error:
        appended = (first_sentence(error),)
    pad = tokenizer.pad_token
    return Tokens(
        None if pad is None else str(pad),
        pad is not None and pad == tokenizer.eos_token,
        str(tokenizer.padding_side),
        bool(tokenizer.chat_template),
        _answers(tokenizer) if tokenizer.chat_template else "",
        appended,
    )


def _answers(tokenizer: PreTrainedTokenizerBase) -> str:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            labels = chat(_CONVERSATION, tokenizer, "a conversation")["labels"]
        except LaloraError as error:
            return str(error)
    if any("all tokens of a conversation count" in str(one.message) for one in said):
        return "all"
    if all(label == -100 for label in labels):
        return "no token of the assistant is found in a conversation"
    return "marked" if re.search(r"\{%-?\s*generation\b", str(tokenizer.chat_template)) else "told apart"
