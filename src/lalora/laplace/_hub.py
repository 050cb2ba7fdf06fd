"""A Laplace on the Hugging Face hub, with a model card."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from lalora.curvature import FITTED
from lalora.errors import LaloraError, one_line
from lalora.laplace import _storage
from lalora.laplace._provenance import Provenance

_UNREACHABLE = (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    ConnectionError,
    TimeoutError,
    OSError,
)

_OF_ADAPTER = "over the weights of a LoRA adapter"
_OF_BASE = "over the weights of the base model, for plain LoRA of any rank and scale"
_START = "laplace.restore_mean(model)  # the adapter starts where the curvature was fitted"
_MEETING = "laplace.check(model)  # before training: drift is measured from where it first meets the adapter"


def push(save: Callable[[Path], None], provenance: Provenance, repo_id: str, licence: str, **options: Any) -> str:
    """Upload the files and a card."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save(folder)
        (folder / "README.md").write_text(card(provenance, repo_id, licence), encoding="utf-8")
        try:
            api = HfApi(token=options.pop("token", None))
            api.create_repo(repo_id, exist_ok=True, **options)
            return str(
                api.upload_folder(
                    repo_id=repo_id,
                    folder_path=folder,
                    commit_message="Add a Laplace",
                    delete_patterns=_storage.TENSORS,
                )
            )
        except _UNREACHABLE as error:
            raise LaloraError(
                f"cannot push to '{repo_id}': {one_line(error)}; check the id, token and network"
            ) from error


def pull(repo_id: str, **options: Any) -> Path:
    """Download the two files."""
    try:
        return Path(snapshot_download(repo_id, allow_patterns=[_storage.TENSORS, _storage.DESCRIPTION], **options))
    except _UNREACHABLE as error:
        raise LaloraError(
            f"cannot fetch '{repo_id}' from the hub: {one_line(error)}; check the id and network, "
            "or load a local folder with Laplace.load"
        ) from error


def card(provenance: Provenance, repo_id: str, licence: str) -> str:
    """Write the model card."""
    fit = provenance.fit
    rows = "\n".join(
        f"| {data.name} | {data.rows} | {data.tokens} | `{data.sha256[:16]}` |" for data in provenance.datasets
    )
    return f"""---
license: {licence}
base_model: {provenance.base_model}
library_name: lalora
tags: [lalora, laplace, lora, peft]
---
# Laplace approximation for LoRA on {provenance.base_model}

Curvature (`{fit.curvature}`) of the source likelihood {_OF_ADAPTER if provenance.lora else _OF_BASE}.
As a penalty, while an adapter learns something new, it keeps what the base model knows.

```python
import lalora

laplace = lalora.Laplace.from_hub("{repo_id}")
{_START if provenance.lora else _MEETING}
loss = loss + laplace.penalty(model, strength=1.0)
```

## Provenance

lalora {provenance.lalora}, {provenance.created}. Fisher `{fit.fisher}`, labels `{fit.labels}`,
datasets combined by `{fit.combine}`, seed {fit.seed}.{_of_several(provenance.tasks)}
LoRA: `{provenance.lora or "any"}`.

| source dataset | rows | completion tokens | SHA-256 |
|---|---:|---:|---|
{rows}

## Licence

Released as `{licence}`. It is computed from the base model and the datasets above: their licences apply too.

## Privacy

{FITTED[fit.curvature].privacy} Do not fit on private text and publish the result without a review.
"""


def _of_several(tasks: int) -> str:
    return "" if tasks == 1 else f" The curvatures of {tasks} tasks are added up; these settings are the last one's."
