"""Turn a GGUF checkpoint into an ordinary model folder: safetensors weights, config and tokenizer."""

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
from transformers import AutoModelForCausalLM, AutoTokenizer


def convert_gguf(gguf: Path, folder: Path) -> None:
    """Write the model and the tokenizer of a SmolLM2 GGUF file as a folder for `from_pretrained`.

    The weights become bfloat16 and no trace of quantisation is left in the config.

    Args:
        gguf: the checkpoint.
        folder: where the model folder is written.
    """
    where = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    quantised = AutoModelForCausalLM.from_pretrained(**where, **_dequantise(), dtype=torch.bfloat16)
    config = quantised.config.__class__.from_dict(
        {key: value for key, value in quantised.config.to_dict().items() if key != "quantization_config"}
    )
    # A model that was loaded from GGUF remembers its quantizer and refuses to be saved; a fresh one does not.
    model = type(quantised)(config).to(torch.bfloat16)
    model.load_state_dict(quantised.state_dict())
    model.generation_config = quantised.generation_config
    model.save_pretrained(folder)

    tokenizer = AutoTokenizer.from_pretrained(**where)
    # SmolLM2 splits numbers into digits before anything else; the reader of GGUF files forgets that step,
    # which changes how spaces in front of a digit are encoded.
    tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
    )
    tokenizer.model_max_length = config.max_position_embeddings
    tokenizer.save_pretrained(folder)


def _dequantise() -> dict[str, Any]:
    # Newer releases of transformers can keep the weights packed, older ones always unpack them.
    config = getattr(transformers, "GgufConfig", None)
    return {} if config is None else {"quantization_config": config(dequantize=True)}
