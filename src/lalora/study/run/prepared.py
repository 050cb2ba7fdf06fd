"""The methods of a run, ready for its first step."""

from peft import PeftModel

from lalora.methods import InTurn, LaLoRA
from lalora.study.recipe.plan import RunPlan
from lalora.study.setup.context import Context


def prepared(model: PeftModel, plan: RunPlan, context: Context) -> InTurn:
    """Build the methods of a run and let them get ready, which changes the model where one has a start of its own."""
    settings = plan.settings
    methods = plan.build()
    for method in methods:
        reads = method.needs_source
        if isinstance(method, LaLoRA):
            method.laplace, method.kept_elsewhere = context.laplace(model, settings, method, plan.start), True
            reads = method.refit_every is not None
        method.prepare(model, context.source_batches(model, settings) if reads else {})
    return methods
