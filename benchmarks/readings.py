"""By what factor Λ changes where the paper can be read in two ways, as far as arithmetic alone does not tell.

Ours, unless a line says otherwise: `fisher=batch, labels=data, combine=sum`, one batch of four rows of each source,
adapters of rank 16 on q and k. `docs/readings.md` names the readings.
"""

from __future__ import annotations

import random
import statistics
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from output import publish, table
from peft import PeftModel
from setting import MODEL, SOURCES, Batch
from timing import chosen_device, machine
from torch import Tensor
from torch.nn.functional import cross_entropy

import lalora
from lalora.adapter import trainable_tensors
from lalora.assets import load_model, load_tokenizer
from lalora.completion import completion
from lalora.curvature import Diagonal, Kfac
from lalora.domains import examples
from lalora.study.recipe.settings import RunSettings
from lalora.study.setup.data import load_all, source_batches, training_items
from lalora.study.setup.start import with_adapter
from lalora.text import tokenize

SEEDS = (0, 1, 2)
ROWS, MOST_SEEDS = 4, 4
DRAWS, DROPOUT_DRAWS = 1000, 2
ROWS_A_STEP = 24
PAPER: dict[str, Any] = {"fisher": "batch", "labels": "data", "combine": "sum"}
QUERY_KEY = ["q_proj", "k_proj"]

Sources = Mapping[str, Sequence[Batch]]
Squares = dict[str, Tensor]


def main() -> None:
    """Measure every reading, and write it down."""
    warnings.simplefilter("ignore")
    device = chosen_device()
    words = load_tokenizer(MODEL)
    domains = load_all(dict.fromkeys(SOURCES, "embedded"))
    drawn = {seed: source_batches(domains, words, ROWS, ROWS, seed) for seed in range(MOST_SEEDS)}
    fits = Fits(drawn)
    counted, rows = tokens(domains, words), readings(fits)
    traces, factors = scales(fits), kronecker(domains, words)
    where = f"{MODEL}, frozen weights in float32, on {machine(device)}"
    parts = [
        f"Factors between readings of the paper, {where}. Ours unless said otherwise: fisher=batch, labels=data, "
        "combine=sum, a batch of four rows of each source, rank 16 on q and k, kaiming. A factor is the trace of the "
        "other reading over that of ours, mean and range over seeds 0 to 2, of the adapter and of the rows alike; the "
        "cosine is that of both diagonals.",
        "\n## Completion tokens\n",
        table(["", "mean", "5 % to 95 %", "mean of T²"], counted),
        "\n## Factors\n",
        table(["other reading", "factor", "range", "cosine"], rows),
        "\n## Scale\n",
        table(["", *fits.scales], traces),
        "\n## Kronecker factors (kfac, fisher=token, labels=data)\n",
        table(["other reading", "factor", "range"], factors),
    ]
    publish("readings", "\n".join(parts), {"counted": counted, "readings": rows, "traces": traces, "kfac": factors})


