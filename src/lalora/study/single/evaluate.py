"""What somebody fine-tuned, measured against its base."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from lalora.assets import fine_tuned, load_adapter, load_model, load_tokenizer
from lalora.batches import vocabulary
from lalora.domains import Place
from lalora.domains.domain import Role
from lalora.errors import LaloraError, short
from lalora.evaluation import EvalSet, KeptBase
from lalora.evaluation import evaluate as measure
from lalora.scoring import Interval, RowScores, interval
from lalora.study.recipe.settings import RunSettings
from lalora.study.setup.context import Say
from lalora.study.setup.data import limit_to_context, load_all
from lalora.study.setup.device import device
from lalora.study.setup.precision import resolve_dtype
from lalora.study.setup.start import with_adapter
from lalora.study.store.records import Row
from lalora.switched_off import why_not_base

_WORST = 3
_FEWEST_TOKENS = 3


@dataclass(frozen=True)
class Evaluated:
    """A fine-tuned model against its base.

    Attributes:
        before: Metrics of the base.
        after: Metrics of the fine-tuned model.
        drift: KL(base ‖ model) of each domain but the target, with its interval.
        mean: The same over the sources; None without any.
        rows: What was measured on each row of these domains.
        worst: The rows that drifted most: `domain`, `kl` in nats per token, `text`.
    """

    before: Row
    after: Row
    drift: Mapping[str, Interval]
    mean: Interval | None
    rows: Mapping[str, RowScores]
    worst: Sequence[Mapping[str, Any]]

    def document(self) -> dict[str, Any]:
        """Return it in JSON types."""
        drift = {name: vars(found) for name, found in self.drift.items()}
        counts = {name: {"rows": len(one.tokens), "tokens": int(one.tokens.sum())} for name, one in self.rows.items()}
        mean = None if self.mean is None else vars(self.mean)
        found = {"base": self.before, "adapter": self.after, "drift": drift, "source_drift": mean}
        return {**found, "measured": counts, "drifted_most": list(self.worst)}


def evaluate_adapter(
    model: str, dtype: str, adapter: str, domains: Mapping[Role, Mapping[str, Place]], say: Say, **sizes: int
) -> Evaluated:
    """Measure an adapter, or a full fine-tuning, against its base."""
    kind = resolve_dtype(dtype)
    folder, whole = fine_tuned(adapter)
    say(f"loading {model} and the data")
    base = load_model(model, kind)
    tokenizer = load_tokenizer(model)
    limit_to_context(tokenizer, base.config)
    with tempfile.TemporaryDirectory() as tasks:
        data = [one for role, named in domains.items() for one in load_all(named, role)]
        for one in data:
            if one.domain.own and one.train:
                say(
                    f"{one.domain.name}: {len(one.test)} of {len(one.train) + len(one.test)} rows are measured, the "
                    "others are for training; give a folder with test.jsonl alone to measure all"
                )
            elif one.domain.definition is not None and one.note:
                say(one.note)
        evalset = EvalSet.prepare(data, tokenizer, Path(tasks), **sizes)
        plain = with_adapter(base, RunSettings(steps=1, rank=1))
        say("measuring the base model")
        before = measure(plain, tokenizer, evalset, 0, accuracy=True)
        bare: Any = plain.unload()
        tuned: nn.Module
        if whole:
            tuned, untouched = load_model(str(folder), kind).to(device()), bare  # type: ignore[arg-type]
        else:
            tuned = load_adapter(bare, folder, model).to(device())
            untouched = None if why_not_base(tuned) is None else load_model(model, kind).to(device())  # type: ignore[arg-type]
        if (here := vocabulary(tuned)[1]) != (there := vocabulary(bare)[1]):
            raise LaloraError(f"{adapter} predicts {here:,} tokens and {model} {there:,}: KL takes the same vocabulary")
        kept = KeptBase(tuned, evalset.drifting, untouched)
        say(f"measuring {'the fine-tuned model' if whole else 'the adapter'}")
        after = measure(tuned, tokenizer, evalset, 0, accuracy=True, kept=kept)
    rows = kept.rows
    if odd := [name for name, scores in rows.items() if not bool(scores.kl.isfinite().all())]:
        raise LaloraError(f"{adapter} predicts what is not finite on {odd[0]}: its training diverged, or it is damaged")
    sources = {name: rows[name] for name in domains.get("source", {})}
    return Evaluated(
        before,
        after,
        {name: interval({name: scores}) for name, scores in rows.items()},
        interval(sources) if sources else None,
        rows,
        _worst(evalset, rows, tokenizer),
    )


def _worst(evalset: EvalSet, rows: Mapping[str, RowScores], tokenizer: PreTrainedTokenizerBase) -> list[dict[str, Any]]:
    found = []
    for name, scores in rows.items():
        shown = [
            ids[mask.bool()]
            for batch in evalset.text[name]
            for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
        ]
        for ids, kl, tokens in zip(shown, scores.kl.tolist(), scores.tokens.tolist(), strict=True):
            if tokens >= _FEWEST_TOKENS:
                found.append((kl / tokens, name, ids))
    found.sort(key=lambda one: -one[0])
    return [
        {"domain": name, "kl": kl, "text": short(" ".join(str(tokenizer.decode(ids)).split()))}
        for kl, name, ids in found[:_WORST]
    ]
