"""Load models and tokenizers by embedded name, local folder or hub id."""

import re
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from lalora.assets.catalogue import ASSETS
from lalora.assets.shapes import known_shape
from lalora.assets.store import asset_folder, is_fetched
from lalora.errors import LaloraError, first_of, one_line
from lalora.files import is_path
from lalora.hub import reason, why_unavailable
from lalora.next_token import require_next_token

_NUMBER = re.compile(r"\d+")


def is_here(name_or_path: str) -> bool:
    """Tell whether a model is loaded, or refused, without fetching anything."""
    if name_or_path in _EMBEDDED:
        return is_fetched(name_or_path)
    return is_path(name_or_path) or Path(name_or_path).is_dir()


def load_model(name_or_path: str, dtype: torch.dtype) -> PreTrainedModel:
    """Load a causal language model; weights only from safetensors, never pickle or remote code."""
    model = load_any_model(name_or_path, dtype)
    # Encoders load as well, and would see the token that they are to predict. Quantised weights may be packed anew in
    # their first forward pass, after which they are not what the files hold: those are tried when they are fitted.
    if not getattr(model, "is_quantized", False):
        require_next_token(model)
    return model


def load_any_model(name_or_path: str, dtype: torch.dtype) -> PreTrainedModel:
    """Load as `load_model` does, without a look at whether the model predicts the next token."""
    with _explained("model", name_or_path) as where:
        # Weights of another shape are named below; transformers alone says only that there are some.
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            **where, dtype=dtype, use_safetensors=True, output_loading_info=True, ignore_mismatched_sizes=True
        )
    model: PreTrainedModel = loaded[0]
    _require_whole(name_or_path, model, loaded[1])
    return model


def _require_whole(name: str, model: PreTrainedModel, info: Mapping[str, Any]) -> None:
    # transformers makes up what is missing at random and drops what is too much.
    other_shapes = [one[0] if isinstance(one, tuple) else one for one in info.get("mismatched_keys", ())]
    found = {
        "lacks": sorted(info.get("missing_keys", ())),
        "has, in another shape,": sorted(other_shapes),
        "has besides": _dropped(model, info.get("unexpected_keys", ())),
    }
    for what, keys in found.items():
        if keys:
            raise LaloraError(
                f"the model '{name}' {what} the weight {first_of(keys)}, so its files do not fit its config.json: "
                "fetch it again"
            )


def _dropped(model: PreTrainedModel, unexpected: Iterable[str]) -> list[str]:
    # Towers, heads and buffers of other tasks are harmless. What belongs to a layer that the model has is not.
    tensors = {_pattern(key) for key in model.state_dict()}
    modules = {_pattern(name) for name, _ in model.named_modules()}
    holders = {_pattern(name) for name, module in model.named_modules() if [*module.parameters(recurse=False)]}
    packed = getattr(model, "is_quantized", False)  # with names of its own

    def belongs(key: str) -> bool:
        pattern = _pattern(key)
        holder, _, kind = pattern.rpartition(".")
        layer = pattern[: pattern.find(".N.") + 2]
        new_module = kind in ("weight", "bias") and layer in modules and holder not in modules
        return pattern in tensors or (not packed and (holder in holders or new_module))

    return sorted(filter(belongs, unexpected))


def _pattern(name: str) -> str:
    return _NUMBER.sub("N", name)


def load_config(name_or_path: str) -> PretrainedConfig:
    """Load the configuration of a model, which tells its shape; those of the paper's models are known offline."""
    known = known_shape(name_or_path)
    if known is not None:
        return known
    with _explained("configuration", name_or_path) as where:
        config: PretrainedConfig = AutoConfig.from_pretrained(**where)
    return config


def random_model(config: PretrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
    """Make a causal language model with random weights, always the same ones."""
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=dtype)  # type: ignore[no-untyped-call]
    model.train(False)
    return model


def load_tokenizer(name_or_path: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model; where it has no pad token, the end-of-text token serves as one."""
    with _explained("tokenizer", name_or_path) as where:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(**where)
    if tokenizer.eos_token is None:
        raise LaloraError(f"the tokenizer of '{name_or_path}' has no end-of-text token; set its eos_token")
    longest: Any = tokenizer.model_max_length
    if not (isinstance(longest, int | float) and longest >= 1):
        shown = one_line(ValueError(repr(longest)), 80)
        raise LaloraError(
            f"the tokenizer of '{name_or_path}' has a model_max_length of {shown}: it must be a number ≥ 1"
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


@contextmanager
def _explained(what: str, name_or_path: str) -> Generator[dict[str, Any], None, None]:
    # Yields the arguments of from_pretrained, and turns what it raises into one line.
    folder = None
    try:
        folder = _local(name_or_path)
        yield {"pretrained_model_name_or_path": folder or name_or_path, "local_files_only": folder is not None}
    except LaloraError:
        raise
    except Exception as error:  # whatever a library makes of a damaged folder
        why = reason(error) if folder is None else one_line(error)
        raise LaloraError(
            f"cannot load the {what} '{name_or_path}' ({why}); give a local model folder, an id on the "
            f"Hugging Face hub that can be reached, or an embedded model ({', '.join(_EMBEDDED)})"
        ) from error


def _local(name_or_path: str) -> str | None:
    # The folder on disk, None where the hub has to be asked for it.
    if name_or_path in _EMBEDDED:
        return str(asset_folder(name_or_path))
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        return str(folder)
    if is_path(name_or_path):
        raise LaloraError(f"there is no model folder {name_or_path}")
    unavailable = why_unavailable(name_or_path, "model")
    if unavailable is None:
        return None
    try:  # what was loaded before is good enough
        return snapshot_download(name_or_path, local_files_only=True)
    except (OSError, ValueError):
        raise OSError(f"the Hugging Face hub: {unavailable}") from None


_EMBEDDED = tuple(asset.name for asset in ASSETS.values() if asset.gguf is not None)
