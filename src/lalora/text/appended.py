"""Tokenizers that append a token to every text, which would end each prompt and stand twice behind each answer."""

import copy

from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerBase

from lalora.errors import LaloraError

_PROBES = ("a", "0", "the")


def added(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Find out what a tokenizer adds to a text.

    Args:
        tokenizer: of any model.

    Returns:
        The tokens that it prepends and those that it appends.

    Raises:
        LaloraError: it changes the text's own tokens besides.
    """
    for probe in _PROBES:
        whole, own = (list(tokenizer.encode(probe, add_special_tokens=special)) for special in (True, False))
        for start in range(len(whole) - len(own) + 1):
            if own and whole[start : start + len(own)] == own:
                return whole[:start], whole[start + len(own) :]
    raise LaloraError(
        f"{type(tokenizer).__name__} puts special tokens inside a text, so that prompt and answer cannot be told apart"
    )


def without_appended(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Make a tokenizer that prepends what this one does and appends nothing.

    Args:
        tokenizer: the model's own, which stays as it is.

    Returns:
        The tokenizer itself where it appends nothing.

    Raises:
        LaloraError: it appends something and is not of the tokenizers library, where that can be changed.
    """
    before, after = added(tokenizer)
    if not after:
        return tokenizer
    names = tokenizer.convert_ids_to_tokens([*before, *after])
    if not tokenizer.is_fast:
        raise LaloraError(
            f"{type(tokenizer).__name__} appends {', '.join(names[len(before) :])} to every text, prompts included: "
            "load it with add_eos_token=False"
        )
    bare = copy.deepcopy(tokenizer)
    special = [(name, token) for name, token in zip(names, before, strict=False)]
    bare.backend_tokenizer.post_processor = TemplateProcessing(
        single=[*(name for name, _ in special), "$A"], special_tokens=list(dict(special).items())
    )
    return bare
