"""What a process ends with under engines: `torchrun worker.py OUT ENGINE…`; `none` is what the others are held to."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments
from transformers.distributed import DistributedConfig

import lalora
from lalora import LaloraError
from lalora.adapter import adapter_tensors
from lalora.engines import whole
from lalora.methods import KL, L2, Replay
from tiny import Batch, batches, collate, llama, lora, rows

CURVATURES = ("weight-kfac", "diagonal", "kfac")
STRENGTH = 50.0
ZERO_AUTO = ("train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping", "train_batch_size")


def shard_on_cpu() -> None:
    """Let accelerate, which knows FSDP on accelerators alone, take it on a CPU, where torch does it too."""
    make = AcceleratorState.__init__

    def with_fsdp(state: AcceleratorState, *args: Any, fsdp_plugin: Any = None, **kwargs: Any) -> None:
        make(state, *args, fsdp_plugin=fsdp_plugin, **kwargs)
        if fsdp_plugin is not None:
            state.distributed_type, state.fsdp_plugin = DistributedType.FSDP, fsdp_plugin

    AcceleratorState.__init__ = with_fsdp  # type: ignore[method-assign]


def without_a_compiler() -> None:
    """Let DeepSpeed's processes talk by gloo alone, in the place of what it would compile for that on a CPU."""
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def own_part(items: list[Batch]) -> list[Batch]:
    return items[dist.get_rank() :: dist.get_world_size()]


def whole_tensors(model: nn.Module) -> dict[str, Tensor]:
    tensors = adapter_tensors(model)
    return {name: value.clone() for name, value in zip(tensors, whole(list(tensors.values())), strict=True)}


def sharded(model: PeftModel, **policy: Any) -> PeftModel:
    for layer in model.get_base_model().model.layers:
        fully_shard(layer, **policy)
    return fully_shard(model, **policy)


