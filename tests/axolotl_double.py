"""What of axolotl 0.19.0 (PyPI) the plugin meets, read from its wheel.

`BasePlugin` and the order of hooks: axolotl/integrations/base.py, axolotl/core/builders/causal.py (`build`,
`_get_trainer_cls`) and axolotl/train.py (`setup_model_and_trainer`). `AxolotlTrainer`: axolotl/core/trainers/base.py
and mixins/activation_checkpointing.py, whose `training_step` passes on. Its `__init__` takes `num_items_in_batch` from
models whose forward pass does not name it (most take it in `**kwargs`), so that each micro-batch of a step weighs the
same.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
from transformers import Trainer


class BasePlugin:
    def get_input_args(self) -> str | None:
        return None

    def get_trainer_cls(self, cfg: Any) -> Any:
        return None

    def post_trainer_create(self, cfg: Any, trainer: Any) -> None:
        return None

    def add_callbacks_pre_trainer(self, cfg: Any, model: Any) -> list[Any]:
        return []

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[Any]:
        return []


class ActivationOffloadingMixin(Trainer):
    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        return super().training_step(*args, **kwargs)


class AxolotlTrainer(ActivationOffloadingMixin, Trainer):
    def __init__(
        self,
        *_args: Any,
        bench_data_collator: Any = None,
        eval_data_collator: Any = None,
        dataset_tags: Any = None,
        **kwargs: Any,
    ) -> None:
        self.bench_data_collator = bench_data_collator
        super().__init__(*_args, **kwargs)
        self.model_accepts_loss_kwargs = False


def install(patch: pytest.MonkeyPatch) -> None:
    """Let the double be imported."""
    patch.delitem(sys.modules, "lalora.integrations.axolotl", raising=False)
    inside = {"axolotl.integrations.base": BasePlugin, "axolotl.core.trainers.base": AxolotlTrainer}
    for path, kind in inside.items():
        names = path.split(".")
        for end in range(1, len(names) + 1):
            name = ".".join(names[:end])
            if name not in sys.modules:
                patch.setitem(sys.modules, name, ModuleType(name))
        setattr(sys.modules[path], kind.__name__, kind)


def trainer_of(plugins: list[Any], cfg: Any, model: Any, tokenizer: Any, **kwargs: Any) -> Any:
    """Build a Trainer as axolotl does, up to `trainer.train()`."""
    from axolotl.core.trainers.base import AxolotlTrainer as Supervised

    kinds = (plugin.get_trainer_cls(cfg) for plugin in plugins)
    kind = next((kind for kind in kinds if kind is not None), Supervised)
    callbacks = [callback for plugin in plugins for callback in plugin.add_callbacks_pre_trainer(cfg=cfg, model=model)]
    trainer = kind(
        model=model, eval_dataset=None, callbacks=callbacks, eval_data_collator=None, bench_data_collator=None,
        processing_class=tokenizer, dataset_tags=["rows"], **kwargs,
    )  # fmt: skip
    for plugin in plugins:
        for callback in plugin.add_callbacks_post_trainer(cfg, trainer):
            trainer.add_callback(callback)
    for plugin in plugins:
        plugin.post_trainer_create(cfg, trainer)
    return trainer
