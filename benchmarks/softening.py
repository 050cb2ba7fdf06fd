"""Soften one adapter with other numbers of rows, shrinkages and cuts, and with the slope of the loss."""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from output import publish, table
from peft import PeftModel
from setting import MODEL, SOURCES
from torch import Tensor
from torch.nn.functional import cross_entropy

import lalora
from lalora.adapter import linear_pairs
from lalora.assets import load_adapter, load_model, load_tokenizer
from lalora.completion import completion
from lalora.curvature import Factors, WeightKfac
from lalora.domains import examples, load_domain
from lalora.laplace import anchors_of
from lalora.softening import HeldOut, Measured, _krylov
from lalora.softening._adapter import put, unchanged, without_change
from lalora.softening._layers import Layer, decomposed
from lalora.softening._low_rank import _best, filtered
from lalora.softening._shrinkage import SHARE
from lalora.text import batches, tokenize, tokenize_short

STRENGTHS = (0.3, 1.0)
LONGEST = 160
Changes = dict[str, tuple[Tensor, Tensor]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("adapter", type=Path, help="a plain LoRA of the embedded model, trained on GSM8K")
    parser.add_argument("--scored-rows", type=int, default=16)
    options = parser.parse_args()
    trial = Trial(options.adapter, options.scored_rows)
    rows = [{"variant": "adapter", "strength": 0.0, **trial.told(trial.held_out.measure())}]
    for name, changes in variants(trial):
        for strength in STRENGTHS:
            with unchanged(trial.model):
                put(trial.model, changes(strength))
                rows.append({"variant": name, "strength": strength, **trial.told(trial.held_out.measure())})
        publish("softening", shown(rows), {"rows": rows})


def shown(rows: list[dict[str, Any]]) -> str:
    cells = [
        [
            row["variant"],
            f"{row['strength']:g}",
            *(f"{row[key]:.4f}" for key in ("target_loss", "source_kl", "lambada")),
        ]
        for row in rows
    ]
    return table(["variant", "λ", "target loss", "mean source KL", "LAMBADA"], cells)


class Trial:
    """One adapter, its curvatures from any number of rows, and rows that no fit saw."""

    def __init__(self, adapter: Path, scored_rows: int) -> None:
        self.tokenizer = load_tokenizer(MODEL)
        self.model: PeftModel = load_adapter(load_model(MODEL, torch.bfloat16), adapter, MODEL)
        text = {name: self._text(name, scored_rows) for name in (*SOURCES, "lambada")}
        self.held_out = HeldOut(self.model, text, self._target("test", scored_rows))
        self._fits: dict[tuple[str, int], Factors] = {}

    def target(self, rows: int) -> Factors:
        """Fit around the adapter."""
        return self._fitted("target", rows, lambda: {"target": self._target("train", rows)})

    def source(self, rows: int) -> Factors:
        """Fit around the base."""
        return self._fitted("source", rows, lambda: {name: self._text(name, rows, "train") for name in SOURCES})

    def told(self, measured: Measured) -> dict[str, float]:
        """Return the measurements in nats per token."""
        kls = {name: scores.mean_kl for name, scores in measured.sources.items()}
        source = sum(kls[name] for name in SOURCES) / len(SOURCES)
        assert measured.target_loss is not None
        return {"target_loss": measured.target_loss, "source_kl": source, "lambada": kls["lambada"]}

    def slope(self, rows: int) -> dict[str, Tensor]:
        """Compute the gradient of the target loss for every adapted weight."""
        names = [pair.layer for pair in linear_pairs(self.model)]
        layers = {name: self.model.get_submodule(name).base_layer.weight.requires_grad_(True) for name in names}
        found = {name: torch.zeros(weight.shape, dtype=torch.float64) for name, weight in layers.items()}
        tokens = 0
        for batch in self._target("train", rows):
            seen = completion(self.model, batch)
            cross_entropy(seen.logits, seen.targets, reduction="sum").backward()
            tokens += len(seen.targets)
            for name, weight in layers.items():
                found[name] += weight.grad.double()
                weight.grad = None
        for weight in layers.values():
            weight.requires_grad_(False)
        return {name: total / tokens for name, total in found.items()}

    def _fitted(self, side: str, rows: int, text: Callable[[], Mapping[str, Any]]) -> Factors:
        if (side, rows) not in self._fits:
            # Some gigabytes each: one fit per side is kept.
            self._fits = {known: fit for known, fit in self._fits.items() if known[0] != side}
            with without_change(self.model) if side == "source" else nullcontext():
                laplace = lalora.fit(self.model, text(), curvature="weight-kfac", progress=False)
            assert isinstance(laplace.curvature, WeightKfac)
            self._fits[side, rows] = laplace.curvature.factors
        return self._fits[side, rows]

    def _target(self, split: str, rows: int) -> list[Any]:
        data = load_domain("gsm8k")
        every = data.train if split == "train" else data.test
        items = list(tokenize_short(examples(data.domain, every), self.tokenizer, LONGEST).values())
        chosen = random.Random(0).sample(items, min(rows, len(items))) if split == "train" else items[:rows]
        return batches(chosen, 8, self.tokenizer.pad_token_id)

    def _text(self, name: str, rows: int, split: str = "test") -> list[Any]:
        data = load_domain(name)
        every = data.train if split == "train" else data.test
        chosen = random.Random(0).sample(every, min(rows, len(every))) if split == "train" else every[:rows]
        return batches(tokenize(examples(data.domain, chosen), self.tokenizer), 8, self.tokenizer.pad_token_id)


def variants(trial: Trial) -> Iterator[tuple[str, Callable[[float], Changes]]]:
    """Yield every variant; the first is what `lalora.soften` does."""
    for target, source in ((32, 32), (8, 8), (32, 8), (8, 32), (128, 128)):
        yield f"{target} target rows, {source} of each source", _softened(_layers(trial, target, source))
    for ratio in (0.001, 0.01, 0.03, 0.3):
        yield f"{ratio:g} of the mean eigenvalue added", _softened(_layers(trial, 32, 32, ratio / (1 + ratio)))
    # Without the small space: the variants below need every layer whole.
    _krylov._SMALL = 10**9
    layers = _layers(trial, 32, 32)
    yield "in the whole space", _softened(layers)
    yield "cut by the target's metric", lambda strength: {name: _cut(layer, strength) for name, layer in layers.items()}
    slope = trial.slope(32)
    for share in (1.0, 0.3):
        yield (
            f"with {share:g} of the loss's slope",
            lambda strength, share=share: {
                name: _sloped(layer, share * slope[name], strength) for name, layer in layers.items()
            },
        )


def _layers(trial: Trial, target: int, source: int, share: float = SHARE) -> dict[str, Layer]:
    anchors = anchors_of(trial.model, WeightKfac.kind)
    return decomposed(anchors, trial.target(target), trial.source(source), share)


def _softened(layers: dict[str, Layer]) -> Callable[[float], Changes]:
    return lambda strength: {name: layer.at(strength).change() for name, layer in layers.items()}


def _cut(layer: Layer, strength: float) -> tuple[Tensor, Tensor]:
    whole = filtered(layer.left @ layer.right.T, layer.outputs.ratios, layer.inputs.ratios, strength)
    u, s, v = torch.linalg.svd(whole, full_matrices=False)
    rank = layer.left.shape[1]
    return layer.outputs.columns(u[:, :rank] * s[:rank]), layer.inputs.columns(v[:rank].T).T


def _sloped(layer: Layer, slope: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    # The slope g moves what is aimed at from D to D − PᵀgQ, which has every rank.
    p, q = layer.outputs.vectors.double(), layer.inputs.vectors.double()
    aim = layer.left @ layer.right.T - p.T @ slope @ q
    everything = torch.eye(aim.shape[1], dtype=aim.dtype)
    outputs, inputs = layer.outputs.ratios, layer.inputs.ratios
    rank = layer.left.shape[1]
    basis, found = aim, torch.linalg.svd(aim, full_matrices=False)[2][:rank].T
    for _ in range(30):
        found = _best(aim, everything, outputs, inputs, found, strength)[1]
        basis, found, _ = _best(everything, aim, inputs, outputs, found, strength)
    return layer.outputs.columns(basis), layer.inputs.columns(found).T


if __name__ == "__main__":
    main()
