"""What a run costs: seconds and memory of each part of its fit and of its steps."""

import statistics
from dataclasses import asdict
from functools import partial

import torch
import torch.nn.functional as F
from peft import PeftModel
from torch import Tensor

from lalora.adapter import snapshot
from lalora.completion import completion
from lalora.laplace import fit
from lalora.methods import InTurn, LaLoRA
from lalora.study.recipe.plan import RunPlan
from lalora.study.recipe.settings import RunSettings
from lalora.study.run.prepared import prepared
from lalora.study.run.timed import timed
from lalora.study.setup.context import Context
from lalora.study.store.records import Row
from lalora.text import collate

COSTS = "costs.json"
# In the order of the paper, whose regularizer is a part of the loss; here its gradient follows the backward pass.
_PARTS = ("forward", "method", "backward", "optimizer")
_MEMORY = ("allocated", "peak", "reserved")


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
            rows.append({"part": f"fit {source}", **timed(work)[1]})
    if fitted:
        # What the paper calls to set the mode: a fit keeps a copy of the adapter as the mean of its Gaussian.
        rows.append({"part": "mode", **timed(partial(snapshot, model))[1]})
    others = len(plan.methods) > len(fitted)
    if fitted and others:
        prepared(context.start(settings), plan, context)  # so that fits are kept, and what is timed is the others
    methods, spent = timed(partial(prepared, model, plan, context))
    if others:
        rows.append({"part": "ready", **spent})
    items = context.data.training_items(settings)[: settings.batch_size]
    batch = {name: tensor.to(model.device) for name, tensor in collate(items, context.data.pad).items()}
    step = _Step(model, methods, batch, settings, context.study.all_logits)
    step.parts()  # the first one allocates what the others find there
    done = [step.parts() for _ in range(context.study.timed_steps)]
    return rows + [{"part": part, **_over([parts[part] for parts in done])} for part in _PARTS]


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
        loss, found["forward"] = timed(self._forward)
        _, found["backward"] = timed(loss.backward)
        _, found["method"] = timed(self._change)
        _, found["optimizer"] = timed(self._optimize)
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


def _over(rows: list[Row]) -> Row:
    most = {key: max((row[key] for row in rows if row[key] is not None), default=None) for key in _MEMORY}
    return {"seconds": statistics.median(row["seconds"] for row in rows), **most}
