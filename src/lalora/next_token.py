"""Whether a model predicts the next token: the only kind whose loss, KL and curvature mean what lalora says they do."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from accelerate.utils import extract_model_from_parallel
from torch import Tensor, nn

from lalora.adapter import base_config, base_model
from lalora.batches import vocabulary
from lalora.errors import LaloraError
from lalora.undisturbed import evaluating, trainability_kept

_OTHER_TASKS = (
    "ForMaskedLM",
    "ForPreTraining",
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForQuestionAnswering",
    "ForMultipleChoice",
    "ForNextSentencePrediction",
)
_LENGTH, _POSITION = 6, 2
# Of the gradient at earlier tokens, how much the one at later tokens may be. Under a causal mask it is exactly zero in
# every precision; what mixes tokens without regard to their order has as much of the one as of the other.
_ROUNDING = 1e-3

_known: weakref.WeakSet[nn.Module] = weakref.WeakSet()


def require_next_token(model: nn.Module) -> None:
    """Refuse a model whose logits at a position are no prediction of the next token from what came before.

    Its class and configuration are asked first. Then a few tokens are tried, once a model: logits must not depend on
    later tokens, which their gradient tells. The model is left unchanged.
    """
    base = base_model(model)
    if base in _known:
        return
    require_decoder(base)
    fault = _fault(base, extract_model_from_parallel(model, keep_torch_compile=False))
    if fault is not None:
        raise LaloraError(
            f"{type(base).__name__} {fault}: lalora serves causal language models only (for BERT-like ones, "
            "is_decoder=True in the configuration makes one)"
        )
    _known.add(base)


def require_decoder(base: nn.Module) -> None:
    """Refuse a model that its class or configuration tells to be of another kind."""
    name, config = type(base).__name__, base_config(base)
    several = getattr(config, "is_encoder_decoder", False)
    if several or name.endswith(_OTHER_TASKS):
        kind = "an encoder–decoder" if several else "no causal language model"
        raise LaloraError(f"{name} is {kind}: lalora serves models that predict the next token (…ForCausalLM)")


def _fault(base: nn.Module, outer: nn.Module) -> str | None:
    # Called from outside, since FSDP gathers what a model needs where its outermost module is called.
    whole: Any = base
    device = next(base.parameters()).device
    ids = (torch.arange(1, _LENGTH + 1, device=device) % vocabulary(base)[0]).unsqueeze(0)
    embedded: list[Tensor] = []

    def cut(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        embedded.append(output.detach().requires_grad_())
        return embedded[-1]

    plain = torch.autocast(device.type, enabled=False)
    with trainability_kept(base), evaluating(base), plain, torch.enable_grad():
        handle = whole.get_input_embeddings().register_forward_hook(cut)
        try:
            base.requires_grad_(False)
            logits = getattr(outer(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False), "logits", None)
            if not isinstance(logits, Tensor) or logits.shape[:-1] != ids.shape:
                return "is no causal language model, since it has no logits for each token"
            if logits.shape[-1] not in (*vocabulary(base), whole.config.get_text_config().vocab_size):
                return f"is no causal language model, since it tells {logits.shape[-1]} classes apart and no tokens"
            if len(embedded) != 1:
                return "does not look its input embeddings up once, so that what its logits depend on cannot be told"
            directions = torch.linspace(-1, 1, logits.shape[-1], device=logits.device, dtype=logits.dtype)
            if not logits.requires_grad:
                return "has logits that cannot be differentiated"
            # Not autograd.grad, which layers that checkpoint themselves the reentrant way do not stand.
            (logits[0, _POSITION] @ directions).backward()  # type: ignore[no-untyped-call]
        except (IndexError, KeyError, TypeError, ValueError):  # one that takes no text without an image, perhaps
            return None
        finally:
            handle.remove()
    gradient = embedded[0].grad
    if gradient is None:
        return "has logits that do not depend on its input embeddings"
    earlier, later = (gradient[0, part].float().norm() for part in (slice(_POSITION), slice(_POSITION + 1, None)))
    return "sees tokens that come later, so it does not predict the next one" if later > _ROUNDING * earlier else None
