"""What a run costs: seconds and memory of each part of its fit and of its steps."""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from peft import PeftModel
from torch import Tensor

from lalora.adapter import snapshot
from lalora.completion import completion
from lalora.domains import collate
from lalora.laplace import fit
from lalora.methods import InTurn, LaLoRA
from lalora.study.recipe.plan import RunPlan
from lalora.study.recipe.settings import RunSettings
from lalora.study.run.prepared import prepared
from lalora.study.setup.context import Context
from lalora.study.store.records import Row

COSTS = "costs.json"
# In the order of the paper, whose regularizer is a part of the loss; here its gradient follows the backward pass.
_PARTS = ("forward", "method", "backward", "optimizer")
_MEMORY = ("allocated", "peak", "reserved")
# Linux forgets a process's peak of memory when told so by the first, and tells peak and present use in the second.
_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def costs(plan: RunPlan, context: Context) -> list[Row]:
    """Time the parts of a run on a model at its start."""
    settings = plan.settings
    model = context.start(settings)
    model.train()
    rows: list[Row] = []
    fitted = [one for one in plan.build() if isinstance(one, LaLoRA)]
    for method in fitted:
        for source, batches in context.source_batches(model, settings).items():
            work = partial(fit, model, {source: batches}, progress=False, **asdict(method.fit))
            rows.append({"part": f"fit {source}", **_timed(work)[1]})
    if fitted:
        # What the paper calls to set the mode: a fit keeps a copy of the adapter as the mean of its Gaussian.
        rows.append({"part": "mode", **_timed(partial(snapshot, model))[1]})
    others = len(plan.methods) > len(fitted)
    if fitted and others:
        prepared(context.start(settings), plan, context)  # so that fits are kept, and what is timed is the others
    methods, spent = _timed(partial(prepared, model, plan, context))
    if others:
        rows.append({"part": "ready", **spent})
    items = context.data.training_items(settings)[: settings.batch_size]
    batch = {name: tensor.to(model.device) for name, tensor in collate(items, context.data.pad).items()}
    step = _Step(model, methods, batch, settings, context.study.all_logits)
    step.parts()  # the first one allocates what the others find there
    timed = [step.parts() for _ in range(context.study.timed_steps)]
    return rows + [{"part": part, **_over([parts[part] for parts in timed])} for part in _PARTS]


class _Step:
    """A step in the middle of a run, which leaves the weights where they are."""

    def __init__(
        self, model: PeftModel, methods: InTurn, batch: dict[str, Tensor], settings: RunSettings, all_logits: bool
    ) -> None:
        self._model, self._methods, self._batch, self._settings = model, methods, batch, settings
        self._all_logits = all_logits
        self._trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(self._trained, lr=0.0)

    def parts(self) -> dict[str, Row]:
        """Do the step, and tell what each of its parts took."""
        found = {}
        loss, found["forward"] = _timed(self._forward)
        _, found["backward"] = _timed(loss.backward)
        _, found["method"] = _timed(self._change)
        _, found["optimizer"] = _timed(self._optimize)
        return found

    def _forward(self) -> Tensor:
        self._optimizer.zero_grad()
        self._methods.before_forward(self._model, self._settings.steps // 2, self._settings.steps)
        if self._all_logits:
            loss: Tensor = self._model(**self._batch, use_cache=False).loss
            return loss
        seen = completion(self._model, self._batch)
        return F.cross_entropy(seen.logits, seen.targets)

    def _change(self) -> None:
        self._methods.after_backward(self._model, self._settings.steps // 2, 1.0)

    def _optimize(self) -> None:
        torch.nn.utils.clip_grad_norm_(self._trained, self._settings.max_grad_norm)
        self._optimizer.step()
        self._methods.after_step(self._model)


def _timed(work: Callable[[], Any]) -> tuple[Any, Row]:
    _forget_peak()
    began = time.perf_counter()
    result = work()
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return result, {"seconds": time.perf_counter() - began, **_memory()}


def _over(rows: list[Row]) -> Row:
    most = {key: max((row[key] for row in rows if row[key] is not None), default=None) for key in _MEMORY}
    return {"seconds": statistics.median(row["seconds"] for row in rows), **most}


def _forget_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    elif _CLEAR.exists():
        _CLEAR.write_text("5")


def _memory() -> Row:
    """Return the bytes held now, the most since the peak was forgotten, and what the allocator holds now."""
    if torch.cuda.is_available():
        now, most = torch.cuda.memory_allocated(), torch.cuda.max_memory_allocated()
        return {"allocated": now, "peak": most, "reserved": torch.cuda.memory_reserved()}
    if not _STATUS.exists():
        return {"allocated": None, "peak": None, "reserved": None}
    told = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    resident, most = (int(told[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
    return {"allocated": resident, "peak": most, "reserved": None}
