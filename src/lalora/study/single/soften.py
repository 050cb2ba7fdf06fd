"""Soften what somebody trained: fit both curvatures, measure the front, choose by a budget."""

import datetime
import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from lalora.assets import fine_tuned, load_adapter, load_model, load_tokenizer
from lalora.domains import DomainData, Place
from lalora.domains.domain import Role
from lalora.errors import LaloraError
from lalora.evaluation import EvalSet
from lalora.laplace import Laplace, laplace_folder, require_non_negative
from lalora.softening import (
    LEARNING_RATE,
    STRENGTHS,
    Front,
    HeldOut,
    Measured,
    require_budget,
    soften,
    soften_weights,
    within,
)
from lalora.study.run.result import machine
from lalora.study.setup.context import Say
from lalora.study.setup.data import limit_to_context, load_all, source_batches, training_items
from lalora.study.setup.device import device
from lalora.study.setup.precision import resolve_dtype
from lalora.text import batches
from lalora.version import __version__

FORMAT = 1
SCALES = (0.25, 0.5, 0.75)
Document = dict[str, Any]


@dataclass(frozen=True)
class Wish:
    """What the user wants of the softened adapter; one of the three, or λ = 1.

    Attributes:
        budget: Most drift, nats per token.
        floor: Most target loss to give up, nats per token.
        strength: λ.
    """

    budget: float | None = None
    floor: float | None = None
    strength: float | None = None

    def check(self) -> None:
        """Refuse what cannot be."""
        given = {name: value for name, value in vars(self).items() if value is not None}
        if len(given) > 1:
            raise LaloraError(f"--{' and --'.join(given)} are several wishes: give one of them")
        if self.strength is not None:
            require_non_negative("--strength", self.strength)
        require_budget("--budget", self.budget)
        require_budget("--floor", self.floor)


@dataclass(frozen=True)
class Softened:
    """A front, and where on it the user wants to be.

    Attributes:
        front: Of the adapter or the fine-tuning.
        strength: The λ that was chosen.
        document: Everything that was measured, in JSON types.
        tokenizer: To be saved beside a whole model; None beside an adapter.
    """

    front: Front
    strength: float
    document: Document
    tokenizer: PreTrainedTokenizerBase | None

    def save(self, folder: Path) -> None:
        """Write the version that was chosen."""
        self.front.save(folder, self.strength)
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(folder)


@dataclass(frozen=True)
class Rows:
    """How many rows, and how.

    Attributes:
        fitted: Of the target and of each source, for the curvatures.
        scored: Of every domain, for what is measured.
        batch_size: Rows a batch.
        max_length: Target rows of more tokens are left out; None for the context.
        seed: Of the choice of rows and of sampled labels.
        refine_steps: Steps without labels before softening.
        refine_rate: Their learning rate.
    """

    fitted: int
    scored: int
    batch_size: int
    max_length: int | None
    seed: int
    refine_steps: int = 0
    refine_rate: float = LEARNING_RATE


def soften_adapter(
    model: str,
    adapter: str,
    dtype: str,
    places: Mapping[Role, Mapping[str, Place]],
    laplace: str | None,
    wish: Wish,
    rows: Rows,
    say: Say,
) -> Softened:
    """Find and measure the front of an adapter, or of a full fine-tuning."""
    folder, whole = fine_tuned(adapter)
    if whole and rows.refine_steps:
        raise LaloraError("--refine-steps refine an adapter, and this is a fully fine-tuned model: leave it out")
    # Changes of whole weights are small beside them, and would be lost in bfloat16.
    kind = resolve_dtype("float32" if whole and dtype == "auto" else dtype)
    curvature = None if laplace is None else Laplace.load(laplace_folder(laplace))
    say(f"loading {model}, {'the fine-tuned model' if whole else 'the adapter'} and the data")
    base = load_model(model, kind).to(device())  # type: ignore[arg-type]
    tokenizer = load_tokenizer(model)
    limit_to_context(tokenizer, base.config)
    data = {role: load_all(named, role) for role, named in places.items()}
    scored = _scored([*data["target"], *data["source"], *data["held-out"]], tokenizer, rows)
    (target,) = data["target"]
    given: dict[str, Any] = {
        "target": {target.domain.name: _fitted(target, tokenizer, rows)},
        "laplace": curvature,
        "source": None
        if curvature
        else source_batches(data["source"], tokenizer, rows.fitted, rows.batch_size, rows.seed),
        "held_out": scored[target.domain.name],
        "seed": rows.seed,
    }
    fewer = [
        *_fewer({**given["target"], **(given["source"] or {})}, rows.fitted, "to fit on"),
        *_fewer(scored, rows.scored, "to measure on"),
    ]
    for line in fewer:
        say(line)
    say("fitting the curvatures" if curvature is None else "fitting the target's curvature")
    tuned: nn.Module
    if whole:
        tuned = load_model(str(folder), kind).to(device())  # type: ignore[arg-type]
        front = soften_weights(tuned, base, **given)
    else:
        tuned = load_adapter(base, folder, model).to(device())
        front = soften(tuned, **given, refine_steps=rows.refine_steps, refine_rate=rows.refine_rate)
    seen = _Measurements(front, tuned, base if whole else None, scored, data, say)
    versions = [seen.scaled(0.0), *(seen.scaled(alpha) for alpha in sorted({*SCALES, front.scale, 1.0}))]
    versions += [seen.softened(strength) for strength in STRENGTHS]
    strength, choice = _chosen(wish, seen)
    tried = [seen.softened(one) for one in sorted({strength, *filter(None, seen.known)} - {*STRENGTHS})]
    document = {
        "format": FORMAT,
        "lalora": __version__,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "model": model,
        "adapter": adapter,
        "target": target.domain.name,
        "sources": list(places["source"]),
        "held_out": list(places["held-out"]),
        "rows": vars(rows),
        "layers": len(front.layers),
        "scale": front.scale,
        "strengths": list(STRENGTHS),
        "choice": choice,
        "versions": sorted([*versions, *tried], key=lambda row: (row["kind"] != "scaled", row.get("strength", 0.0))),
        "notes": [*(one.note for one in [*data["target"], *data["source"], *data["held-out"]] if one.note), *fewer],
    }
    return Softened(front, strength, document, tokenizer if whole else None)


