"""Stage I for every Kronecker curvature: X and G of each adapted layer, gathered in one pass."""

from __future__ import annotations

import copy
import weakref
from collections import defaultdict
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from lalora import processes
from lalora.errors import LaloraError
from lalora.fisher._dataset import Dataset
from lalora.fisher._mean_over_sources import Moments
from lalora.fisher._other_uses import ReadBesides
from lalora.fisher._pass import all_finite
from lalora.fisher._second_moment import SecondMoment, added_up


class KroneckerCollector:
    """X = Σ x xᵀ and G = Σ g gᵀ of each layer h = W₀x + s·BAx, with g the gradient of Σℓ at h.

    `token` takes every position that the mask shows; `sequence` takes the mean of x and the sum of g of a sequence.
    Layers that read the very same tensor (q, k, v; gate, up) share one X.
    """

    def __init__(self, layers: Mapping[str, nn.Module], estimator: str, rank: int | None = None) -> None:
        """Choose the layers, and the most eigenvectors that will be asked for."""
        self._rank = rank
        self._besides = ReadBesides(layers)
        self.parameters = self._besides.parameters
        self.by_row = False
        self.modules = list(layers.values())
        self._scale = 1.0
        self._layers = layers
        self._reduce = estimator == "sequence"
        self._x: defaultdict[str, SecondMoment] = defaultdict(partial(SecondMoment, rank))
        self._g: defaultdict[str, SecondMoment] = defaultdict(partial(SecondMoment, rank))
        self._keys: dict[str, str] = {}
        self._inputs: dict[tuple[int, int], tuple[weakref.ref[Tensor], str]] = {}
        self._forward = False
        self._called: set[str] = set()
        self._mask = torch.empty(0)

    @contextmanager
    def listening(self) -> Generator[None, None, None]:
        """Attach the hooks for as long as the context lasts."""
        handles = [layer.register_forward_hook(partial(self._on_forward, name)) for name, layer in self._layers.items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def begin(self, mask: Tensor) -> None:
        """Start a batch."""
        self._mask = mask.bool()
        self._forward = True
        self._called.clear()

    def forward_done(self, scale: float) -> None:
        """Stop taking inputs: checkpointed layers run again in the backward pass."""
        self._forward = False
        self._scale = scale
        self._inputs.clear()

    def end(self, tokens: int) -> bool:
        """Make sure that everything was seen; nothing is held back."""
        self._besides.require_none()
        return False

    def finite(self) -> bool:
        """Tell whether every sum is finite."""
        return all_finite([tensor for gram in [*self._x.values(), *self._g.values()] for tensor in gram.tensors()])

    def add_up(self, device: torch.device) -> None:
        """Add the sums of the other processes.

        Layers share an X where they share one in every process: one that some process never called has read less than
        its neighbours.
        """
        by_process = processes.all_gather(self._keys)
        sharing: dict[tuple[str | None, ...], str] = {}
        shared: dict[str, str] = {}
        own: dict[str, SecondMoment] = {}
        taken: set[str] = set()
        for layer in self._layers:
            keys = tuple(found.get(layer) for found in by_process)
            if not any(keys):
                continue
            shared[layer] = sharing.setdefault(keys, layer)
            key = keys[processes.rank()]
            if shared[layer] == layer and key is not None:
                own[layer] = copy.deepcopy(self._x[key]) if key in taken else self._x[key]
                taken.add(key)
        self._x, self._g = (added_up(sums, self._rank, device) for sums in (own, self._g))
        self._keys = shared

    def add_to(self, moments: Moments, dataset: Dataset, weight: float) -> None:
        """Add the sums to those of other sources, with the weight of this source."""
        # X counts the positions (`sequence`: the sequences) at which its layer was called, G the completion tokens.
        for key, gram in self._x.items():
            moments.x[key].absorb(gram, weight / gram.count)
        for layer, gram in self._g.items():
            moments.g[layer].absorb(gram, weight / dataset.tokens)
        moments.require_keys(self._keys)

    def _on_forward(self, name: str, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if not torch.is_grad_enabled():
            return
        if self._forward:
            self._called.add(name)
        # A layer that is checkpointed the reentrant way runs with gradients in the backward pass alone.
        if self._forward or name not in self._called:
            x = inputs[0]
            # The version tells a tensor that was changed in place, the reference one that only got a dead one's id.
            read = self._inputs.get((id(x), x._version))
            if read is None or read[0]() is not x:
                read = (weakref.ref(x), self._keys.get(name, name))
                self._inputs[id(x), x._version] = read
                self._x[read[1]].add(self._rows(name, x.detach(), mean=True))
            self._keys[name] = read[1]
        if not output.requires_grad:
            output.requires_grad_(True)
        inner = self._besides.inner(name, inputs[0])
        output.register_hook(partial(self._on_gradient, name, inner))  # type: ignore[no-untyped-call]

    def _on_gradient(self, name: str, inner: Tensor | None, g: Tensor) -> None:
        self._g[name].add(self._rows(name, g, mean=False) / self._scale)
        # With the factor of the loss, as autograd leaves them: without it they may be zero in half precision.
        self._besides.see(name, inner, g)

    def _rows(self, name: str, value: Tensor, mean: bool) -> Tensor:
        mask = self._mask.to(value.device)
        if value.dim() == 2 and value.shape[0] == mask.numel():
            value = value.view(*mask.shape, -1)
        if value.shape[:-1] != mask.shape:
            raise LaloraError(
                f"module '{name}' works on {tuple(value.shape)}, not on {tuple(mask.shape)} positions: "
                "leave it out of target_modules or use curvature='diagonal'"
            )
        wide = value.to(torch.promote_types(value.dtype, torch.float32))
        if not self._reduce:
            return wide[mask]
        total = wide.masked_fill(~mask.unsqueeze(-1), 0.0).sum(dim=1)
        return total / mask.sum(dim=1, keepdim=True).clamp_min(1) if mean else total
