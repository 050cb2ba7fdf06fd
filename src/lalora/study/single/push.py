"""A folder that `lalora fit`, `train` or `soften` wrote, put on the Hugging Face hub."""

import json
import shutil
import tempfile
from pathlib import Path

from lalora.assets import adapter_settings
from lalora.errors import LaloraError
from lalora.files import write_json
from lalora.hub import card_header, is_id, upload
from lalora.laplace import Laplace
from lalora.study.setup.context import Say

LAPLACE, SETTINGS, WEIGHTS = "laplace.json", "adapter_config.json", "adapter_model.safetensors"


def push_folder(
    folder: Path,
    repo_id: str,
    private: bool,
    licence: str | None,
    base_model: str | None,
    max_share: float | None,
    say: Say,
) -> str:
    """Upload a Laplace or an adapter; return the commit's address."""
    if not is_id(repo_id):
        raise LaloraError(f"'{repo_id}' is no id on the Hugging Face hub: give user/name")
    if base_model is not None and not is_id(base_model):
        raise LaloraError(f"--base-model is an id on the Hugging Face hub, user/name, not '{base_model}'")
    if (folder / LAPLACE).is_file():
        return _laplace(folder, repo_id, private, licence, base_model, max_share, say)
    if (folder / SETTINGS).is_file():
        if max_share is not None:
            raise LaloraError("--max-share truncates a Laplace, and this is an adapter: leave it out")
        return _adapter(folder, repo_id, private, licence, base_model, say)
    raise LaloraError(
        f"{folder} holds neither {LAPLACE} nor {SETTINGS}: give what `lalora fit`, `train` or `soften` wrote"
    )


def _laplace(
    folder: Path,
    repo_id: str,
    private: bool,
    licence: str | None,
    base_model: str | None,
    share: float | None,
    say: Say,
) -> str:
    kept = Laplace.load(folder)
    told = kept.for_publishing(base_model, share)
    size = told.size()
    say(f"kept here: {kept.size()}")
    say(f"published: {size}")
    if size.cost:
        say(size.cost)
    if not is_id(told.provenance.base_model):
        say("the card names no base model, since this one was loaded from a folder: --base-model user/name names it")
    return kept.push_to_hub(repo_id, licence, base_model=base_model, max_share=share, private=private)


def _adapter(folder: Path, repo_id: str, private: bool, licence: str | None, base_model: str | None, say: Say) -> str:
    settings = adapter_settings(folder)
    base = base_model or settings.get("base_model_name_or_path")
    known = isinstance(base, str) and is_id(base) and not Path(base).exists()
    if not known:
        say("its settings will name no base model, since it was a folder: --base-model user/name names it")
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        # What it was trained on may be a path of this machine, which is nobody's business and of no use elsewhere.
        write_json(copy / SETTINGS, {**settings, "base_model_name_or_path": base if known else None})
        shutil.copyfile(folder / WEIGHTS, copy / WEIGHTS)
        (copy / "README.md").write_text(_card(base if known else None, repo_id, licence, folder), encoding="utf-8")
        return upload(copy, repo_id, "Add an adapter", private=private)


def _card(base: str | None, repo_id: str, licence: str | None, folder: Path) -> str:
    header = card_header(license=licence, base_model=base, library_name="peft", tags="[lalora, lora, peft]")
    model = base or "MODEL"
    return f"""---
{header}---
# LoRA adapter{f" of {base}" if base else ""}
{_measured(folder)}
```python
from peft import PeftModel

model = PeftModel.from_pretrained(base, "{repo_id}")  # `base` is the model that it was trained on
```

What it learned and forgot, on text of your own: `lalora evaluate {model} {repo_id} --source mine=notes.txt`
"""


def _measured(folder: Path) -> str:
    # Of the version that was chosen, in the document that `lalora soften` wrote.
    try:
        document = json.loads((folder / "front.json").read_text(encoding="utf-8"))
        strength = float(document["choice"]["strength"])
        (row,) = [one for one in document["versions"] if one["kind"] == "softened" and one["strength"] == strength]
        low, high = row["interval"]
        texts = ", ".join(map(str, document["sources"]))
        return (
            f"\nSoftened by lalora at λ = {strength:g}: drift {float(row['source_kl']):.4f} nats per token "
            f"(95 % {float(low):.4f} to {float(high):.4f}) on {texts}.\n"
        )
    except (OSError, ValueError, KeyError, TypeError):
        return ""
