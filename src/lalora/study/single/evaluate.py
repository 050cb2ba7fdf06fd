"""An adapter measured against its base."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from lalora.assets import adapter_settings, load_adapter, load_model, load_tokenizer
from lalora.domains.domain import Role
from lalora.evaluation import EvalSet
from lalora.evaluation import evaluate as measure
from lalora.study.recipe.settings import RunSettings
from lalora.study.setup.context import Say
from lalora.study.setup.data import limit_to_context, load_all
from lalora.study.setup.device import device
from lalora.study.setup.precision import resolve_dtype
from lalora.study.setup.start import with_adapter
from lalora.study.store.records import Row
from lalora.switched_off import why_not_base


def evaluate_adapter(
    model: str, dtype: str, adapter: Path, domains: Mapping[Role, Mapping[str, str]], say: Say, **sizes: int
) -> tuple[Row, Row]:
    """Measure an adapter against its base."""
    kind = resolve_dtype(dtype)
    adapter_settings(adapter)
    say(f"loading {model} and the data")
    base = load_model(model, kind)
    tokenizer = load_tokenizer(model)
    limit_to_context(tokenizer, base.config)
    with tempfile.TemporaryDirectory() as folder:
        data = [one for role, named in domains.items() for one in load_all(named, role)]
        evalset = EvalSet.prepare(data, tokenizer, Path(folder), **sizes)
        plain = with_adapter(base, RunSettings(steps=1, rank=1))
        say("measuring the base model")
        before = measure(plain, tokenizer, evalset, 0, accuracy=True)
        tuned = load_adapter(plain.unload(), adapter, model).to(device())
        untouched = None if why_not_base(tuned) is None else load_model(model, kind).to(device())  # type: ignore[arg-type]
        say("measuring the adapter")
        return before, measure(tuned, tokenizer, evalset, 0, accuracy=True, base=untouched)
