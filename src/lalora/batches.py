"""The one door for batches: what reaches a model for a fit, a measurement or a penalty comes through here."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lalora.adapter import base_config, base_model
from lalora.errors import LaloraError

Batch = Mapping[str, Tensor]

# What collators add for packed rows, whichever of them the model would understand.
_PACKING = (
    "cu_seqlens", "cu_seq_lens", "cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k", "seq_lengths",
    "seq_idx", "segment_ids", "sequence_ids", "document_ids", "doc_ids", "packed_seq_lens",
)  # fmt: skip
# What tokenizers and collators leave beside the inputs, and what says nothing about them.
_HARMLESS = (
    "num_items_in_batch", "special_tokens_mask", "offset_mapping", "length", "lengths", "num_tokens", "idx", "index",
    "id", "ids", "row_id", "__index_level_0__",
)  # fmt: skip
# What trainers make labels of: 0 where there is no loss.
_LOSS_MASKS = ("completion_mask", "assistant_masks", "loss_mask")
# Arguments of a forward pass that would change what is computed, and not what is read.
_NO_INPUTS = (
    "labels", "past_key_values", "inputs_embeds", "use_cache", "output_attentions", "output_hidden_states",
    "return_dict", "logits_to_keep", "num_logits_to_keep", "cache_position", "cache_params", "kwargs", "self",
)  # fmt: skip


def checked(batch: Any, where: str, model: nn.Module) -> dict[str, Tensor]:
    """Check one batch, bring it into one form, and move it to the model's device.

    Left padding is moved to the right edge, so that no visible token is predicted from a hidden position and positions
    begin at zero. Lists and arrays become tensors; a single row without a batch dimension becomes a batch of one.
    """
    if not isinstance(batch, Mapping):
        raise LaloraError(f"{where}: a batch must be a dict of tensors, not {type(batch).__name__}")
    missing = [key for key in ("input_ids", "labels") if batch.get(key) is None]
    if missing:
        raise LaloraError(f"{where}: the batch has no '{missing[0]}', only {sorted(map(str, batch))}")
    understood = _understood(model)
    tensors = {
        key: _tensor(value, key, where)
        for key, value in batch.items()
        if value is not None and _is_input(key, value, understood, where)
    }
    positions = None if batch.get("position_ids") is None else _tensor(batch["position_ids"], "position_ids", where)
    if tensors["input_ids"].dim() == 1:
        tensors = {key: value.unsqueeze(0) if value.dim() else value for key, value in tensors.items()}
        positions = None if positions is None else positions.unsqueeze(0)
    ids, labels = tensors.pop("input_ids"), tensors.pop("labels")
    mask = tensors.pop("attention_mask", torch.ones_like(ids))
    if not ids.shape == labels.shape == mask.shape or ids.dim() != 2:
        shapes = f"{tuple(ids.shape)}, {tuple(labels.shape)}, {tuple(mask.shape)}"
        raise LaloraError(f"{where}: input_ids, labels, attention_mask must all be (rows, length), not {shapes}")
    ids, labels, shown = _whole(ids, "input_ids", where), _whole(labels, "labels", where), _shown(mask, where)
    labels = labels.masked_fill(~shown, -100)
    _require_tokens(ids, labels, shown, where, model)
    ids = ids.masked_fill(~shown & ((ids < 0) | (ids >= vocabulary(model)[0])), 0)
    whole = {"input_ids": ids, "labels": labels, "attention_mask": shown.long(), **tensors}
    for key in tensors:
        _require_rows(key, whole, where)
    for key in _LOSS_MASKS:
        if key in whole:
            _require_agreement(key, whole.pop(key), labels, where)
    if positions is not None:
        _require_unpacked(positions, shown, where)
        if "position_ids" not in whole and not _counted(positions, shown):
            raise LaloraError(f"{where}: this model takes no position_ids and counts its own: leave them out")
    device = next(model.parameters()).device
    return {key: value.to(device) for key, value in _left_aligned(whole).items()}


def with_completion(batch: Batch) -> dict[str, Tensor]:
    """Leave out rows without a completion token: they say nothing, and must not depend on their neighbours."""
    kept = (batch["labels"][:, 1:] != -100).any(dim=1)
    return dict(batch) if bool(kept.all()) else _selected(batch, kept)


def rows(batch: Batch) -> Iterator[dict[str, Tensor]]:
    """Split a batch into batches of one row."""
    count = batch["input_ids"].shape[0]
    for index in range(count):
        yield dict(batch) if count == 1 else _selected(batch, slice(index, index + 1))


def _understood(model: nn.Module) -> set[str]:
    return set(inspect.signature(base_model(model).forward).parameters) - set(_NO_INPUTS)


def _is_input(key: Any, value: Any, understood: set[str], where: str) -> bool:
    if key in ("input_ids", "labels", "attention_mask", *_LOSS_MASKS):
        return True
    if key in _PACKING:
        raise LaloraError(f"{where}: rows are packed ('{key}'); give one sequence a row, so turn packing off here")
    if key in understood:
        return True
    # Tokenizers and collators give positions and types to every model; one without a use for them computes its own.
    if key in (*_HARMLESS, "position_ids", "token_type_ids") or _is_text(value):
        return False
    if key in _NO_INPUTS and isinstance(value, bool):  # switches that a fit sets itself
        return False
    raise LaloraError(
        f"{where}: '{key}' is no input of this model, and whether it changes what a row means is not known: leave it "
        "out of the batch"
    )


def _is_text(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(one is None or _is_text(one) for one in value)
    if isinstance(value, Mapping):  # notes about a row; no forward takes them
        return not any(isinstance(one, Tensor | np.ndarray) for one in value.values())
    return isinstance(value, str | bytes) or (isinstance(value, np.ndarray) and value.dtype.kind in "US")


def _tensor(value: Any, key: str, where: str) -> Tensor:
    try:
        if isinstance(value, Tensor):
            if value.is_nested or value.layout != torch.strided:
                raise ValueError("it is not dense")
            return value.detach()
        if isinstance(value, list | tuple) and any(isinstance(one, Tensor) for one in value):
            return torch.stack([torch.as_tensor(one) for one in value])
        return torch.tensor(np.asarray(value))
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise LaloraError(
            f"{where}: '{key}' is no tensor and cannot become one: give numbers, rows of one length (pad them)"
        ) from error


def _whole(value: Tensor, key: str, where: str) -> Tensor:
    if value.is_floating_point() or value.is_complex() or value.dtype == torch.bool:
        raise LaloraError(f"{where}: '{key}' must hold whole numbers, not {str(value.dtype).removeprefix('torch.')}")
    return value.long()


def _shown(mask: Tensor, where: str) -> Tensor:
    shown = mask != 0
    if bool((mask[shown] != 1).any()):
        raise LaloraError(
            f"{where}: attention_mask holds {_first(mask, shown & (mask != 1))}, not only 0 and 1; if it numbers the "
            "segments of packed rows, turn packing off here"
        )
    runs = (shown[:, 1:] & ~shown[:, :-1]).sum(dim=1) + shown[:, :1].sum(dim=1)
    if bool((runs > 1).any()):
        row = int(runs.argmax())
        raise LaloraError(f"{where}, row {row}: attention_mask hides positions between visible ones; leave them out")
    return shown


def _require_tokens(ids: Tensor, labels: Tensor, shown: Tensor, where: str, model: nn.Module) -> None:
    embedded, predicted = vocabulary(model)
    wrong = shown & ((ids < 0) | (ids >= embedded))
    if bool(wrong.any()):
        row = int(wrong.any(dim=1).nonzero()[0])
        raise LaloraError(
            f"{where}, row {row}: input_ids holds {_first(ids, wrong)}, and the model has {embedded} tokens: use its "
            "own tokenizer"
        )
    wrong = (labels != -100) & ((labels < 0) | (labels >= predicted))
    if bool(wrong.any()):
        row = int(wrong.any(dim=1).nonzero()[0])
        raise LaloraError(
            f"{where}, row {row}: a label is -100 or one of the model's {predicted} tokens, not {_first(labels, wrong)}"
        )


def vocabulary(model: nn.Module) -> tuple[int, int]:
    """Count the tokens of a model."""
    base: Any = base_model(model)
    settings = base_config(model).get_text_config()
    embedding, head = base.get_input_embeddings(), base.get_output_embeddings()
    embedded = int(getattr(embedding, "num_embeddings", settings.vocab_size))
    return embedded, int(getattr(head, "out_features", embedded))


def _require_rows(key: str, batch: Batch, where: str) -> None:
    count, length = batch["input_ids"].shape
    value = batch[key]
    by_row = value.dim() == 0 or value.shape[0] == count or value.shape[-2:] == (count, length)
    if not by_row and count > 1:
        raise LaloraError(
            f"{where}: '{key}' has shape {tuple(value.shape)}, which cannot be split into {count} rows: give one row a "
            "batch"
        )


def _require_unpacked(positions: Tensor, shown: Tensor, where: str) -> None:
    if positions.shape[-2:] != shown.shape or positions.dim() > 3:
        raise LaloraError(f"{where}: position_ids has shape {tuple(positions.shape)}, not (rows, length)")
    # Of positions in time, height and width the first stays where it is within an image.
    plain = positions.dim() == 2
    steps = (positions if plain else positions[0]).long().diff(dim=1)
    if bool((shown[:, 1:] & shown[:, :-1] & (steps < int(plain))).any()):
        raise LaloraError(
            f"{where}: rows are packed (position_ids start again); give one sequence a row, so turn packing off here"
        )


def _counted(positions: Tensor, shown: Tensor) -> bool:
    neighbours = shown[:, 1:] & shown[:, :-1]
    return positions.dim() == 2 and bool((positions.long().diff(dim=1)[neighbours] == 1).all())


def _require_agreement(key: str, kept: Tensor, labels: Tensor, where: str) -> None:
    if kept.shape != labels.shape or bool(((kept != 0) & (kept != 1)).any()):
        raise LaloraError(f"{where}: '{key}' must be 0 and 1 for each token: leave it out, or give it so")
    if bool(((kept == 0) & (labels != -100)).any()):
        raise LaloraError(f"{where}: labels count where '{key}' is 0: set these labels to -100")


def _left_aligned(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    shown = batch["attention_mask"].bool()
    first = shown.int().argmax(dim=1)
    if not bool(first.any()):
        return batch
    count, length = shown.shape
    order = (torch.arange(length, device=shown.device) + first.unsqueeze(1)) % length
    moved = {}
    for key, value in batch.items():
        if value.dim() >= 2 and value.shape[:2] == (count, length):
            index = order.to(value.device).view(count, length, *[1] * (value.dim() - 2)).expand_as(value)
            moved[key] = value.gather(1, index)
        elif value.dim() > 2 and value.shape[-2:] == (count, length):
            moved[key] = value.gather(-1, order.to(value.device).expand_as(value))
        else:
            moved[key] = value
    return moved


def _selected(batch: Batch, kept: Tensor | slice) -> dict[str, Tensor]:
    count = batch["input_ids"].shape[0]
    chosen = {}
    for key, value in batch.items():
        if value.dim() == 0:
            chosen[key] = value
        elif value.shape[0] == count:
            chosen[key] = value[kept]
        else:
            chosen[key] = value[..., kept, :]
    return chosen


def _first(values: Tensor, wrong: Tensor) -> int | float:
    found: int | float = values[wrong][0].item()
    return found
