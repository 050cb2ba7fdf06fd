"""`lalora.check`: will lalora work with this model?"""

from __future__ import annotations

import dataclasses
import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from lalora.adapter import base_config, base_model, base_name, has_adapter, peft_model
from lalora.batches import vocabulary
from lalora.checking._fits import Fit, tried_fits
from lalora.checking._layers import Layers, layers_of
from lalora.checking._rows import batch_of, drawn_rows
from lalora.checking._side_by_side import Difference, SideBySide
from lalora.checking._tokens import Tokens, tokens_of
from lalora.errors import LaloraError, one_line
from lalora.laplace import adapted_layers, fingerprint, target_layers
from lalora.next_token import require_next_token
from lalora.undisturbed import random_state_kept

RANK = 16


@dataclass(frozen=True)
class Checked:
    """What was found of a model.

    Attributes:
        name: The model.
        refused: What would be refused or wrong, in a line each; empty where everything works.
        kind: Class of the model, number and types of its weights, attention implementation, device.
        weight_bytes: Size of its weights and buffers in memory.
        tokens: What its tokenizer does.
        layers: What a fit listens to; None where it was not got that far.
        right: Rows alone against a batch padded on the right, as lalora pads; None where it was not got that far.
        left: The same padded on the left, as some trainers pad.
        fits: The fits that were tried.
    """

    name: str
    refused: tuple[str, ...]
    kind: str
    weight_bytes: int
    tokens: Tokens
    layers: Layers | None = None
    right: Difference | None = None
    left: Difference | None = None
    fits: tuple[Fit, ...] = ()

    @property
    def works(self) -> bool:
        """Whether nothing would be refused."""
        return not self.refused

    def document(self) -> dict[str, Any]:
        """Return it in JSON types."""
        found = dataclasses.asdict(self)
        if self.layers is not None:
            counts = ("count", "weights", "factor_bytes")
            found["layers"] |= {name: getattr(self.layers, name) for name in counts}
        return {"works": self.works, **found}

    def __str__(self) -> str:
        """Return everything in lines, the verdict first."""
        return "\n".join(self._lines())

    def _lines(self) -> list[str]:
        if self.refused:
            # Some curvatures serve less than others.
            partly = self.right is not None and self.right.sound and not all(one.refused for one in self.fits)
            lines = [f"{self.name}: {'works but for' if partly else 'does NOT work:'} {self.refused[0]}"]
            lines += [f"  and: {other}" for other in self.refused[1:]]
        else:
            assert self.layers is not None
            lines = [f"{self.name}: works; a fit listens to {self.layers.count} layers"]
        lines += [f"model: {self.kind}", f"tokenizer: {self.tokens}"]
        if self.right is not None and self.left is not None:
            lines.append(f"a row alone and in a batch padded on the right, as lalora pads: {self.right}")
            aside = "" if self.left.same else "; lalora moves such padding to the right, a trainer of your own may not"
            lines.append(f"padded on the left: {self.left}{aside}")
        if self.layers is not None:
            lines.append(
                f"listened to: {self.layers.count} layers of {self.layers.weights:,} weights; an adapter of rank "
                f"{self.layers.rank} on them has {self.layers.adapter_weights:,}"
            )
            lines += [f"  {group}" for group in self.layers.heard]
            lines += ["left out:"] if self.layers.left_out else []
            lines += [f"  {group}" for group in self.layers.left_out]
        lines += [f"curvature {one.what}: {one.refused or 'works'}" for one in self.fits]
        return lines + [f"note: {note}" for note in sorted({note for one in self.fits for note in one.notes})]


def check(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, *, target_modules: str | Sequence[str] = "all-linear"
) -> Checked:
    """Find out whether lalora works with a model: on a few drawn rows, before anything of one's own is fitted.

    Each row is taken alone and in a batch, padded on either side, and its losses and gradients compared; where they
    differ, the part at fault is looked for: random numbers, neighbours in the batch, position ids, the attention
    implementation, precision, the mask. Every kind of curvature is fitted once. The model is left unchanged.

    Args:
        model: A causal language model, with a LoRA adapter or without.
        tokenizer: Its tokenizer.
        target_modules: The layers that an adapter would have, as in `peft.LoraConfig`; one that is there has its own.

    Returns:
        What was found; `works` is the verdict, and `print` shows everything.

    Raises:
        LaloraError: If `target_modules` names no layer of the model, or the tokenizer is not the model's own.
    """
    with random_state_kept(model):
        return _checked(model, tokenizer, target_modules)


def _checked(model: nn.Module, tokenizer: PreTrainedTokenizerBase, target_modules: str | Sequence[str]) -> Checked:
    name, tokens = base_name(model), tokens_of(tokenizer)
    base = base_model(model)
    weight_bytes = sum(tensor.nbytes for tensor in [*base.parameters(), *base.buffers()])
    about = (_kind(model), weight_bytes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the fits tell it again
        layers = (
            adapted_layers(peft_model(model))
            if has_adapter(model)
            else target_layers(model, target_modules, "weight-kfac")
        )
    # The first look at quantised weights counts: some repack themselves in their first forward pass.
    with suppress(LaloraError):  # the fits tell it
        fingerprint(model, layers)
    try:
        require_next_token(model)
    except LaloraError as error:
        return Checked(name, (one_line(error),), *about, tokens)
    rank = RANK
    if has_adapter(model):
        bare = peft_model(model)
        rank = int(bare.peft_config[bare.active_adapters[0]].r)  # type: ignore[attr-defined]
    rows = drawn_rows(tokenizer, vocabulary(model)[0])
    pad = 0 if tokenizer.pad_token_id is None else int(tokenizer.pad_token_id)
    grouped = layers_of(model, layers, rank)
    fits = tuple(tried_fits(model, target_modules, [batch_of(rows, pad)]))
    refused = [f"curvature {one.what}: {one.refused}" for one in fits if one.refused]
    try:
        beside = SideBySide(model, layers, rows, pad)
        right, left = beside.on_the_right(), beside.on_the_left()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a model of others raises
        told = one_line(error) if isinstance(error, LaloraError) else f"{type(error).__name__}: {one_line(error)}"
        return Checked(name, (*refused, f"a padded batch: {told}"), *about, tokens, grouped, fits=fits)
    if not right.sound:
        refused.insert(0, f"a row differs alone and in a padded batch ({right})")
    return Checked(name, tuple(refused), *about, tokens, grouped, right, left, fits)


def _kind(model: nn.Module) -> str:
    base: Any = base_model(model)
    config = base_config(model)
    by_type: Counter[str] = Counter()
    for parameter in base.parameters():
        by_type[str(parameter.dtype).removeprefix("torch.")] += parameter.numel()
    types = ", ".join(f"{count:,} {kind}" for kind, count in by_type.most_common())
    attention = getattr(config, "_attn_implementation", None) or "of its own"
    quantised = getattr(config, "quantization_config", None)
    method = quantised.get("quant_method") if isinstance(quantised, dict) else getattr(quantised, "quant_method", None)
    packed = f", quantised by {getattr(method, 'value', method)}" if quantised is not None else ""
    place = next(base.parameters()).device
    return f"{type(base).__name__}, weights {types}{packed}; attention {attention}; on {place}"