class Fits:
    """Diagonals of each source, fitted once for each choice."""

    scales = ("trace", "mean of the middle group", "mean of the top 10 %", "largest")

    def __init__(self, drawn: Mapping[int, Sources]) -> None:
        self._drawn = drawn
        self._kept: dict[tuple[Any, ...], list[Squares]] = {}

    def model(self, seed: int, init: str = "kaiming", targets: str | list[str] = QUERY_KEY) -> PeftModel:
        """Make the model at its start, as a study does."""
        settings = {"steps": 1, "seed": seed, "init": init, "target_modules": targets, "dropout": 0.1}
        return with_adapter(load_model(MODEL, torch.float32), RunSettings.model_validate(settings))

    def of(
        self,
        seed: int,
        init: str = "kaiming",
        targets: str | list[str] = QUERY_KEY,
        reworded: Callable[[Batch], list[Batch]] | None = None,
        **fit: Any,
    ) -> list[Squares]:
        """Fit each source by itself; `reworded` makes other batches of each."""
        key = (seed, init, str(targets), reworded, *sorted(fit.items()))
        if key not in self._kept:
            model = self.model(seed, init, targets)
            found = []
            for batches in self._drawn[seed].values():
                seen = [part for batch in batches for part in (reworded(batch) if reworded else [batch])]
                laplace = lalora.fit(model, seen, progress=False, **PAPER | fit)
                assert isinstance(laplace.curvature, Diagonal)
                found.append(dict(laplace.curvature.precision))
            self._kept[key] = found
        return self._kept[key]

    def with_dropout(self, seed: int) -> list[Squares]:
        """Average the squares of plain autograd over draws of the dropout."""
        model = self.model(seed)
        plain = added([squared(model.eval(), next(iter(self._drawn[seed].values()))[0])])
        assert (plain - added(self.of(seed)[:1])).norm() < 1e-3 * plain.norm(), "autograd finds what the fit does"
        model.train()
        torch.manual_seed(seed)
        return [
            {name: torch.stack([one[name] for one in draws]).mean(0) for name in draws[0]}
            for batches in self._drawn[seed].values()
            for batch in batches
            if (draws := [squared(model, batch) for _ in range(DROPOUT_DRAWS)])
        ]

    def tokens(self, seed: int) -> list[int]:
        """Count the completion tokens of each source's batch."""
        return [int((batch["labels"][:, 1:] != -100).sum()) for part in self._drawn[seed].values() for batch in part]


def squared(model: PeftModel, batch: Batch) -> Squares:
    """Square the gradient of a batch's mean loss."""
    seen = completion(model, batch)
    wanted = {name: tensor for name, tensor in trainable_tensors(model).items() if "lora_B" in name}
    gradients = torch.autograd.grad(cross_entropy(seen.logits, seen.targets), list(wanted.values()))
    return {name: gradient.square() for name, gradient in zip(wanted, gradients, strict=True)}


def by_row(batch: Batch) -> list[Batch]:
    """Make a batch of each row."""
    return [{key: value[[row]] for key, value in batch.items()} for row in range(len(batch["input_ids"]))]


def every_token(batch: Batch) -> list[Batch]:
    """Let the prompt carry loss too."""
    return [batch | {"labels": batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)}]


def readings(fits: Fits) -> list[list[str]]:
    """Compare each other reading of the diagonal with ours."""
    ours = [fits.of(seed) for seed in SEEDS]
    wide = [fits.of(seed, targets="all-linear") for seed in SEEDS]
    normal = [fits.of(seed, init="gaussian", targets="all-linear") for seed in SEEDS]
    summed = [
        [{name: d * count**2 for name, d in one.items()} for one, count in zip(of, fits.tokens(seed), strict=True)]
        for seed, of in zip(SEEDS, ours, strict=True)
    ]
    down = [[only(one, "down_proj") for one in of] for of in wide]
    rest = [[only(one, "down_proj", False) for one in of] for of in wide]
    return [
        compared("log p of a batch as the sum over its tokens", ours, summed),
        compared("mean over rows of the squared gradient of each row's mean loss", ours, each(fits, reworded=by_row)),
        compared("fisher=sequence, labels=data", ours, each(fits, fisher="sequence")),
        compared("fisher=batch, labels=sampled", ours, each(fits, labels="sampled")),
        compared(
            "fisher=sequence, labels=sampled (the defaults)", ours, each(fits, fisher="sequence", labels="sampled")
        ),
        compared("prompt tokens carry loss too", ours, each(fits, reworded=every_token)),
        compared("dropout 0.1 on while fitting", ours, [fits.with_dropout(seed) for seed in SEEDS]),
        compared("another draw of the four rows (seed + 1 for rows and adapter)", ours, each(fits, after=1)),
        compared("init=gaussian", ours, each(fits, init="gaussian")),
        compared("init=gaussian, all-linear", wide, normal),
        compared(
            "… its layers with d_in = 576", rest, [[only(one, "down_proj", False) for one in of] for of in normal]
        ),
        compared("… its layers with d_in = 1536", down, [[only(one, "down_proj") for one in of] for of in normal]),
        ["share of d_in = 1536 in the trace, all-linear, kaiming", *spread(parts(down, wide)), ""],
    ]


