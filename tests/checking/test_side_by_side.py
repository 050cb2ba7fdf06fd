"""A row alone and in a batch: models that are at fault in a known way, each of which must be told by its part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, GPT2Config, GPT2LMHeadModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from lalora.checking import Checked, check
from tiny import VOCABULARY, llama, tokenizer

SHORTEST = 5


def changed(change: Callable[[Tensor], Tensor], dtype: torch.dtype = torch.float32) -> nn.Module:
    """A Llama in which something happens to what the first block's feed-forward layer gives on."""
    model = llama(dtype=dtype)
    model.model.layers[0].mlp.register_forward_hook(lambda module, inputs, output: change(output))
    return model


def noisy(values: Tensor) -> Tensor:
    return values + torch.randn_like(values)


def minus_the_mean_row(values: Tensor) -> Tensor:
    return values - values.mean(dim=0, keepdim=True)


def by_the_longest(values: Tensor) -> Tensor:
    return values * (1 + values.shape[1] / 10) if values.shape[1] > SHORTEST else values


def by_the_longest_in_half(values: Tensor) -> Tensor:
    return values if values.dtype is torch.float32 else by_the_longest(values)


RIGHT = {
    "random": (noisy, torch.float32, "something is random in evaluation mode"),
    "neighbours": (minus_the_mean_row, torch.float32, "rows of one batch depend on each other even without padding"),
    "padding": (by_the_longest, torch.float32, "does not leave out the positions that the attention mask hides"),
    "precision": (by_the_longest_in_half, torch.bfloat16, "precision: in float32 there is no such difference"),
}


@pytest.mark.parametrize("case", RIGHT)
def test_what_is_at_fault_is_told_in_the_verdict(case: str) -> None:
    change, dtype, fault = RIGHT[case]
    found = check(changed(change, dtype), tokenizer())
    assert found.right is not None
    assert not found.right.same
    assert fault in found.right.fault
    # Rounding is told, and refuses nothing.
    assert found.works == (case == "precision")
    assert fault in (str(found) if found.works else str(found).splitlines()[0])


def left_of(found: Checked) -> Any:
    assert found.right is not None
    assert found.left is not None
    assert found.works
    assert found.right.same
    return found.left


def test_learned_positions_are_at_fault_on_the_left_alone() -> None:
    settings: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 0, "initializer_range": 0.3}
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=VOCABULARY, n_positions=64, n_embd=16, n_layer=2, n_head=2, **settings)
    )
    found = check(model, tokenizer())
    left = left_of(found)
    assert left.loss > 0.1
    assert left.fault.startswith("position ids")
    assert "lalora moves such padding to the right" in str(found)


def test_an_attention_that_sees_padding_is_at_fault_on_the_left() -> None:
    def blind(module: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: Any, **given: Any) -> Any:
        return sdpa_attention_forward(module, q, k, v, None, is_causal=True, **given)

    AttentionInterface.register("blind", blind)
    AttentionMaskInterface.register("blind", sdpa_mask)
    model = llama()
    model.set_attn_implementation("blind")
    left = left_of(check(model, tokenizer()))
    assert "attention implementation 'blind'" in left.fault
    assert model.config._attn_implementation == "blind"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_rounding_is_no_fault(dtype: torch.dtype) -> None:
    found = check(llama(dtype=dtype), tokenizer())
    for difference in (found.right, left_of(found)):
        assert difference is not None
        assert difference.same
        assert not difference.fault
    assert found.right is not None
    assert found.right.allowed == torch.finfo(dtype).eps ** 0.5
