"""What is measured of a run's kept adapter after its training: softened, and by every rival of softening."""

from pathlib import Path

from lalora.posthoc import rival_named
from lalora.softening import unchanged
from lalora.study.recipe.plan import RunPlan
from lalora.study.run.after import measure_after
from lalora.study.run.kept_adapter import SOURCE, KeptAdapter
from lalora.study.run.softened import measure_softened
from lalora.study.setup.context import Context
from lalora.study.setup.start import changes_nothing
from lalora.study.store.finished import METRICS
from lalora.study.store.records import read_rows


def measure_after_training(plan: RunPlan, context: Context, folder: Path, checkpoints: Path, progress: str) -> None:
    """Measure the kept adapter of a run at each strength and each knob that its study names.

    It is changed as a stranger's would be: from the file, on the untouched base. What was measured before a kill is
    not measured again.
    """
    rows = read_rows(folder / METRICS)
    softened = {row["strength"] for row in rows if row["kind"] == "soften"}
    strengths = [one for one in dict.fromkeys(context.study.soften) if one not in softened]
    done = {(row["rival"], row["knob"]) for row in rows if row["kind"] == "after"}
    wanted = {
        name: [knob for knob in dict.fromkeys(knobs) if (name, knob) not in done]
        for name, knobs in context.study.after.items()
    }
    left = {name: knobs for name, knobs in wanted.items() if knobs}
    if not strengths and not left:
        return

    def say(message: str) -> None:
        context.say(f"{progress}: {message}")

    with_base = bool(strengths) or any(SOURCE in rival_named(name).fits for name in left)
    adapter = KeptAdapter(plan, context, folder, checkpoints, with_base)
    if changes_nothing(adapter.model):
        return
    if strengths:
        with unchanged(adapter.model):
            measure_softened(adapter, strengths, plan.settings.seed, say)
    for name, knobs in left.items():
        measure_after(adapter, name, knobs, say)
