"""`lalora check`: will lalora work with this model?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lalora.cli.console import in_bytes, say
from lalora.cli.interrupt import resumable
from lalora.cli.options import Dtype, Model, TargetModules

if TYPE_CHECKING:
    from lalora.checking import Layers


def check(
    model: Model,
    target_modules: TargetModules = None,
    dtype: Dtype = "auto",
    out: Annotated[Path | None, typer.Option(help="JSON file for what was found, if wanted.")] = None,
) -> None:
    """Tell whether lalora works with a model: padding, precision, attention, layers; status 1 if something does not."""
    from lalora.files import write_json
    from lalora.study.single.check import check_model
    from lalora.study.store.folder import require_writable

    if out is not None:
        require_writable(out)
    with resumable("nothing was written"):
        found = check_model(model, dtype, target_modules or "all-linear", say)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_json(out, found.document())
    print(found)
    if found.layers is not None:
        print(_memory(found.layers, found.weight_bytes))
    raise typer.Exit(int(not found.works))


def _memory(layers: "Layers", weight_bytes: int) -> str:
    from lalora.study.dry_run.estimate import Sizes

    trained = Sizes(0, layers.adapter_weights, weight_bytes).memory
    return (
        f"memory: {in_bytes(weight_bytes)} of weights, {in_bytes(trained)} with an adapter of rank {layers.rank}, "
        f"its gradients and AdamW; the Kronecker factors of a fit, kept whole, are at most "
        f"{in_bytes(layers.factor_bytes)} besides; activations come on top"
    )
