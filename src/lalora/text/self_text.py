"""Proxy text for a user who has no source data: what the base model itself writes."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from lalora.errors import LaloraError
from lalora.files import write_atomically
from lalora.switched_off import why_not_base
from lalora.text.tokens import Item
from lalora.undisturbed import undisturbed

_ROWS_AT_ONCE = 8


def sample_text(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    rows: int,
    length: int = 128,
    temperature: float = 1.0,
    seed: int = 0,
) -> list[Item]:
    """Let the base model write, from its start-of-text token on.

    The model and the random state leave as they came; an adapter is switched off meanwhile.

    Args:
        model: A causal language model, with or without an adapter.
        tokenizer: Of the model.
        rows: How many texts.
        length: Most tokens of each, the first included.
        temperature: T > 0: tokens are drawn from softmax(logits / T), of the whole vocabulary.
        seed: Of the draws.

    Returns:
        One dict of `input_ids` and `labels` a text; all but the first token is completion.

    Raises:
        LaloraError: If the tokenizer knows neither a first nor a last token, or switching the adapter off does not give
            the base model.
    """
    reason = why_not_base(model) if isinstance(model, PeftModel) else None
    if reason is not None:
        raise LaloraError(f"with its adapter switched off this model is not its base model, since {reason}")
    first = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    if first is None:
        raise LaloraError("the tokenizer has neither a bos nor an eos token to begin a text with: set bos_token")
    base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    # The model's own may penalise repetitions or leave out what is unlikely; generate() would fill gaps from it.
    settings = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=True,
        temperature=temperature,
        top_k=0,
        top_p=1.0,
        max_new_tokens=length - 1,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    items: list[Item] = []
    with (
        undisturbed(model),
        model.disable_adapter() if isinstance(model, PeftModel) else nullcontext(),
    ):
        torch.manual_seed(seed)
        own, base.generation_config = base.generation_config, settings
        try:
            while len(items) < rows:
                count = min(_ROWS_AT_ONCE, rows - len(items))
                written = base.generate(
                    torch.full((count, 1), first, device=model.device),
                    attention_mask=torch.ones(count, 1, dtype=torch.long, device=model.device),
                )
                items += [_item(ids, tokenizer.eos_token_id) for ids in written.tolist()]
        finally:
            base.generation_config = own
    return items


def write_text(path: Path, items: list[Item], tokenizer: PreTrainedTokenizerBase, **made: Any) -> None:
    """Keep sampled text as JSON Lines: how it was made, then a text a line.

    Args:
        path: The file.
        items: What `sample_text` returned.
        tokenizer: Of the model.
        **made: How, in JSON types.
    """
    lines = [made, *({"text": tokenizer.decode(item["input_ids"]), "input_ids": item["input_ids"]} for item in items)]
    write_atomically(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode())


def read_text(path: Path) -> list[Item]:
    """Read what `write_text` kept.

    Args:
        path: The file.

    Returns:
        The items.

    Raises:
        LaloraError: If the file is no such file.
    """
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[1:-1]]
        return [_labelled([int(token) for token in line["input_ids"]]) for line in lines]
    except (ValueError, KeyError, TypeError) as error:
        raise LaloraError(f"{path} holds no sampled text: delete it to have it sampled again") from error


def _item(ids: list[int], end: int | None) -> Item:
    # What follows the end is padding; the first token may be the same one.
    last = ids.index(end, 1) + 1 if end is not None and end in ids[1:] else len(ids)
    return _labelled(ids[:last])


def _labelled(ids: list[int]) -> Item:
    return {"input_ids": ids, "labels": [-100, *ids[1:]]}
