"""The model card of a Laplace on the hub."""

from __future__ import annotations

from lalora.curvature import FITTED
from lalora.hub import card_header, is_id
from lalora.laplace._provenance import Provenance
from lalora.laplace._size import Size

_OF_ADAPTER = "over the weights of a LoRA adapter"
_OF_BASE = "over the weights of the base model, for plain LoRA of any rank and scale"
_START = "laplace.restore_mean(model)  # the adapter starts where the curvature was fitted"
_MEETING = "laplace.check(model)  # before training: drift is measured from where it first meets the adapter"


def card(provenance: Provenance, size: Size, repo_id: str, licence: str | None) -> str:
    """Write it; the base model is linked only where it is an id on the hub."""
    fit, base = provenance.fit, provenance.base_model
    known, more = is_id(base), _of_several(provenance.tasks)
    rows = "\n".join(
        f"| {data.name} | {data.rows} | {data.tokens} | `{data.sha256[:16]}` |" for data in provenance.datasets
    )
    header = card_header(
        license=licence,
        base_model=base if known else None,
        library_name="lalora",
        tags="[lalora, laplace, lora, peft]",
    )
    return f"""---
{header}---
# Laplace approximation for LoRA on {base if known else f"a model that its owner calls `{base}`"}

Curvature (`{fit.curvature}`) of the source likelihood {_OF_ADAPTER if provenance.lora else _OF_BASE}.
As a penalty, while an adapter learns something new, it keeps what the base model knows.

`model` is a PEFT LoRA model on that base, before training; the penalty is added to the loss once a step.

```python
import lalora

laplace = lalora.Laplace.from_hub("{repo_id}")
{_START if provenance.lora else _MEETING}
loss = loss + laplace.penalty(model)
```

Or on the command line, where `--target` is what the adapter is to learn:

```
lalora train {base if known else "MODEL"} --laplace {repo_id} --target my-task=rows.jsonl
```

## Size

{size}.{_of_cost(size)}

## Provenance

lalora {provenance.lalora}, {provenance.created}.{_of_revision(provenance.base_revision)}
Fisher `{fit.fisher}`, labels `{fit.labels}`, datasets combined by `{fit.combine}`, seed {fit.seed}.{more}
LoRA: `{provenance.lora or "any"}`.

| source dataset | rows | completion tokens | SHA-256 |
|---|---:|---:|---|
{rows}
{_licence(licence)}
## Privacy

{FITTED[fit.curvature].privacy} Do not fit on private text and publish the result without a review.
"""


def _licence(licence: str | None) -> str:
    if licence is None:
        return ""
    told = (
        f"Released as `{licence}`. It is computed from the base model and the datasets above: their licences apply too."
    )
    return f"\n## Licence\n\n{told}\n"


def _of_cost(size: Size) -> str:
    return f" {size.cost[0].upper()}{size.cost[1:]}." if size.cost else ""


def _of_revision(revision: str | None) -> str:
    return "" if revision is None else f" Base model at commit `{revision}`."


def _of_several(tasks: int) -> str:
    return "" if tasks == 1 else f" The curvatures of {tasks} tasks are added up; these settings are the last one's."
