"""The model at its start: frozen base weights and a fresh adapter that changes nothing yet."""

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import set_seed

from lalora.adapter import adapter_tensors
from lalora.errors import LaloraError
from lalora.study.device import device
from lalora.study.settings import RunSettings


def with_adapter(base: nn.Module, settings: RunSettings) -> PeftModel:
    """Give a model a fresh adapter.

    Runs of the same seed and shape start from the very same adapter, whatever their method and device.

    Args:
        base: The model.
        settings: Shape, targets and seed of the adapter.

    Returns:
        A PEFT model on the device, its adapter in float32 and B = 0.
    """
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=settings.target_modules,
        task_type="CAUSAL_LM",
    )
    return adapted(base, config, settings.seed)


def adapted(base: nn.Module, config: LoraConfig, seed: int) -> PeftModel:
    """Put a fresh adapter on a model and move both to the device.

    Args:
        base: The model.
        config: The adapter's configuration.
        seed: Of its random start.

    Returns:
        The PEFT model.

    Raises:
        LaloraError: If no module matches `target_modules`.
    """
    set_seed(seed)
    try:
        model = get_peft_model(base, config)
    except ValueError as error:
        reason = str(error).split(". ")[0]
        raise LaloraError(f"target_modules={config.target_modules!r}: {reason}") from error
    return model.to(device())


def changes_nothing(model: PeftModel) -> bool:
    """Tell whether the adapter leaves the base model's function as it is.

    Args:
        model: A PEFT LoRA model.

    Returns:
        Whether every tensor of it besides the A matrices is zero.
    """
    others = [tensor for name, tensor in adapter_tensors(model).items() if "lora_A" not in name]
    return not any(bool(tensor.detach().any()) for tensor in others)
