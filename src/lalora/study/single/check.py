"""Whether lalora works with one's own model."""

from collections.abc import Sequence

from lalora.assets import load_any_model, load_tokenizer
from lalora.checking import Checked, check
from lalora.study.setup.context import Say
from lalora.study.setup.device import device
from lalora.study.setup.precision import resolve_dtype


def check_model(model: str, dtype: str, target_modules: str | Sequence[str], say: Say) -> Checked:
    """Load a model and its tokenizer, and check them."""
    kind = resolve_dtype(dtype)
    say(f"loading {model}")
    base = load_any_model(model, kind)
    tokenizer = load_tokenizer(model)
    say("trying a few rows")
    return check(base.to(device()), tokenizer, target_modules=target_modules)  # type: ignore[arg-type]
