"""The method of a run, ready for its first step."""

from peft import PeftModel

from lalora.methods import Method, build
from lalora.study.bench import Bench
from lalora.study.knobs import draws, knobs, takes_laplace
from lalora.study.settings import RunSettings


def prepared(model: PeftModel, settings: RunSettings, bench: Bench) -> Method:
    """Build the method of a run and let it get ready.

    Args:
        model: At its start; a method with a start of its own changes it.
        settings: Of the run.
        bench: What it shares with others.

    Returns:
        The method.
    """
    own = {name: getattr(settings, name) for name in knobs(settings.method) if not name.startswith("proxy_")}
    if takes_laplace(settings.method):
        method = build(settings.method, laplace=bench.laplace(model, settings), **own)
        method.prepare(model, bench.proxies(model, settings) if settings.refit_every else {})
    else:
        seed = {"seed": settings.seed} if draws(settings.method) else {}
        method = build(settings.method, **own, **seed)
        method.prepare(model, bench.proxies(model, settings) if method.needs_source else {})
    return method
