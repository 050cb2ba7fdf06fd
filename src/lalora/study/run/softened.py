"""Adapters softened after training: a second curve for each run, beside that of `scales`."""

import random
from pathlib import Path

import torch
from torch import Tensor

from lalora.assets import load_adapter
from lalora.curvature import WeightKfac
from lalora.domains import batches
from lalora.laplace import Laplace, fit
from lalora.softening import soften
from lalora.study.recipe.plan import RunPlan
from lalora.study.recipe.settings import RunSettings
from lalora.study.setup.base_model import load_base
from lalora.study.setup.context import Context
from lalora.study.setup.device import device
from lalora.study.setup.start import changes_nothing
from lalora.study.store.finished import METRICS
from lalora.study.store.records import append_row, read_rows

_BATCH = 8


def measure_softened(plan: RunPlan, context: Context, folder: Path, progress: str) -> None:
    """Measure the kept adapter of a run at each strength that its study softens at.

    It is softened as a stranger's would be: from the file, on the untouched base.
    """
    done = {row["strength"] for row in read_rows(folder / METRICS) if row["kind"] == "soften"}
    wanted = [strength for strength in dict.fromkeys(context.study.soften) if strength not in done]
    if not wanted:
        return
    settings, rows = plan.settings, context.study.soften_rows
    base = load_base(context.study).to(device())  # type: ignore[arg-type]
    context.say(f"{progress}: softening")
    curvature = context.softening_folder(settings)
    context.kept(
        curvature,
        lambda: fit(
            base,
            context.data.source_batches(rows, _BATCH, settings.seed),
            curvature=WeightKfac.kind,
            target_modules=settings.target_modules,
            seed=settings.seed,
            progress=False,
        ),
        torch.bfloat16,
    )
    model = load_adapter(base, folder, context.study.model).to(device())
    if changes_nothing(model):
        return
    seen, unseen = _target(context, settings, rows)
    laplace, start = Laplace.load(curvature), unseen or None
    front = soften(model, seen, laplace, wanted, held_out=start, seed=settings.seed, progress=False)
    for strength in wanted:
        context.say(f"{progress}: measuring it softened at λ={strength:g}")
        front.apply(model, strength)
        row = context.measure(model, settings.steps, accuracy=False)
        append_row(folder / METRICS, row | {"kind": "soften", "strength": strength, "alpha": front.scale})


def _target(
    context: Context, settings: RunSettings, count: int
) -> tuple[list[dict[str, Tensor]], list[dict[str, Tensor]]]:
    # Trained rows for the curvature, as a stranger has them, and others for the scale at which the front begins.
    trained = {id(item): item for item in context.data.training_items(settings)}
    others = [item for item in context.data.training if id(item) not in trained]
    choice = random.Random(f"softening {settings.seed}")
    seen, unseen = (choice.sample(items, min(count, len(items))) for items in (list(trained.values()), others))
    return batches(seen, _BATCH, context.data.pad), batches(unseen, _BATCH, context.data.pad)
