"""Turn a GGUF checkpoint into an ordinary model folder: safetensors weights, config and tokenizer."""

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import decoders
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast


def convert_gguf(gguf: Path, folder: Path) -> None:
    """Write the model and the tokenizer of a SmolLM2 GGUF file as a folder for `from_pretrained`.

    The weights become bfloat16 and no trace of quantisation is left in the config.
    """
    where = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    quantised = AutoModelForCausalLM.from_pretrained(**where, **_dequantise(), dtype=torch.bfloat16)
    config = quantised.config.__class__.from_dict(
        {key: value for key, value in quantised.config.to_dict().items() if key != "quantization_config"}
    )
    # A model that was loaded from GGUF remembers its quantizer and refuses to be saved; a fresh one does not.
    model = type(quantised)(config).bfloat16()
    model.load_state_dict(quantised.state_dict())
    # Releases of transformers disagree on the special tokens that they read from the file; ids are settled here.
    model.config.pad_token_id = model.config.eos_token_id
    model.generation_config = quantised.generation_config
    model.generation_config.pad_token_id = model.config.eos_token_id
    model.save_pretrained(folder)

    read = AutoTokenizer.from_pretrained(**where)
    backend = read.backend_tokenizer
    # SmolLM2 splits numbers into digits before anything else; the readers of GGUF files forget that step,
    # which changes how spaces in front of a digit are encoded.
    backend.pre_tokenizer = Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend,
        bos_token=backend.id_to_token(config.bos_token_id),
        eos_token=backend.id_to_token(config.eos_token_id),
        pad_token=backend.id_to_token(config.eos_token_id),
        unk_token=backend.id_to_token(0),
        model_max_length=config.max_position_embeddings,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = read.chat_template
    tokenizer.save_pretrained(folder)


def _dequantise() -> dict[str, Any]:
    # Newer releases of transformers can keep the weights packed, older ones always unpack them.
    config = getattr(transformers, "GgufConfig", None)
    return {} if config is None else {"quantization_config": config(dequantize=True)}
