"""CorDA in knowledge-preserved mode (Yang et al., 2024, arXiv 2406.05223), through PEFT's own initialisation."""

from __future__ import annotations

import copy
from functools import partial

import torch
from peft import LoraConfig, PeftModel
from peft.tuners.lora.config import CordaConfig
from peft.tuners.lora.layer import LoraLayer

from lalora.adapter import LinearPair, base_config
from lalora.errors import LaloraError, warn
from lalora.extras import named_if_missing
from lalora.methods._replaced_start import ReplacedStart
from lalora.methods.base import Sources
from lalora.undisturbed import modes_kept

_TOKENS_A_DIMENSION = 128
"""As PEFT's `preprocess_corda` asks for: HIDDEN_DIM / TOKEN_PER_SAMPLE · 128 samples."""


class Corda(ReplacedStart):
    """Starts from the part of W that matters least on source text.

    With C = Σ x xᵀ of the inputs on the source rows (each row scaled by its largest entry) and WC = UΣVᵀ, s·B₀A₀ is
    U_rΣ_rV_rᵀC⁻¹ in the r smallest triples. PEFT computes it; each row goes through the model by itself, without
    padding, as PEFT expects. C⁻¹ makes A₀ large where text hardly goes, so that learning rates that suit LoRA diverge.

    Authors and PEFT take 256 rows of 2048 tokens for a hidden size of 4096: 128 tokens for each of its dimensions.
    With fewer, C tells little apart beyond the damping that PEFT adds to its diagonal, and this start is not the one
    that the authors measured; a warning says what part of them there is. A study of 8 rows of a few dozen tokens for
    each source has a hundredth.
    """

    name = "corda"
    label = "CorDA"
    citation = "Yang et al., 2024"
    needs_source = True
    grid = (2e-5, 5e-5, 1e-4)
    needs = "source text; d_in² and an SVD for every adapted weight; these weights twice in memory; plain linear LoRA"

    def choose(self, model: PeftModel, pairs: list[LinearPair], sources: Sources) -> None:
        """Let PEFT write what matters least into the adapter."""
        # It imports attrs, which PEFT does not declare.
        with named_if_missing("method 'corda'"):
            from peft.tuners.lora.corda import preprocess_corda

        rows = [
            batch["input_ids"][[row]][:, batch["attention_mask"][row].bool()]
            for batches in sources.values()
            for batch in batches
            for row in range(len(batch["input_ids"]))
        ]
        if not rows:
            raise LaloraError("method 'corda' needs source text: give at least one source")
        _tell_of_few(rows, base_config(model).get_text_config().hidden_size)
        adapter = model.active_adapters[0]
        base = model.get_base_model()
        names = {id(module): name for name, module in base.named_modules()}
        layers = {pair.layer: model.get_submodule(pair.layer) for pair in pairs}
        config = copy.copy(model.peft_config[adapter])
        assert isinstance(config, LoraConfig)
        config.corda_config = CordaConfig(corda_method="kpm")
        config.target_modules = [names[id(layer.get_base_layer())] for layer in layers.values()]  # type: ignore[operator]
        try:
            with modes_kept(model):
                preprocess_corda(base, config, partial(_run, model, rows))
            for layer in layers.values():
                assert isinstance(layer, LoraLayer)
                layer.corda_init(adapter, "corda")  # type: ignore[no-untyped-call]
        except ValueError as error:
            raise LaloraError(f"method 'corda': {error}") from error


def _tell_of_few(rows: list[torch.Tensor], hidden: int) -> None:
    tokens, wanted = sum(row.numel() for row in rows), _TOKENS_A_DIMENSION * hidden
    if tokens < wanted:
        warn(
            f"method 'corda' reads {tokens} source tokens in {len(rows)} rows, {tokens / wanted:.2g} of the {wanted} "
            f"that PEFT asks for with a hidden size of {hidden}: its start may keep less than it should; give more "
            "source rows"
        )


def _run(model: PeftModel, rows: list[torch.Tensor]) -> None:
    for row in rows:
        model(input_ids=row.to(model.device), use_cache=False)
