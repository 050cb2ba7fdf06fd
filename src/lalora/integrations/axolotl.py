"""The plugin for axolotl: `plugins: [lalora.integrations.axolotl.LaloraPlugin]` and a section `lalora`.

A penalty with a Laplace that is there already acts by `LaplaceCallback`. Every Trainer of axolotl, the supervised one
as well as DPO's and GRPO's, runs the loop of `transformers.Trainer`, which calls callbacks between clipping and the
optimizer; no class has to be replaced, so that another plugin may bring its own. What needs more than a callback gets
(a fit on sources, a budget) puts `MethodMixin` in front of axolotl's supervised Trainer, whose `training_step` only
passes on. axolotl builds the Trainers of `rl` without a model where a plugin brings the class, so these are left alone.
The penalty is never put into `compute_loss`: axolotl calls it once a micro-batch, and in evaluation too.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from transformers import Trainer, TrainerCallback

from lalora.adapter import peft_model
from lalora.errors import LaloraError
from lalora.integrations._options import Options, load
from lalora.integrations._trainer import trainer_class
from lalora.training import LaplaceCallback, MethodMixin

try:
    from axolotl.integrations.base import BasePlugin
except ImportError as error:
    # Not an ImportError: axolotl goes on without a plugin that raises one.
    raise LaloraError(f"lalora.integrations.axolotl is a plugin of axolotl, which is not here: {error}") from error

_LOG = logging.getLogger(__name__)
_OTHER_TRAINERS = ("rl", "reward_model", "process_reward_model", "trainer_cls")
_KERNELS = ("lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel")


class LaloraArgs(BaseModel):
    """What this plugin adds to axolotl's configuration.

    Attributes:
        lalora: The section.
    """

    lalora: Options


class LaloraPlugin(BasePlugin):  # type: ignore[misc]
    """Penalty or budget in axolotl, as the section `lalora` asks for it."""

    def get_input_args(self) -> str:
        """Name what is added to the configuration.

        Returns:
            The path of a pydantic model.
        """
        return f"{LaloraArgs.__module__}.{LaloraArgs.__name__}"

    def get_trainer_cls(self, cfg: Any) -> type[Trainer] | None:
        """Give axolotl's supervised Trainer with the mixin in front, where a callback is not enough.

        Args:
            cfg: axolotl's configuration.

        Returns:
            The class, or None.

        Raises:
            LaloraError: If another Trainer is asked for, or kernels that no fit can listen to.
        """
        options = _options(cfg)
        if options.acts_by_callback:
            return None
        if other := [name for name in _OTHER_TRAINERS if cfg.get(name)]:
            raise LaloraError(
                f"lalora.sources and lalora.budget act in axolotl's supervised Trainer alone, not with {other[0]}: "
                "fit beforehand and give lalora.laplace and strength, or soften the adapter afterwards"
            )
        if kernels := [name for name in _KERNELS if cfg.get(name)]:
            raise LaloraError(
                f"lalora fits by listening to the adapter's modules, which {kernels[0]} goes past: set "
                f"{', '.join(_KERNELS)} to false, or fit beforehand and give lalora.laplace and strength"
            )
        from axolotl.core.trainers.base import AxolotlTrainer

        return trainer_class(AxolotlTrainer, options)

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Trainer) -> list[TrainerCallback]:
        """Give the callback that adds the penalty's gradient, where that is all.

        An adapter that axolotl has just made begins at the mean of its Laplace: with another random A the curvature
        would be another one.

        Args:
            cfg: axolotl's configuration.
            trainer: The Trainer, with its model.

        Returns:
            The callback, or nothing.

        Raises:
            LaloraError: If the Laplace cannot be loaded, or is of another model or adapter.
        """
        options = _options(cfg)
        if not options.acts_by_callback:
            return []
        assert options.laplace is not None and options.strength is not None
        laplace = load(options.laplace)
        model = peft_model(trainer.model)  # type: ignore[arg-type]
        laplace.check(model)
        if not (laplace.of_base or cfg.get("lora_model_dir")):
            laplace.restore_mean(model)
        _LOG.info("lalora: penalty with strength %g by a callback, after clipping", options.strength)
        return [LaplaceCallback(laplace, options.strength, resumed_from=cfg.get("resume_from_checkpoint"))]

    def post_trainer_create(self, cfg: Any, trainer: Trainer) -> None:
        """Refuse a Trainer that another plugin brought in place of this one's.

        Args:
            cfg: axolotl's configuration.
            trainer: What was built.

        Raises:
            LaloraError: If lalora would not act in it.
        """
        if not (_options(cfg).acts_by_callback or isinstance(trainer, MethodMixin)):
            raise LaloraError(
                f"another plugin brought the trainer class {type(trainer).__name__}, in which lalora does not act: put "
                "lalora.integrations.axolotl.LaloraPlugin first under plugins"
            )


def _options(cfg: Mapping[str, Any]) -> Options:
    section: Any = cfg.get("lalora") or {}
    # axolotl's dictionaries answer None for whatever they do not hold.
    return Options.model_validate(section.to_dict() if hasattr(section, "to_dict") else dict(section))
