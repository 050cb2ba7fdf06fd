"""The base model of a study: loaded, or of the same shape with random weights where only costs are asked for."""

from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from lalora.assets import is_here, known_shape, load_config, load_model, load_tokenizer, random_model
from lalora.study.recipe.settings import StudySettings
from lalora.study.setup.device import device
from lalora.study.setup.precision import resolve_dtype

_LAYERS_ON_A_CPU = 2
_TOKENIZER = "smollm2-135m"


def load_base(study: StudySettings) -> PreTrainedModel:
    """Load or make the model."""
    dtype = resolve_dtype(study.dtype)
    return random_model(base_config(study), dtype) if study.random_weights else load_model(study.model, dtype)


def base_config(study: StudySettings) -> PretrainedConfig:
    """Load the configuration of the model."""
    config = load_config(study.model)
    if study.random_weights and study.layers != "auto":
        config.num_hidden_layers = study.layers
    elif study.random_weights and device().type == "cpu":
        config.num_hidden_layers = min(config.num_hidden_layers, _LAYERS_ON_A_CPU)
    return config


def load_words(study: StudySettings) -> PreTrainedTokenizerBase:
    """Load the tokenizer."""
    return load_tokenizer(_words_of(study))


def absent(study: StudySettings) -> list[str]:
    """List what of the model would have to be fetched."""
    shape_is_known = study.random_weights and known_shape(study.model) is not None
    needed = {_words_of(study)} if shape_is_known else {study.model, _words_of(study)}
    return sorted(name for name in needed if not is_here(name))


def _words_of(study: StudySettings) -> str:
    return _TOKENIZER if study.random_weights else study.model


def scale_note(study: StudySettings) -> str | None:
    """Say what is not as in the model that the study names."""
    if not study.random_weights:
        return None
    whole, here = load_config(study.model).num_hidden_layers, base_config(study).num_hidden_layers
    layers = f"{here} of its {whole} layers" if here < whole else f"all {whole} layers"
    return f"{study.model} with {layers} and random weights: times and memory mean something, losses do not."