def each(fits: Fits, after: int = 0, **changed: Any) -> list[list[Squares]]:
    """Fit with every seed."""
    return [fits.of(seed + after, **changed) for seed in SEEDS]


def scales(fits: Fits) -> list[list[str]]:
    """Tell how large the diagonal is by four readings, in the groups of the paper's Table 11."""
    found = []
    for name, init, power in (
        ("mean over tokens, kaiming", "kaiming", 0),
        ("mean over tokens, gaussian", "gaussian", 0),
        ("sum over tokens, kaiming", "kaiming", 2),
        ("sum over tokens, gaussian", "gaussian", 2),
    ):
        grouped = []
        for seed in SEEDS:
            of = fits.of(seed, init=init)
            scaled = [{n: d * t**power for n, d in one.items()} for one, t in zip(of, fits.tokens(seed), strict=True)]
            grouped.append(groups(added(scaled), with_a(fits.model(seed, init))))
        found.append([name, *(f"{statistics.fmean(values):.2g}" for values in zip(*grouped, strict=True))])
    return [*found, ["the paper's Table 11, Llama-3.2-3B", "712", "1.1e-05", "0.0015", "0.4"]]


def with_a(model: PeftModel) -> int:
    """Count the weights of A and B."""
    return sum(tensor.numel() for tensor in trainable_tensors(model).values())


def groups(diagonal: Tensor, weights: int) -> tuple[float, float, float, float]:
    """Return trace, mean of the middle group, mean and largest of the tenth of all weights that matters most."""
    ordered = diagonal.sort(descending=True).values.double()
    top = round(0.1 * weights)
    return float(ordered.sum()), float(ordered[top:].mean()), float(ordered[:top].mean()), float(ordered[0])


def kronecker(domains: Sequence[Any], words: Any) -> list[list[str]]:
    """Compare ways to average factors, by the trace of the penalty on B."""
    pooled, products, against = [], [], []
    for seed in SEEDS:
        model = with_adapter(
            load_model(MODEL, torch.float32),
            RunSettings.model_validate({"steps": 1, "seed": seed, "target_modules": QUERY_KEY}),
        )
        drawn = source_batches(list(domains), words, 2 * ROWS, ROWS, seed)
        several = [[moments(model, batch) for batch in batches] for batches in drawn.values()]
        first = [one[0] for one in several]
        pooled.append(ratio(product(by_count(one)), product(mean(one))) for one in several)
        products.append(ratio(added_products(first), product(mean(first))))
        whole = [lalora.fit(model, batches[:1], progress=False, **PAPER).curvature for batches in drawn.values()]
        diagonal = added([dict(one.precision) for one in whole if isinstance(one, Diagonal)])
        against.append(float(product(mean(first)).sum() / diagonal.sum()))
    flat = [value for one in pooled for value in one]
    return [
        ["positions pooled over two batches instead of a mean over batches (Eq. 35)", *spread(flat)],
        ["products added over the three sources instead of factors averaged (Eq. 36)", *spread(products)],
        ["the whole penalty on B over that of the diagonal (batch, data, sum)", *spread(against)],
    ]


Moment = tuple[Tensor, Tensor, int, int]


def moments(model: PeftModel, batch: Batch) -> Moment:
    """Return tr A₀XA₀ᵀ and s²·tr G of each layer, and the numbers of positions and of completion tokens."""
    laplace = lalora.fit(model, [batch], curvature="kfac", labels="data", progress=False)
    kfac = laplace.curvature
    assert isinstance(kfac, Kfac)
    x, g = [], []
    for layer, anchor in kfac.anchors.items():
        assert anchor.a is not None
        x.append(float((anchor.a @ kfac.factors.x(layer).dense() @ anchor.a.T).trace()))
        g.append(anchor.scale**2 * float(kfac.factors.g(layer).trace))
    counts = int(batch["attention_mask"].sum()), int((batch["labels"][:, 1:] != -100).sum())
    return torch.tensor(x), torch.tensor(g), *counts


