"""Whether a model predicts the next token: the only kind whose loss, KL and curvature mean what lalora says they do."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor, nn

from lalora.adapter import base_config, base_model
from lalora.errors import LaloraError

_OTHER_TASKS = (
    "ForMaskedLM",
    "ForPreTraining",
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForQuestionAnswering",
    "ForMultipleChoice",
    "ForNextSentencePrediction",
)
_LOOKED_AT = 8
# By how much of what it moves the last logits another last token may move earlier ones: experts that group their tokens
# in another way round otherwise (seen: 7e-8). Of a BERT with random weights it was 1.5e-3, of a trained one far more.
_ROUNDING = {torch.float16: 0.01, torch.bfloat16: 0.02}
_ROUNDING_OF_FLOAT = 3e-4

_known: weakref.WeakSet[nn.Module] = weakref.WeakSet()


def require_next_token(model: nn.Module, batch: dict[str, Tensor], where: str) -> None:
    """Refuse a model whose logits at a position are no prediction of the next token from what came before.

    Its class and configuration are asked first. Then it is tried, once a model: another last token must leave the
    logits at earlier positions as they are. Call it where dropout is off.

    Args:
        model: A model, with or without an adapter.
        batch: A checked batch; the first tokens of its first row are used.
        where: Name of the dataset, for the message.

    Raises:
        LaloraError: If it is of another kind.
    """
    base = base_model(model)
    if base in _known:
        return
    require_decoder(base)
    if set(batch) <= {"input_ids", "attention_mask", "labels", "position_ids"} and _sees_the_future(model, batch):
        raise LaloraError(
            f"{where}: {type(base).__name__} sees tokens that come later, so it does not predict the next one: lalora "
            "serves causal language models only (for BERT-like ones, is_decoder=True in the configuration makes one)"
        )
    _known.add(base)


def require_decoder(base: nn.Module) -> None:
    """Refuse a model that its class or configuration tells to be of another kind.

    Args:
        base: A model without an adapter.

    Raises:
        LaloraError: If it is an encoder–decoder, a classifier, a masked language model, or has no language head.
    """
    name, config = type(base).__name__, base_config(base)
    task = next((task for task in _OTHER_TASKS if name.endswith(task)), None)
    head = getattr(base, "get_output_embeddings", lambda: None)()
    if getattr(config, "is_encoder_decoder", False) or task or head is None:
        kind = "an encoder–decoder" if getattr(config, "is_encoder_decoder", False) else "no causal language model"
        raise LaloraError(f"{name} is {kind}: lalora serves models that predict the next token (…ForCausalLM)")


@torch.no_grad()
def _sees_the_future(model: nn.Module, batch: dict[str, Tensor]) -> bool:
    length = min(_LOOKED_AT, int(batch["attention_mask"][0].sum()))
    if length < 2:
        return False
    ids = batch["input_ids"][:1, :length]
    other = ids.clone()
    other[0, -1] = next((one for one in ids[0].tolist() if one != ids[0, -1]), 0)
    if other[0, -1] == ids[0, -1]:
        return False
    whole: Any = model
    inputs = {"attention_mask": torch.ones_like(ids), "use_cache": False}
    logits: Tensor = whole(input_ids=ids, **inputs).logits
    moved = (whole(input_ids=other, **inputs).logits.double() - logits.double()).square()
    rounding = _ROUNDING.get(next(model.parameters()).dtype, _ROUNDING_OF_FLOAT)
    return bool(moved[:, :-1].mean() > rounding**2 * moved[:, -1].mean())
