"""`lalora fit --plan`: what a fit would take, from the configuration of a model alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.table import Table

from lalora.assets import load_config
from lalora.cli.console import in_bytes
from lalora.cli.dry_run import require_shape
from lalora.curvature import FITTED
from lalora.planning import plan, speed
from lalora.study.setup.device import device
from lalora.study.setup.precision import resolve_dtype


def show_plan(model: str, dtype: str, length: int, sources: int, base: bool, settings: dict[str, Any]) -> None:
    """Print memory, file and time of every curvature for source rows of so many tokens."""
    require_shape(model)
    kind, place = resolve_dtype(dtype), device()
    found = plan(
        load_config(model),
        kind,
        target_modules=settings["target_modules"],
        adapter_rank=None if base else settings["rank"],
        sources=sources,
        rows=settings["source_rows"],
        batch_size=settings["source_batch_size"],
        length=length,
        on_cpu=place.type == "cpu",
    )
    fast = speed(kind, place)
    table = Table("curvature", "eigenvectors", "peak memory", "result", "file", "time here", box=None)
    for cost in found.costs:
        vectors = str(cost.rank or "all") if FITTED[cost.curvature].statistic == "factors" else ""
        took = str(timedelta(seconds=round(cost.operations / fast)))
        table.add_row(cost.curvature, vectors, in_bytes(cost.device), in_bytes(cost.host), in_bytes(cost.file), took)
    Console().print(table)
    traced = found.model
    print(
        f"{model}: {len(traced.shapes)} layers of {traced.layer_weights:,} weights; all weights take "
        f"{in_bytes(traced.weight_bytes)} in {str(kind).removeprefix('torch.')}. {found.tokens:,} source tokens, all "
        f"of them completion; a batch takes {in_bytes(found.pass_bytes)}. Nothing was loaded."
    )
    print(
        "The result is in main memory, on a CPU within the peak; --factor-rank sets the eigenvectors. N processes take "
        "as much memory each and an N-th of the time; of a model in parts (FSDP) each of them gathers all weights."
    )