def mean(of: Sequence[Moment]) -> tuple[Tensor, Tensor]:
    return torch.stack([x for x, _, _, _ in of]).mean(0), torch.stack([g for _, g, _, _ in of]).mean(0)


def by_count(of: Sequence[Moment]) -> tuple[Tensor, Tensor]:
    x = sum(x * positions for x, _, positions, _ in of) / sum(positions for _, _, positions, _ in of)
    g = sum(g * count for _, g, _, count in of) / sum(count for _, _, _, count in of)
    return torch.as_tensor(x), torch.as_tensor(g)


def product(factors: tuple[Tensor, Tensor]) -> Tensor:
    return factors[0] * factors[1]


def added_products(of: Sequence[Moment]) -> Tensor:
    return torch.stack([x * g for x, g, _, _ in of]).sum(0)


def ratio(other: Tensor, ours: Tensor) -> float:
    return float(other.sum() / ours.sum())


def tokens(domains: Sequence[Any], words: Any) -> list[list[str]]:
    """Count completion tokens: of a batch of each source, and of an optimizer step on the target."""
    chance, found = random.Random(0), []
    pools = {data.domain.name: tokenize(examples(data.domain, data.train), words) for data in domains}
    for name, items in pools.items():
        found.append(counted(f"{name}, a batch of {ROWS} rows", items, ROWS, chance))
    (target,) = load_all({"gsm8k": "embedded"})
    found.append(
        counted(f"gsm8k, a step of {ROWS_A_STEP} rows", training_items(target, words, 512), ROWS_A_STEP, chance)
    )
    return found


def counted(name: str, items: Sequence[dict[str, list[int]]], rows: int, chance: random.Random) -> list[str]:
    sizes = [sum(label != -100 for label in item["labels"][1:]) for item in items]
    sums = sorted(sum(chance.sample(sizes, rows)) for _ in range(DRAWS))
    low, high = sums[DRAWS // 20], sums[-DRAWS // 20]
    square = statistics.fmean(value**2 for value in sums)
    return [name, f"{statistics.fmean(sums):.0f}", f"{low} to {high}", f"{square:.0f}"]


def added(of: Sequence[Squares]) -> Tensor:
    """Add the diagonals of several sources, as one vector."""
    return torch.stack([torch.cat([one[name].reshape(-1) for name in sorted(one)]) for one in of]).sum(0).cpu()


def only(squares: Squares, part: str, there: bool = True) -> Squares:
    return {name: tensor for name, tensor in squares.items() if (part in name) == there}


def cosine(one: Tensor, other: Tensor) -> float:
    return float(one.double() @ other.double() / (one.double().norm() * other.double().norm()))


def parts(of: Sequence[Sequence[Squares]], whole: Sequence[Sequence[Squares]]) -> list[float]:
    return [float(added(a).sum() / added(b).sum()) for a, b in zip(of, whole, strict=True)]


def compared(name: str, ours: Sequence[Sequence[Squares]], other: Sequence[Sequence[Squares]]) -> list[str]:
    """Return a line: the factor between the traces, and how alike the two diagonals are."""
    alike = [cosine(added(a), added(b)) for a, b in zip(ours, other, strict=True)]
    return [name, *spread(parts(other, ours)), f"{statistics.fmean(alike):.2f}"]


def spread(values: Sequence[float]) -> tuple[str, str]:
    """Return the geometric mean and the range."""
    return f"{statistics.geometric_mean(values):.3g}", f"{min(values):.3g} to {max(values):.3g}"


if __name__ == "__main__":
    main()
