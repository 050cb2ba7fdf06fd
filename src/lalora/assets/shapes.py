"""Shapes of models that the paper fine-tunes and of larger ones, for what needs their size and not their weights."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from transformers import LlamaConfig, PretrainedConfig

_LLAMA_3: Mapping[str, Any] = MappingProxyType(
    {"vocab_size": 128256, "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "max_position_embeddings": 131072}
)
# Architecture as in the config.json of each repository, whose weights are behind a licence.
_SHAPES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "meta-llama/Llama-3.2-1B": {
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_hidden_layers": 16,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 64,
            "tie_word_embeddings": True,
        },
        "meta-llama/Llama-3.2-3B": {
            "hidden_size": 3072,
            "intermediate_size": 8192,
            "num_hidden_layers": 28,
            "num_attention_heads": 24,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "tie_word_embeddings": True,
        },
        "meta-llama/Llama-3.1-8B": {
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "tie_word_embeddings": False,
        },
        "meta-llama/Llama-3.1-70B": {
            "hidden_size": 8192,
            "intermediate_size": 28672,
            "num_hidden_layers": 80,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "tie_word_embeddings": False,
        },
        "meta-llama/Llama-3.1-405B": {
            "hidden_size": 16384,
            "intermediate_size": 53248,
            "num_hidden_layers": 126,
            "num_attention_heads": 128,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "tie_word_embeddings": False,
        },
    }
)


def known_shape(name: str) -> PretrainedConfig | None:
    """Give a configuration of a known model's shape, or None, without asking the hub."""
    return LlamaConfig(**_LLAMA_3, **_SHAPES[name]) if name in _SHAPES else None
