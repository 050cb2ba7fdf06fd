"""What is refused under an engine, before anything is trained."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lalora import LaloraError
from lalora.engines import FSDP2, ZERO, engine_of
from lalora.methods import KL, L2, LaLoRA, Lora, Migu
from lalora.methods.compatible import require_engine
from tiny import lora


def state(**plugins: Any) -> Any:
    return SimpleNamespace(mixed_precision="no", **plugins)


def test_one_process_and_ddp_have_no_engine() -> None:
    assert engine_of(state(), lora()) is None


def test_engines_are_named() -> None:
    fsdp = SimpleNamespace(fsdp_version=2, cpu_ram_efficient_loading=False)
    assert engine_of(state(fsdp_plugin=fsdp), lora()) == FSDP2
    assert engine_of(state(deepspeed_plugin=SimpleNamespace()), lora()) == ZERO


@pytest.mark.parametrize(
    ("plugins", "message"),
    [
        ({"fsdp_plugin": SimpleNamespace(fsdp_version=1)}, "'fsdp_version': 2"),
        (
            {"fsdp_plugin": SimpleNamespace(fsdp_version=2, cpu_ram_efficient_loading=True)},
            "'cpu_ram_efficient_loading': False",
        ),
        ({"deepspeed_plugin": SimpleNamespace(), "mixed_precision": "fp16"}, "use bf16"),
    ],
)
def test_what_cannot_be_served_is_refused(plugins: dict[str, Any], message: str) -> None:
    with pytest.raises(LaloraError, match=message):
        engine_of(SimpleNamespace(**{"mixed_precision": "no", **plugins}), lora())


def test_methods_act_only_where_they_were_tested() -> None:
    require_engine(FSDP2, [LaLoRA(1.0), KL()])
    require_engine(ZERO, [Lora(), L2()])
    require_engine(None, [Migu()])
    with pytest.raises(LaloraError, match="'kl' was never tested under DeepSpeed ZeRO"):
        require_engine(ZERO, [LaLoRA(1.0), KL()])
    with pytest.raises(LaloraError, match="'migu' was never tested under FSDP2"):
        require_engine(FSDP2, [Migu()])
