"""Load models and tokenizers by embedded name, local folder or hub id."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from lalora.assets.catalogue import ASSETS
from lalora.assets.store import asset_folder
from lalora.errors import LaloraError


def load_model(name_or_path: str, dtype: torch.dtype) -> PreTrainedModel:
    """Load a causal language model; weights only from safetensors, never pickle or remote code.

    Args:
        name_or_path: an embedded model's name, a local model folder, or an id on the Hugging Face hub.
        dtype: the dtype of the weights.

    Returns:
        The model in evaluation mode, on the CPU.

    Raises:
        LaloraError: there is no such model, or the hub cannot be reached.
    """
    where = _locate(name_or_path)
    try:
        # from_pretrained leaves the model in evaluation mode.
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(**where, dtype=dtype, use_safetensors=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise LaloraError(_explain("model", name_or_path, error)) from error
    return model


def load_tokenizer(name_or_path: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model; where it has no pad token, the end-of-text token serves as one.

    Args:
        name_or_path: an embedded model's name, a local model folder, or an id on the Hugging Face hub.

    Returns:
        The tokenizer.

    Raises:
        LaloraError: there is no such tokenizer, the hub cannot be reached, or it has no end-of-text token.
    """
    where = _locate(name_or_path)
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(**where)
    except (OSError, ValueError, RuntimeError) as error:
        raise LaloraError(_explain("tokenizer", name_or_path, error)) from error
    if tokenizer.eos_token is None:
        raise LaloraError(f"the tokenizer of '{name_or_path}' has no end-of-text token; set its eos_token")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _locate(name_or_path: str) -> dict[str, Any]:
    if name_or_path in ASSETS and ASSETS[name_or_path].gguf is not None:
        return {"pretrained_model_name_or_path": str(asset_folder(name_or_path)), "local_files_only": True}
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        return {"pretrained_model_name_or_path": str(folder), "local_files_only": True}
    if name_or_path.startswith((".", "/", "~")):
        raise LaloraError(f"there is no model folder {name_or_path}")
    return {"pretrained_model_name_or_path": name_or_path}


def _explain(what: str, name_or_path: str, error: Exception) -> str:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if Path(name_or_path).expanduser().is_dir() or name_or_path in ASSETS:
        return f"cannot load the {what} in {name_or_path}: {reason}"
    embedded = ", ".join(asset.name for asset in ASSETS.values() if asset.gguf is not None)
    return (
        f"cannot load the {what} '{name_or_path}' from the Hugging Face hub ({reason}); check the id and the "
        f"connection, or give a local model folder or an embedded model ({embedded})"
    )
