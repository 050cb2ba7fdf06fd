"""Methods that act in turn in the Hugging Face Trainer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from peft import PeftModel
from torch import Tensor, nn
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from lalora import processes
from lalora.adapter import peft_model
from lalora.engines import FSDP2, whole_named
from lalora.errors import LaloraError
from lalora.fisher import Batch, Sources, named_sources
from lalora.methods import InTurn, Lora, Method
from lalora.methods.compatible import require_engine, require_methods
from lalora.text import Text, batches_of_sources
from lalora.training._after_step import AfterStep
from lalora.training._gradient_hook import GradientHookMixin, Step
from lalora.training._rows import with_rows_of

if TYPE_CHECKING:
    from transformers.trainer_utils import TrainOutput


class InTurnMixin(GradientHookMixin):
    """Lets methods act in turn on the same gradient, complete but not yet clipped, so that their penalties add."""

    def __init__(
        self, *args: Any, methods: Sequence[Method], sources: Sources | Iterable[Batch] | Text = (), **kwargs: Any
    ) -> None:
        """Build the Trainer, and let the methods get ready.

        Args:
            *args: The Trainer's own.
            methods: What acts, each once; plain LoRA where there is none.
            sources: Source text for those that need it, as in `lalora.fit`: a mapping of dataset names to iterables of
                batches, or one such iterable, the same in every process; read once and kept. Where the Trainer has a
                `processing_class`, also whatever `lalora.source_batches` takes.
            **kwargs: The Trainer's own.

        Raises:
            LaloraError: If the methods make no sense together or cannot work with this model, a batch is unusable, or
                gradients are sharded.
        """
        require_methods(methods)
        self._given = list(methods) or [Lora()]
        # Copies, so that nothing of one training is left in what another one is given.
        self._after_step = AfterStep(self._fresh())
        self._sources: dict[str, list[Batch]] = {}
        self._begins_a_step = True
        self._is_built = False
        arguments = kwargs.get("args", args[1] if len(args) > 1 else None)
        if self.methods.own_start and getattr(arguments, "push_to_hub", False):
            raise LaloraError(
                f"'{self.methods.name}' trains on other base weights, and push_to_hub would publish checkpoints that "
                "need them: leave it out, and publish what save_model writes"
            )
        super().__init__(*args, **kwargs)
        require_engine(self.engine, self.methods)
        self._is_built = True
        batches = self._as_batches(sources)
        named = {} if isinstance(batches, Mapping) and not batches else named_sources(batches)
        self._sources = {name: list(batches) for name, batches in named.items()}
        self._rows = self.train_dataset
        self.add_callback(self._after_step)
        if self.model_init is None:
            self.prepare(self._adapted)

    def _as_batches(self, text: Any) -> Any:
        # By the tokenizer that the Trainer has.
        return batches_of_sources(
            text, cast("Any", self.processing_class), cast("nn.Module", self.model), self.args.seed
        )

    def _fresh(self) -> InTurn:
        return InTurn([replace(method) for method in self._given])

    @property
    def methods(self) -> InTurn:
        """What acts, in turn."""
        return self._after_step.methods

    @property
    def _adapted(self) -> PeftModel:
        # The one that is trained now: `model_init` makes another for each training and each trial of a search.
        return peft_model(cast("nn.Module", self.model))

    def prepare(self, model: nn.Module) -> None:
        """Let the methods get ready, and choose what is trained on.

        Args:
            model: At its start.

        Raises:
            LaloraError: If one cannot work with this model, these sources or these rows.
        """
        self.methods.prepare(model, self._sources)
        if any(type(method).training_rows is not Method.training_rows for method in self.methods):
            self.train_dataset = with_rows_of(self.methods, self._rows, self.args.seed)

    def call_model_init(self, trial: Any = None) -> nn.Module:
        """Make the model, and let the methods get ready for it.

        Args:
            trial: The Trainer's own.

        Returns:
            What `model_init` made.

        Raises:
            LaloraError: If a method cannot work with it.
        """
        model: nn.Module = super().call_model_init(trial)
        # The one that is made while the Trainer is built is not trained.
        if self._is_built:
            self._after_step.methods = self._fresh()
            if self.place_model_on_device:
                self._move_model_to_device(model, self.args.device)
            self.prepare(model)
        return model

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:
        """Train, and let the methods change the finished adapter.

        Args:
            *args: The Trainer's own.
            **kwargs: The Trainer's own.

        Returns:
            The Trainer's own.

        Raises:
            LaloraError: If the processes differ in anything that they must agree in, or a checkpoint is another run's.
        """
        outcome = super().train(*args, **kwargs)
        self.methods.after_training(self._adapted)
        return outcome

    def facts(self) -> dict[str, object]:
        """Collect what all processes have to agree in, the methods and their options included.

        Returns:
            Values by name.
        """
        found = super().facts()
        for name, value in self.methods.facts().items():
            found[f"{name} of the method" if name in found else name] = value
        return found

    def around_step(self, step: Step, model: nn.Module, inputs: dict[str, Any], tokens: Tensor | int | None) -> Tensor:
        """Run one micro-batch, after the methods have seen the model if it is the step's first.

        Args:
            step: The Trainer's own.
            model: The model as the Trainer wraps it.
            inputs: The micro-batch.
            tokens: Loss tokens in the whole step.

        Returns:
            The micro-batch's part of the target loss.

        Raises:
            TrainingDivergedError: If the loss of the step, or a gradient, is NaN or infinite.
        """
        if self._begins_a_step:
            self.methods.before_forward(self._adapted, self.state.global_step, self.state.max_steps)
        self._begins_a_step = self.accelerator.sync_gradients
        try:
            return super().around_step(step, model, inputs, tokens)
        except BaseException:
            # Ctrl-C too must not leave a model with what belongs to a step.
            self.methods.abort_step(self._adapted)
            self._begins_a_step = True
            raise

    def after_backward(self, loss_scale: float) -> None:
        """Let the methods change the gradients.

        Args:
            loss_scale: Factor that the gradients carry.
        """
        self.methods.after_backward(self._adapted, self.state.global_step, loss_scale)

    def describe_run(self) -> str:
        """Name the methods.

        Returns:
            ` by '<names>'`.
        """
        return f" by '{self.methods.name}'"

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log what the methods measure beside the loss.

        Args:
            logs: What the Trainer logs.
            start_time: The Trainer's own.
        """
        if "loss" in logs:
            logs |= self.methods.metrics(self._adapted)
        super().log(logs, start_time)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the adapter for the untouched base model; in a checkpoint, as it is trained.

        Args:
            output_dir: Where to; `args.output_dir` where it is left out.
            _internal_call: The Trainer's own: whether it writes a checkpoint.
        """
        # Asked to publish, the Trainer calls this without a folder, and no checkpoint is meant.
        is_checkpoint = _internal_call and output_dir is not None
        if self.engine == FSDP2 and not is_checkpoint:
            # The Trainer writes one for itself where state_dict_type is FULL_STATE_DICT, and otherwise nothing.
            self._save_gathered(Path(output_dir or str(self.args.output_dir)))
        elif is_checkpoint or not self.methods.own_start:
            super().save_model(output_dir, _internal_call)
        elif self.args.should_save:
            self.methods.save_adapter(self._adapted, Path(output_dir or str(self.args.output_dir)))

    def _save_gathered(self, folder: Path) -> None:
        trained = {name: one for name, one in self._adapted.named_parameters() if one.requires_grad}
        tensors = whole_named(trained)
        with processes.on_all_ranks(), self.saving():
            if self.args.should_save:
                self._adapted.save_pretrained(str(folder), state_dict=tensors)

    def saving(self) -> AbstractContextManager[None]:
        """Surround everything that writes a checkpoint, such as to tell of a full disk; by default with nothing."""
        return nullcontext()

    def save_state(self, folder: Path) -> None:
        """Keep in a checkpoint what the methods would not find again.

        Args:
            folder: Of the checkpoint.
        """
        self.methods.save(self._adapted, folder)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        # Before the Trainer's own files, the last of which says that a checkpoint is complete.
        folder = Path(self._get_output_dir(trial=trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        with processes.on_all_ranks(), self.saving():
            if self.args.should_save:
                self.save_state(folder)
        with processes.on_all_ranks(), self.saving():
            super()._save_checkpoint(model, trial)

    def _save_rng_state(self, output_dir: str) -> None:
        # Each process has its own file; all of them are there before the last one is written.
        with processes.on_all_ranks():
            super()._save_rng_state(output_dir)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        with processes.on_all_ranks():
            self.methods.load(self._adapted, Path(resume_from_checkpoint))