class Worker:
    """Every case under one engine."""

    def __init__(self, engine: str, out: Path) -> None:
        self.engine, self.out = engine, out / engine
        self.is_zero = engine.startswith("zero")
        # DeepSpeed keeps gradients in float32.
        self.dtype = torch.float32 if self.is_zero or engine == "none32" else torch.float64
        self.found: dict[str, Any] = {}

    def model(self) -> PeftModel:
        return lora(dtype=self.dtype, b_scale=0.2)

    def arguments(self, name: str, **settings: Any) -> TrainingArguments:
        engine: dict[str, Any] = {}
        if self.engine == "fsdp2":
            fsdp = {
                "fsdp_version": 2,
                "transformer_layer_cls_to_wrap": ["LlamaDecoderLayer"],
                "state_dict_type": "SHARDED_STATE_DICT",
            }
            engine = {"fsdp": True, "fsdp_config": fsdp}
        if self.is_zero:
            zero = {"zero_optimization": {"stage": int(self.engine[-1])}, "zero_allow_untested_optimizer": True}
            engine = {"deepspeed": zero | dict.fromkeys(ZERO_AUTO, "auto")}
        return TrainingArguments(
            **{
                "output_dir": str(self.out / name),
                "max_steps": 4,
                "per_device_train_batch_size": 4 // dist.get_world_size(),
                "gradient_accumulation_steps": 2,
                "learning_rate": 1e-2,
                "optim": "sgd",
                "max_grad_norm": 0.5,
                "save_strategy": "no",
                "logging_steps": 1,
                "report_to": "none",
                "use_cpu": True,
                "disable_tqdm": True,
                "seed": 3,
                "remove_unused_columns": False,
                "dataloader_drop_last": True,
                "ddp_backend": "gloo",
                **engine,
                **settings,
            }
        )

    def fitted(self, model: nn.Module, curvature: str = "weight-kfac") -> lalora.Laplace:
        return lalora.fit(model, batches(own_part(rows(4)), 2), progress=False, curvature=curvature, labels="data")

    def trained(
        self, name: str, model: nn.Module | None = None, kind: type[Trainer] = lalora.MethodTrainer, **settings: Any
    ) -> Trainer:
        model = self.model() if model is None else model
        start = whole_tensors(model)
        kept, resume = settings.pop("arguments", {}), settings.pop("resume", None)
        args = self.arguments(name, **kept)
        trainer = kind(model=model, args=args, train_dataset=rows(32, seed=5), data_collator=collate, **settings)
        if callback := self.drift_callback(trainer, name):
            trainer.add_callback(callback)
        trainer.train(resume_from_checkpoint=resume)
        logged = [
            {key: float(entry[key]) for key in entry if key.startswith(("penalty", "forecast", "grad_norm_", "drift"))}
            for entry in trainer.state.log_history
        ]
        self.found[name] = {
            "start": start,
            "tensors": whole_tensors(trainer.model),
            "engine": type(trainer.model_wrapped).__name__,
            "sharded": any(isinstance(parameter, DTensor) for parameter in trainer.model.parameters()),
            "partitioned": any(hasattr(parameter, "ds_id") for parameter in trainer.model.parameters()),
            "logged": [entry for entry in logged if entry],
        }
        return trainer

    def drift_callback(self, trainer: Trainer, name: str) -> lalora.DriftCallback | None:
        rows_of_source = {"general": batches(rows(4), 2)}
        return lalora.DriftCallback(trainer, rows_of_source, every=2) if name == "drift" else None

    def in_trainers(self) -> None:
        for curvature in CURVATURES[:1] if self.is_zero else CURVATURES:
            model = self.model()
            laplace = self.fitted(model, curvature)
            self.trained(curvature, model, lalora.LaplaceTrainer, laplace=laplace, strength=STRENGTH)
        model = self.model()
        callback = lalora.LaplaceCallback(self.fitted(model), STRENGTH)
        # It acts after clipping, and under DeepSpeed before.
        self.trained("callback", model, Trainer, callbacks=[callback], arguments={"max_grad_norm": 0.0})
        if self.engine in ("zero1", "zero2"):
            return
        for method in (L2(0.5), Replay(0.5)) if self.is_zero else (L2(0.5), Replay(0.5), KL(2.0, every=2)):
            self.trained(method.name, methods=[method], sources={"general": batches(rows(4), 2)})
        self.trained("drift")

    def resumed(self) -> None:
        for name, resume in (("whole run", None), ("resumed", str(self.out / "whole run" / "checkpoint-2"))):
            model = self.model()
            trainer = self.trained(
                name,
                model,
                lalora.LaplaceTrainer,
                laplace=self.fitted(model),
                strength=STRENGTH,
                arguments={"save_strategy": "steps", "save_steps": 2},
                resume=resume,
            )
        trainer.save_model(str(self.out / "saved"))

    def fits_of_sharded(self) -> None:
        for curvature in CURVATURES:
            model = self.model()
            laplace = self.fitted(sharded(model) if self.engine == "fsdp2" else model, curvature)
            self.found[f"fit of {curvature}"] = {"tensors": laplace.curvature.tensors() | laplace.mean}

    def own_loop(
        self,
        name: str,
        loss_of: Callable[[lalora.Laplace, PeftModel, Tensor], Tensor],
        after: Callable[[lalora.Laplace, PeftModel], Any],
        fits_sharded: bool = True,
    ) -> None:
        model = self.model()
        start = whole_tensors(model)
        laplace = self.fitted(model)
        if self.engine == "fsdp2":
            # With another precision of reduction a fit would leave its gradients to the next step.
            sharded(model, mp_policy=MixedPrecisionPolicy(reduce_dtype=torch.float32 if fits_sharded else None))
            laplace = self.fitted(model) if fits_sharded else laplace
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
        for items in (rows(4, seed=8), rows(4, seed=9)):
            # Rows of one length, so that the mean over processes is the mean over tokens.
            even = [{"input_ids": item["input_ids"][:5], "labels": item["input_ids"][:5]} for item in own_part(items)]
            loss_of(laplace, model, model(**collate(even)).loss).backward()
            after(laplace, model)
            optimizer.step()
            optimizer.zero_grad()
        self.found[name] = {"start": start, "tensors": whole_tensors(model)}

    def own_loops(self) -> None:
        def in_the_loss(laplace: lalora.Laplace, model: PeftModel, loss: Tensor) -> Tensor:
            return loss + laplace.penalty(model, STRENGTH)

        def by_gradient(laplace: lalora.Laplace, model: PeftModel) -> None:
            laplace.add_gradient(model, STRENGTH)

        def nothing(*_: Any) -> None:
            return None

        def loss_alone(laplace: lalora.Laplace, model: PeftModel, loss: Tensor) -> Tensor:
            return loss

        self.own_loop("in the loss", in_the_loss, nothing, fits_sharded=False)
        self.own_loop("by gradient", loss_alone, by_gradient, fits_sharded=False)
        self.own_loop("fitted in parts", loss_alone, by_gradient)

    def engine_loop(self) -> None:
        """DeepSpeed without a Trainer: between `backward` and `step`."""
        model = self.model()
        start, laplace = whole_tensors(model), self.fitted(model)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.SGD(trained, lr=0.1)
        if self.is_zero:
            import deepspeed

            config = {
                "train_micro_batch_size_per_gpu": 4 // dist.get_world_size(),
                "zero_optimization": {"stage": int(self.engine[-1])},
                "zero_allow_untested_optimizer": True,
                "gradient_clipping": 0.0,
            }
            engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config, dist_init_required=False)
        for items in (rows(4, seed=8), rows(4, seed=9)):
            even = [{"input_ids": item["input_ids"][:5], "labels": item["input_ids"][:5]} for item in own_part(items)]
            if self.is_zero:
                engine.backward(engine(**collate(even)).loss)
                laplace.add_gradient(engine, STRENGTH)
                engine.step()
            else:
                model(**collate(even)).loss.backward()
                laplace.add_gradient(model, STRENGTH)
                optimizer.step()
                optimizer.zero_grad()
        self.found["own engine"] = {"start": start, "tensors": whole_tensors(model)}
        if self.is_zero:
            self.found["refused"] = {"fit": refusal(lambda: self.fitted(model))}
        if self.engine == "zero3":
            self.found["refused"]["penalty"] = refusal(lambda: laplace.penalty(model, STRENGTH))

    def native(self) -> None:
        """Sharded by transformers as it is loaded; the adapter is whole in each process."""
        start = self.model()
        laplace = self.fitted(start)
        folder = self.out.parent / "llama"
        if self.engine != "native" and dist.get_rank() == 0:
            llama(dtype=self.dtype).save_pretrained(folder)
        settings = {"distributed_config": DistributedConfig(fsdp_size=2)} if self.engine == "native" else {}
        base = AutoModelForCausalLM.from_pretrained(folder, dtype=self.dtype, **settings)
        config = LoraConfig(r=3, lora_alpha=6, target_modules="all-linear")
        model = get_peft_model(base, config, autocast_adapter_dtype=False)
        values = adapter_tensors(start)
        for name, parameter in adapter_tensors(model).items():
            parameter.data = values[name].detach().clone()
        self.trained("native", model, lalora.LaplaceTrainer, laplace=laplace, strength=STRENGTH)

    def run(self) -> dict[str, Any]:
        if self.engine in ("none", "native"):
            self.native()
        if self.engine != "native":
            self.in_trainers()
            self.resumed()
        if self.engine in ("none", "fsdp2"):
            self.fits_of_sharded()
            self.own_loops()
        if self.engine == "none32" or self.is_zero:
            self.engine_loop()
        return self.found


def refusal(work: Callable[[], Any]) -> str:
    try:
        work()
    except LaloraError as error:
        return str(error)
    return "not refused"


def main(out: Path, engines: Sequence[str]) -> None:
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    if "fsdp2" in engines:
        shard_on_cpu()
    if any(engine.startswith("zero") for engine in engines):
        without_a_compiler()
    out.mkdir(parents=True, exist_ok=True)
    for engine in engines:
        torch.save(Worker(engine, out).run(), out / f"{engine}-{dist.get_rank()}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
