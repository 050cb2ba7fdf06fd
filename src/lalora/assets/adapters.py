"""Load an adapter that somebody saved: whole, of the right kind, and without matching a pattern of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from peft import LoraConfig, PeftModel, get_peft_model_state_dict
from pydantic import TypeAdapter, ValidationError
from safetensors import safe_open
from torch import nn

from lalora.adapter import HOLDERS, name_in_base
from lalora.assets.patterns import shown, without_patterns
from lalora.errors import LaloraError, first_of, one_line
from lalora.files import is_path, parse_json
from lalora.hub import reason, why_unavailable

_SETTINGS = "adapter_config.json"
_WEIGHTS = "adapter_model.safetensors"
_MODEL = "config.json"
_OF_A_MODEL = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
"""What is fetched of a full fine-tuning: weights and tokenizer, no code and no pickle."""
_LARGEST_SETTINGS = 1 << 20
# Of the start only, which the saved weights replace; PEFT documents values that its annotation lacks.
_LOOSE = ("init_lora_weights",)
# An alpha may be a fraction, and other versions of PEFT have other settings.
_HARMLESS = ("int_from_float", "unexpected_keyword_argument")


def load_adapter(base: nn.Module, folder: Path, model: str) -> PeftModel:
    """Put a saved LoRA adapter on its base model."""
    settings = adapter_settings(folder)
    weights = folder / _WEIGHTS
    tame = without_patterns(settings, [name for name, _ in base.named_modules()], str(folder / _SETTINGS))
    _require_types(tame, folder / _SETTINGS)
    try:
        known: Any = LoraConfig  # which ships no types
        config = known.from_peft_type(**known.check_kwargs(**tame))
        with safe_open(weights, framework="pt") as file:
            there = set(file.keys())
            alike = _unchanged(base, [name for name in there if not _of_adapter(name)], file)
        tuned = PeftModel.from_pretrained(base, str(folder), config=config)
        loaded = get_peft_model_state_dict(tuned, save_embedding_layers=False)
    except Exception as error:  # whatever a library makes of a damaged folder
        raise LaloraError(f"{folder} is no adapter of {model}: {one_line(error)}") from error
    # PEFT saves embeddings and head along where they are adapted. Any other base weight in the file takes the place of
    # the model's own, after which the model with its adapter switched off is not its base.
    extra = there - set(loaded) - alike
    damaged = "it is damaged or of another model"
    for what, names, meant in (
        ("lacks", set(loaded) - there, f"which its settings name: {damaged}"),
        ("has", set(filter(_of_adapter, extra)), f"which do not fit its settings on {model}: {damaged}"),
        ("has", extra, f"not as in {model} and not named in modules_to_save: an adapter leaves its base as it is"),
        ("holds", {name for name, tensor in loaded.items() if not tensor.isfinite().all()}, "which is not finite"),
    ):
        if names:
            raise LaloraError(f"{weights} {what} {first_of(sorted(names))}, {meant}")
    return tuned


def _require_types(settings: Mapping[str, Any], file: Path) -> None:
    # PEFT checks few of them when it loads an adapter, and a wrong one fails in the first forward pass or later.
    given = {name: value for name, value in settings.items() if name not in _LOOSE}
    try:
        TypeAdapter(LoraConfig).validate_python(given)
    except ValidationError as error:
        for wrong in error.errors():
            if wrong["loc"] and wrong["type"] not in _HARMLESS:
                given_there = shown(given[str(wrong["loc"][0])])
                raise LaloraError(f"{file}: {wrong['loc'][0]} is {given_there} ({wrong['msg']})") from error


def _of_adapter(name: str) -> bool:
    return any(holder in name for holder in HOLDERS)


def _unchanged(base: nn.Module, names: Sequence[str], file: Any) -> set[str]:
    held = base.state_dict()
    found = set()
    for name in names:
        own = held.get(name_in_base(name).replace(".base_layer.", "."))
        if own is not None and list(own.shape) == file.get_slice(name).get_shape():
            found |= {name} if torch.equal(file.get_tensor(name).to(own), own) else set()
    return found


def adapter_folder(name_or_path: str) -> Path:
    """Find an adapter, which is fetched where it is on the hub."""
    folder = Path(name_or_path).expanduser()
    if folder.exists():
        return folder
    if is_path(name_or_path) or name_or_path.count("/") != 1:
        raise LaloraError(f"there is no adapter folder {name_or_path}")
    failed = f"there is no adapter folder '{name_or_path}', and it cannot be fetched from the Hugging Face hub"
    unavailable = why_unavailable(name_or_path, "model")
    here = unavailable is not None
    try:  # what was fetched before is good enough
        found = Path(
            snapshot_download(name_or_path, allow_patterns=[_SETTINGS, _WEIGHTS, _MODEL], local_files_only=here)
        )
        if not is_model(found):
            return found
        return Path(snapshot_download(name_or_path, allow_patterns=list(_OF_A_MODEL), local_files_only=here))
    except Exception as error:  # the client's errors differ between releases
        raise LaloraError(f"{failed}: {unavailable or reason(error)}") from error


def is_model(folder: Path) -> bool:
    """Tell whether a folder holds a whole model and no adapter."""
    return (folder / _MODEL).is_file() and not (folder / _SETTINGS).is_file()


def fine_tuned(name_or_path: str) -> tuple[Path, bool]:
    """Find what was fine-tuned, an adapter or a whole model; tell whether it is the latter."""
    folder = adapter_folder(name_or_path)
    whole = is_model(folder)
    if not whole:
        adapter_settings(folder)
    return folder, whole


def adapter_settings(folder: Path) -> dict[str, Any]:
    """Read the settings of a saved LoRA adapter, without touching its weights."""
    file = folder / _SETTINGS
    if not file.is_file():
        raise LaloraError(f"{folder} holds no PEFT adapter: {_SETTINGS} is missing")
    if file.stat().st_size > _LARGEST_SETTINGS:
        raise LaloraError(f"{file} is too large for the settings of an adapter ({file.stat().st_size} bytes)")
    try:
        settings = parse_json(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise LaloraError(f"{file} is not JSON ({one_line(error)}): fetch the adapter again") from error
    if not isinstance(settings, dict):
        raise LaloraError(f"{file} holds no settings of an adapter: fetch it again")
    if settings.get("peft_type") != "LORA":
        raise LaloraError(
            f"{folder} is an adapter of kind {str(settings.get('peft_type'))[:40]!r}: lalora serves LoRA adapters only"
        )
    if not (folder / _WEIGHTS).is_file():
        raise LaloraError(f"{folder} holds no PEFT adapter: {_WEIGHTS} is missing (pickled weights are not read)")
    return settings
