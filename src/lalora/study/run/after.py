"""Adapters changed after training by the rivals of softening: a curve for each."""

from collections.abc import Sequence
from contextlib import ExitStack

from lalora.posthoc import rival_named
from lalora.study.run.kept_adapter import KeptAdapter, spent
from lalora.study.setup.context import Say


def measure_after(adapter: KeptAdapter, name: str, knobs: Sequence[float], say: Say) -> None:
    """Measure an adapter at each value of a rival's knob."""
    kind = rival_named(name)
    say(f"{kind.label} after training")
    for fit in kind.fits:
        adapter.fit(fit)
    adapter.tell_of_fits(name, kind.fits)
    rival = kind(adapter.trained)
    _, took = spent(rival.prepare)
    adapter.tell(name, "prepare", took)
    for knob in knobs:
        say(f"measuring {kind.label} at {kind.knob}={knob:g}")
        with ExitStack() as held:
            _, took = spent(lambda at=knob: held.enter_context(rival.at(at)))  # type: ignore[misc]
            adapter.measure("after", rival=name, knob=knob)
        adapter.tell(name, f"at {knob:g}", took)
