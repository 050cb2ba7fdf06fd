"""Hooks that hand over the inputs and output gradients of linear adapters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from lalora.errors import LaloraError

Sink = Callable[[str, Tensor, Tensor, bool], None]


class Taps:
    """Pairs each call's input with that call's output gradient and passes both on during the backward pass.

    A call whose output reaches no loss (such as DoRA's call on an identity matrix) never gets a gradient and so
    counts for nothing. Outputs that no gradient would reach become leaves: nothing below the lowest adapted module
    is differentiated, and no parameter. `scale` is a factor of the loss, which is divided out again.
    """

    def __init__(self, modules: Mapping[str, nn.Module], sink: Sink, strict: bool) -> None:
        """Name the modules to listen to; a call on other positions than the batch's is refused if `strict`."""
        self._modules = dict(modules)
        self._sink = sink
        self._strict = strict
        self._calls: Counter[str] = Counter()
        self._mask: Tensor = torch.empty(0)
        self._hidden = False
        self.scale = 1.0

    @property
    def modules(self) -> Collection[nn.Module]:
        """The modules that are listened to."""
        return self._modules.values()

    @contextmanager
    def listening(self) -> Generator[None, None, None]:
        """Attach the hooks for as long as the context lasts."""
        handles = [
            module.register_forward_hook(partial(self._on_forward, name)) for name, module in self._modules.items()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def begin(self, mask: Tensor) -> None:
        """Start a batch."""
        self._calls.clear()
        self.scale = 1.0
        self._mask = mask.bool()
        self._hidden = not bool(self._mask.all())

    def leave(self, names: Iterable[str]) -> None:
        """Listen to some modules no more."""
        for name in names:
            del self._modules[name]

    def _on_forward(self, name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if not torch.is_grad_enabled() or name not in self._modules:
            return
        self._calls[name] += 1
        if not output.requires_grad:
            output.requires_grad_(True)
        output.register_hook(partial(self._on_gradient, name, inputs[0].detach()))  # type: ignore[no-untyped-call]

    def _on_gradient(self, name: str, a: Tensor, g: Tensor) -> None:
        inputs, gradient = self._shaped(a), self._shaped(g)
        if inputs is None or gradient is None:
            if not self._strict:
                return
            shape, expected = tuple(a.shape[:-1]), tuple(self._mask.shape)
            raise LaloraError(
                f"module '{name}' works on {shape}, not on {expected} positions: leave it out of target_modules"
            )
        wide = torch.promote_types(g.dtype, torch.float32)
        gradient = gradient.to(wide) / self.scale
        if self._hidden:  # then the products with inputs of hidden positions are zero too
            gradient = gradient.masked_fill(~self._mask.to(gradient.device).unsqueeze(-1), 0.0)
        self._sink(name, inputs.to(wide), gradient, self._calls[name] == 1)

    def _shaped(self, value: Tensor) -> Tensor | None:
        if value.dim() == 2 and value.shape[0] == self._mask.numel():
            return value.view(*self._mask.shape, -1)
        return value if value.shape[:-1] == self._mask.shape else None
