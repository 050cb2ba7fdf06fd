"""What a front costs once both curvatures are fitted: how it grows, and in total for a model's shapes.

The factors are random, of full rank and with a falling spectrum, like factors fitted on some dozens of rows.
"""

from __future__ import annotations

import argparse
import resource

import torch
from output import publish, table
from timing import machine, seconds, slope
from torch import Tensor

from lalora.curvature import Anchor, Factor, Factors
from lalora.softening import STRENGTHS, _krylov
from lalora.softening._layers import Layer, decomposed

# SmolLM2-135M: blocks, and (d_out, d_in) by the input that layers share.
BLOCKS = 30
SHAPES = {"attn": (576, {"q": 576, "k": 192, "v": 192}), "o": (576, {"o": 576}),
          "mlp": (576, {"gate": 1536, "up": 1536}), "down": (1536, {"down": 576})}  # fmt: skip
RANK = 16
CPU = torch.device("cpu")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--blocks", type=int, default=BLOCKS, help="number of the model's blocks")
    chosen = arguments.parse_args()
    text = f"`lalora.soften` after the fits, on {machine(CPU)}.\n\n"
    # First, so that the peak of memory is its own.
    text += whole(chosen.blocks)
    text += grown("Width, factors of full rank", [(width, width) for width in (512, 1024, 2048)], 0)
    text += grown("Eigenvectors a factor, width 2048", [(2048, kept) for kept in (128, 512, 2048)], 1)
    publish("front", text, {})


def grown(title: str, sizes: list[tuple[int, int]], by: int) -> str:
    """Time one layer in its small space, and decomposed whole."""
    rows, times = [], []
    for width, kept in sizes:
        factors = [one_layer(width, kept, seed) for seed in (0, 2)]
        anchors = {"layer": anchor(width, width)}
        small = seconds(lambda a=anchors, f=factors: decomposed(a, f[0], f[1]), CPU)
        _krylov._SMALL, before = 10**9, _krylov._SMALL
        dense = seconds(lambda a=anchors, f=factors: decomposed(a, f[0], f[1]), CPU)
        _krylov._SMALL = before
        times.append(small)
        rows.append([f"{width}", f"{kept}", f"{small:.3f}", f"{dense:.3f}", f"{small / dense:.2f}"])
    exponent = slope([size[by] for size in sizes], times)
    header = ["width", "eigenvectors", "seconds", "decomposed whole", "ratio"]
    return f"**{title}**: exponent {exponent:.2f}\n\n{table(header, rows)}\n\n"


def whole(blocks: int) -> str:
    """Time all layers at five strengths."""
    inputs: dict[str, Factor] = {}
    outputs: dict[str, Factor] = {}
    keys: dict[str, str] = {}
    anchors: dict[str, Anchor] = {}
    for block in range(blocks):
        for d_in, layers in SHAPES.values():
            first = f"{block}.{next(iter(layers))}"
            inputs[first] = factor(d_in, d_in, block)
            for layer, d_out in layers.items():
                outputs[f"{block}.{layer}"] = factor(d_out, d_out, block + 1)
                keys[f"{block}.{layer}"] = first
                anchors[f"{block}.{layer}"] = anchor(d_out, d_in)
    target = Factors.of(inputs, outputs, keys)
    source = Factors.of(
        {key: factor(one.size, one.size, 7) for key, one in inputs.items()},
        {layer: factor(one.size, one.size, 8) for layer, one in outputs.items()},
        keys,
    )
    held = sum(one.vectors.nbytes for side in (target, source) for part in (side.inputs, side.outputs) for one in
               part.values())  # fmt: skip
    # Random factors of one size share their memory; fitted ones would not.
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found: dict[str, Layer] = {}
    apart = seconds(lambda: found.update(decomposed(anchors, target, source)), CPU)
    along = [
        seconds(lambda s=strength: [layer.at(s).change() for layer in found.values()], CPU) for strength in STRENGTHS
    ]
    grew = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    rows = [
        ["decomposition", f"{apart:.1f}"],
        *([f"λ = {strength:g}", f"{time:.1f}"] for strength, time in zip(STRENGTHS, along, strict=True)),
        ["total", f"{apart + sum(along):.1f}"],
    ]
    memory = f"Memory grew by {grew / 1e9:.2f} GB; the factors take {held / 1e9:.2f} GB: {grew / held:.2f} times.\n"
    title = f"**SmolLM2-135M, {len(anchors)} layers of rank {RANK}, five strengths**"
    return f"{title}\n\n{table(['part', 'seconds'], rows)}\n\n{memory}\n"


def one_layer(width: int, kept: int, seed: int) -> Factors:
    return Factors.of({"layer": factor(width, kept, seed)}, {"layer": factor(width, kept, seed + 1)})


def anchor(out: int, into: int) -> Anchor:
    generator = torch.Generator().manual_seed(out + into)
    return Anchor.of(
        torch.randn(RANK, into, generator=generator), torch.randn(out, RANK, generator=generator) / out, 2.0
    )


_bases: dict[tuple[int, int], Tensor] = {}


def factor(size: int, kept: int, seed: int) -> Factor:
    generator = torch.Generator().manual_seed(seed)
    few = seed % 2, size
    if few not in _bases:
        _bases[few] = torch.linalg.qr(torch.randn(size, size, generator=generator)).Q
    values = torch.logspace(0, -3, size)[:kept] * (1 + torch.rand(kept, generator=generator))
    return Factor(_bases[few][:, :kept], values.sort(descending=True).values)


if __name__ == "__main__":
    main()
