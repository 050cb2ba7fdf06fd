"""Whether a row has the same loss and gradients alone and beside other rows, and what is at fault where it has not."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lalora.adapter import base_config, base_model
from lalora.checking._rows import Row, batch_of, counted_positions
from lalora.completion import completion
from lalora.errors import LaloraError
from lalora.fisher import Taps, loss_and_gradient, untouched

_EAGER = "eager"
_PRECISION = "precision"


@dataclass(frozen=True)
class Difference:
    """How far rows of a batch are from the same rows alone.

    Attributes:
        loss: Largest difference of a row's loss, in nats per completion token.
        gradient: Largest difference of a row's gradients at the outputs of all layers, relative to their norm.
        allowed: Most of both that rounding explains: the square root of the precision of the weights' type.
        fault: What makes the difference where it is more than allowed; empty otherwise.
    """

    loss: float
    gradient: float
    allowed: float
    fault: str = ""

    @property
    def same(self) -> bool:
        """Whether rounding explains it; what is not a number is different."""
        return self.loss <= self.allowed and self.gradient <= self.allowed

    @property
    def sound(self) -> bool:
        """Whether it is the same but for rounding, be it more than usual."""
        return self.same or self.fault.startswith(_PRECISION)

    def __str__(self) -> str:
        """Tell both numbers."""
        told = f"loss within {self.loss:.1e} nats per token, gradients within {self.gradient:.1e}"
        return f"{told}, up to {self.allowed:.1e} is rounding" + ("" if self.same else f": {self.fault}")


class SideBySide:
    """Rows of a model, each alone and in batches of several kinds."""

    def __init__(self, model: nn.Module, layers: Mapping[str, nn.Module], rows: Sequence[Row], pad: int) -> None:
        """Look at each row alone."""
        self._model, self._layers, self._rows, self._pad = model, layers, rows, pad
        kinds = [parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()]
        # The coarsest type is what rounds.
        self._allowed = max(torch.finfo(kind).eps for kind in kinds) ** 0.5
        self._alone = self._each_alone(rows)

    def on_the_right(self) -> Difference:
        """Compare with a batch that is padded as lalora pads it."""
        return self._told(left=False)

    def on_the_left(self) -> Difference:
        """Compare with a batch that is padded on the left, with a mask and without positions."""
        return self._told(left=True)

    def _told(self, left: bool) -> Difference:
        found = self._padded(left)
        return found if found.same else Difference(found.loss, found.gradient, found.allowed, self._fault(left))

    def _fault(self, left: bool) -> str:
        # Each pass begins with the random numbers of the moment, and puts them back.
        torch.rand(1, device=next(self._model.parameters()).device)
        again = self._compared(self._each_alone(self._rows), self._alone)
        if not again.same:
            return "the same row differs from one pass to the next, so something is random in evaluation mode"
        shortest = min(len(row["input_ids"]) for row in self._rows)
        cut = [{key: value[:shortest] for key, value in row.items()} for row in self._rows]
        unpadded = self._compared(self._seen(batch_of(cut, self._pad)), self._each_alone(cut))
        if not unpadded.same:
            return "rows of one batch depend on each other even without padding; take one row a batch"
        tried: list[tuple[str, Callable[[], Difference]]] = []
        if "position_ids" in inspect.signature(base_model(self._model).forward).parameters:
            tried.append(("position ids: it counts padding as positions", lambda: self._padded(left, positions=True)))
        attention = getattr(base_config(self._model), "_attn_implementation", None)
        if attention not in (None, _EAGER):
            wanted = f"attention implementation '{attention}': load it with attn_implementation='{_EAGER}'"
            tried.append((wanted, lambda: self._eager(left)))
        kind = next(self._model.parameters()).dtype
        if kind is not torch.float32 and not getattr(base_model(self._model), "is_quantized", False):
            wanted = f"{_PRECISION}: in float32 there is no such difference, and in {_short(kind)} there is"
            tried.append((wanted, lambda: self._in_float32(left)))
        for fault, attempt in tried:
            try:
                if attempt().same:
                    return fault
            except (LaloraError, RuntimeError, ValueError, ImportError):  # it cannot be had that way
                continue
        return "it does not leave out the positions that the attention mask hides"

    def _eager(self, left: bool) -> Difference:
        base: Any = base_model(self._model)
        usual = base.config._attn_implementation
        base.set_attn_implementation(_EAGER)
        try:
            return self._afresh(left)
        finally:
            base.set_attn_implementation(usual)

    def _in_float32(self, left: bool) -> Difference:
        with _wide(self._model):
            return self._afresh(left)

    def _afresh(self, left: bool) -> Difference:
        other = SideBySide(self._model, self._layers, self._rows, self._pad)
        return other._padded(left)

    def _padded(self, left: bool, positions: bool = False) -> Difference:
        batch = batch_of(self._rows, self._pad, left=left)
        return self._compared(
            self._seen(batch | ({"position_ids": counted_positions(batch)} if positions else {})), self._alone
        )

    def _each_alone(self, rows: Sequence[Row]) -> list[_Seen]:
        return [seen for row in rows for seen in self._seen(batch_of([row], self._pad))]

    def _seen(self, batch: Mapping[str, Tensor]) -> list[_Seen]:
        place = next(self._model.parameters()).device
        given = {key: value.to(place) for key, value in batch.items()}
        shown = given["attention_mask"].bool()
        gradients: list[list[Tensor]] = [[] for _ in shown]

        def take(name: str, a: Tensor, g: Tensor, only_call: bool) -> None:
            for row, own in enumerate(shown):
                gradients[row].append(g[row][own.to(g.device)].float().cpu())

        taps = Taps(self._layers, take, strict=False)
        plain = torch.autocast(place.type, enabled=False)
        with plain, untouched(self._model, []), taps.listening():
            taps.begin(shown)
            found = completion(self._model, given, every_position=True)
            _, gradient = loss_and_gradient(found.logits.detach(), found.targets)
            if found.logits.requires_grad:
                found.logits.backward(gradient)  # type: ignore[no-untyped-call]
        losses = nn.functional.cross_entropy(found.logits.detach(), found.targets, reduction="none").cpu()
        rows = found.rows.cpu()
        return [_Seen(float(losses[rows == row].mean()), mine) for row, mine in enumerate(gradients)]

    def _compared(self, batch: Sequence[_Seen], alone: Sequence[_Seen]) -> Difference:
        losses = [abs(one.loss - other.loss) for one, other in zip(batch, alone, strict=True)]
        gradients = [one.apart(other) for one, other in zip(batch, alone, strict=True)]
        return Difference(_worst(losses), _worst(gradients), self._allowed)


@dataclass(frozen=True)
class _Seen:
    loss: float
    gradients: Sequence[Tensor]

    def apart(self, other: _Seen) -> float:
        pairs = list(zip(self.gradients, other.gradients, strict=False))
        if len(self.gradients) != len(other.gradients) or any(one.shape != two.shape for one, two in pairs):
            return float("inf")
        far: float = sum(float((one - two).double().square().sum()) for one, two in pairs)
        size: float = sum(float(two.double().square().sum()) for _, two in pairs)
        return math.sqrt(far / size) if size else math.sqrt(far)


def _worst(values: Sequence[float]) -> float:
    # `max` would pass over what is not a number.
    return float(torch.tensor(values).max().item())


def _short(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")


@contextmanager
def _wide(model: nn.Module) -> Generator[None, None, None]:
    # To float32 and back loses nothing of a narrower type, and less memory is needed than for a copy.
    tensors = [*model.parameters(), *model.buffers()]
    narrow = [(tensor, tensor.data) for tensor in tensors if tensor.dtype in (torch.float16, torch.bfloat16)]
    try:
        for tensor, data in narrow:
            tensor.data = data.float()
        yield
    finally:
        for tensor, data in narrow:
            tensor.data = data
