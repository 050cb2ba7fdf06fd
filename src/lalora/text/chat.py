"""Conversations as tokens, by the tokenizer's chat template; what the assistant says is learned."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from lalora.errors import LaloraError, one_line, warn
from lalora.text.tokens import Item, meeting

Messages = Sequence[Mapping[str, Any]]


def chat(messages: Messages, tokenizer: PreTrainedTokenizerBase, where: str, tools: Any = None) -> Item:
    """Encode a conversation.

    Labels are the tokens that the template marks as the assistant's; where it marks none, what it adds from the prompt
    for an answer to the end of that answer; and where that cannot be told apart either, all tokens, with a warning.
    """
    template = _Template(tokenizer, where, tools)
    if re.search(r"\{%-?\s*generation\b", str(tokenizer.chat_template)):
        return template.marked(messages)
    ids = template.ids(messages)
    turns = [number for number, message in enumerate(messages) if message.get("role") == "assistant"]
    labels = [-100] * len(ids)
    for turn in turns:
        before = template.ids(messages[:turn], answers=True) if turn else []
        after = template.ids(messages[: turn + 1])
        if ids[: len(before)] != before or ids[: len(after)] != after:
            warn(
                "the chat template neither marks the assistant's tokens ({% generation %}) nor lets them be told "
                "apart: all tokens of a conversation count"
            )
            return {"input_ids": ids, "labels": list(ids)}
        labels[len(before) : len(after)] = ids[len(before) : len(after)]
    return {"input_ids": ids, "labels": labels}


def answer(
    prompt: Messages, completion: Messages, tokenizer: PreTrainedTokenizerBase, where: str, tools: Any = None
) -> Item:
    """Encode a conversation of which the last messages are learned."""
    template = _Template(tokenizer, where, tools)
    before, ids = template.ids(prompt, answers=True), template.ids([*prompt, *completion])
    start = meeting(before, ids)
    return {"input_ids": ids, "labels": [-100] * start + ids[start:]}


class _Template:
    def __init__(self, tokenizer: PreTrainedTokenizerBase, where: str, tools: Any) -> None:
        if not tokenizer.chat_template:
            raise LaloraError(
                f"{where} is a conversation, and the tokenizer has no chat template: set tokenizer.chat_template, or "
                "give text"
            )
        self._tokenizer, self._where, self._tools = tokenizer, where, tools

    def ids(self, messages: Messages, answers: bool = False) -> list[int]:
        found: list[int] = self._applied(messages, add_generation_prompt=answers)["input_ids"]
        return found

    def marked(self, messages: Messages) -> Item:
        found = self._applied(messages, return_assistant_tokens_mask=True)
        kept = zip(found["input_ids"], found["assistant_masks"], strict=True)
        return {"input_ids": found["input_ids"], "labels": [token if own else -100 for token, own in kept]}

    def _applied(self, messages: Messages, **asked: Any) -> Any:
        try:
            return self._tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                tools=self._tools,
                tokenize=True,
                return_dict=True,
                **asked,
            )
        except Exception as error:  # templates are programs, and raise what they like
            raise LaloraError(f"{self._where}: the chat template does not take it: {one_line(error, 200)}") from error
