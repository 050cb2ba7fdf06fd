"""A Laplace at the start of a fresh adapter, or of a base model alone."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from lalora import processes
from lalora.assets import load_model, load_tokenizer
from lalora.domains import Place
from lalora.fisher import own_part
from lalora.laplace import fit
from lalora.marked_yaml import COMMAND_LINE
from lalora.methods import LaLoRA
from lalora.study.recipe.plan import single
from lalora.study.recipe.settings import RunSettings
from lalora.study.setup.context import Say
from lalora.study.setup.data import Item, limit_to_context, load_all, source_batches
from lalora.study.setup.device import device
from lalora.study.setup.precision import resolve_dtype
from lalora.study.setup.start import with_adapter
from lalora.study.store.folder import held_for_all
from lalora.text import batches, sample_text, write_text

SELF_SOURCE_FILE = "self-source.jsonl"


def fit_laplace(
    model: str,
    dtype: str,
    sources: Mapping[str, Place],
    settings: Mapping[str, Any],
    self_source: int | None,
    bare: bool,
    out: Path,
    say: Say,
) -> bool:
    """Fit a Laplace at the start of a fresh adapter, or of the base model alone, and keep it.

    Returns:
        Whether as many rows as were asked for could be fitted on, so that others may be left to measure on.
    """
    with processes.on_all_ranks():
        plan = single("", "", {"method": LaLoRA.name, "steps": 1, **settings}, COMMAND_LINE)
        checked = plan.settings
        (method,) = plan.build()
        assert isinstance(method, LaLoRA)
    with held_for_all(out):
        with processes.on_all_ranks():
            say(f"loading {model} and the data")
            base = load_model(model, resolve_dtype(dtype))
            tokenizer = load_tokenizer(model)
            limit_to_context(tokenizer, base.config)
            asked = checked.source_rows if self_source is None else self_source
            size = _rows_a_batch(checked, method, asked)
            if self_source is None:
                seen = source_batches(load_all(sources, "source"), tokenizer, asked, size, checked.seed)
            else:
                say("letting the base model write source text")
                made: dict[str, Any] = {
                    "rows": self_source,
                    "length": min(checked.source_length, tokenizer.model_max_length),
                    "temperature": checked.source_temperature,
                    "seed": checked.seed,
                }
                items = _written(base, tokenizer, made)
                seen = {"self": batches(items, size, int(tokenizer.pad_token_id))}
            start = base.to(device()) if bare else with_adapter(base, checked)  # type: ignore[arg-type]
        laplace = fit(
            start,
            {name: own_part(rows) for name, rows in seen.items()},
            target_modules=checked.target_modules if bare else None,
            prior=method.prior,
            **asdict(method.fit),
        )
        kept = torch.bfloat16 if bare else None
        with processes.on_all_ranks():
            if processes.is_main():
                laplace.save(out, kept)
                if self_source is not None:
                    write_text(out / SELF_SOURCE_FILE, items, tokenizer, model=model, **made)
        for dataset in laplace.provenance.datasets:
            if dataset.rows < asked:
                say(
                    f"{dataset.name}: {dataset.rows} rows to fit on, where {asked} were asked for; those that "
                    "measurements keep are not among them"
                )
        file = laplace.size(kept)
        say(str(file))
        if file.cost:
            say(file.cost)
    return all(dataset.rows >= asked for dataset in laplace.provenance.datasets)


def _rows_a_batch(settings: RunSettings, method: LaLoRA, rows: int) -> int:
    # Where batches do not count, none of the processes should go without.
    share = settings.source_batch_size if method.fit.fisher == "batch" else -(-rows // processes.world_size())
    return min(settings.source_batch_size, share)


def _written(base: Any, tokenizer: Any, made: Mapping[str, Any]) -> list[Item]:
    # Other devices might write other text.
    model = base.to(device())
    texts = processes.run_on_all_ranks(lambda: sample_text(model, tokenizer, **made) if processes.is_main() else [])
    return texts[0]
