"""Adapters softened after training: a second curve for each run, beside that of `scales`."""

from collections.abc import Sequence

from lalora.laplace import Laplace
from lalora.softening import soften_with
from lalora.study.run.kept_adapter import SOURCE, TARGET, KeptAdapter, spent
from lalora.study.setup.context import Say

_NAME = "soften"


def measure_softened(adapter: KeptAdapter, strengths: Sequence[float], seed: int, say: Say) -> None:
    """Measure an adapter softened at each strength."""
    say("softening")
    fitted: list[str] = []

    def around() -> Laplace:
        fitted.append(TARGET)
        return adapter.fit(TARGET)

    laplace = adapter.fit(SOURCE)
    before = adapter.seconds_of_fits
    seen, unseen = adapter.target
    front, took = spent(
        lambda: soften_with(
            adapter.model, seen, laplace, strengths, held_out=unseen or None, seed=seed, progress=False, around=around
        )
    )
    adapter.tell_of_fits(_NAME, (SOURCE, TARGET) if fitted else (SOURCE,))
    took["seconds"] -= adapter.seconds_of_fits - before
    adapter.tell(_NAME, "prepare", took)
    for strength in strengths:
        say(f"measuring it softened at λ={strength:g}")
        _, took = spent(lambda at=strength: front.apply(adapter.model, at))  # type: ignore[misc]
        adapter.tell(_NAME, f"at {strength:g}", took)
        adapter.measure("soften", strength=strength, alpha=front.scale)