def _fewer(texts: Mapping[str, Sequence[Mapping[str, Tensor]]], asked: int, what: str) -> list[str]:
    counts = {name: sum(len(batch["input_ids"]) for batch in batches) for name, batches in texts.items()}
    return [
        f"{name}: {count} rows {what}, where {asked} were asked for" for name, count in counts.items() if count < asked
    ]


def _scored(data: Sequence[DomainData], tokenizer: PreTrainedTokenizerBase, rows: Rows) -> Mapping[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        found = EvalSet.prepare(
            data,
            tokenizer,
            Path(name),
            scored_rows=rows.scored,
            max_length=rows.max_length,
            batch_size=rows.batch_size,
        ).text
    if empty := [domain for domain, text in found.items() if not text]:
        raise LaloraError(f"{empty[0]}: no rows to measure on")
    return found


def _fitted(target: DomainData, tokenizer: PreTrainedTokenizerBase, rows: Rows) -> list[dict[str, Tensor]]:
    items = training_items(target, tokenizer, rows.max_length)
    chosen = random.Random(f"{target.domain.name} {rows.seed}").sample(items, min(rows.fitted, len(items)))
    if not chosen:
        raise LaloraError(f"{target.origin}: no training rows of {target.domain.name} to fit on")
    return batches(chosen, rows.batch_size, int(tokenizer.pad_token_id))


class _Measurements:
    """Every version of the adapter on the same rows, each once."""

    def __init__(
        self,
        front: Front,
        model: nn.Module,
        base: nn.Module | None,
        scored: Mapping[str, Any],
        data: Mapping[Role, Sequence[DomainData]],
        say: Say,
    ) -> None:
        names = {role: [one.domain.name for one in data[role]] for role in data}
        self._front, self._say = front, say
        (target,) = names["target"]
        self._rows = HeldOut(model, {name: scored[name] for name in names["source"]}, scored[target], base)
        others = {name: scored[name] for name in names["held-out"]}
        self._others = HeldOut(model, others, base=base) if others else None
        self.known: dict[float, Measured] = {}

    def at(self, strength: float) -> Measured:
        """Measure at a strength, once."""
        if strength not in self.known:
            self._say(f"measuring it softened at λ={strength:.3g}")
            self.known[strength] = self._front.measure(strength, self._rows)
        return self.known[strength]

    def softened(self, strength: float) -> Document:
        """Tell of the softened adapter."""
        told = _told(self.at(strength), None if self._others is None else self._front.measure(strength, self._others))
        predicted = self._front.predict(strength)
        return {
            "kind": "softened",
            "strength": strength,
            **told,
            "predicted": {"source": predicted.source, "target": predicted.target},
        }

    def scaled(self, alpha: float) -> Document:
        """Tell of the scaled adapter."""
        self._say("measuring the base" if alpha == 0 else f"measuring the adapter times {alpha:g}")
        with self._front.scaled(alpha):
            told = _told(self._rows.measure(), None if self._others is None else self._others.measure())
        return {"kind": "scaled", "alpha": alpha, **told}


def _told(measured: Measured, others: Measured | None) -> Document:
    interval = measured.interval
    texts = {**measured.sources, **({} if others is None else others.sources)}
    return {
        "target_loss": measured.target_loss,
        "source_kl": interval.mean,
        "interval": [interval.low, interval.high],
        "kl": {name: rows.mean_kl for name, rows in texts.items()},
    }


def _chosen(wish: Wish, seen: _Measurements) -> tuple[float, Document]:
    if wish.budget is None and wish.floor is None:
        strength = 1.0 if wish.strength is None else wish.strength
        return strength, {"by": "strength", "strength": strength, "met": True}
    choice = within(seen.at, wish.budget, wish.floor)
    by, asked = ("budget", wish.budget) if wish.budget is not None else ("floor", wish.floor)
    return choice.strength, {"by": by, by: asked, "strength": choice.strength, "met": choice.met}
