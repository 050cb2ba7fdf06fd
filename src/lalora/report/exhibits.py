"""Which recipe and which panel of its report give each table and figure of the paper."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Exhibit:
    """A table or figure of the paper; one without data has no recipe.

    `recipes` are under `paper/`; results of several are shown together by `lalora report`. `panel` is the name of the
    section of the page and of its picture, `part` what of it is meant.
    """

    name: str
    shows: str
    recipes: tuple[str, ...] = ()
    panel: str = ""
    part: str = ""


EXHIBITS = (
    Exhibit("Table 1", "the chosen setting of each method, ± sd", ("table-1",), "selected"),
    Exhibit("Table 2", "batch size and learning rate, validation accuracy", ("table-2",), "validation"),
    Exhibit("Table 3", "no data: the settings, which are those under `base`", ("table-1",)),
    Exhibit("Table 4", "F, L and S_B on validation rows", ("table-4",), "validation"),
    Exhibit("Table 5", "the settings chosen by them", ("table-4",), "selection", "selected for"),
    Exhibit("Table 6", "F, L and S_B for MATH", ("math",), "validation"),
    Exhibit("Table 7", "F, L and S_B for Llama-3.1-8B", ("llama-3.1-8b",), "validation"),
    Exhibit("Table 8", "all settings, ± sd", ("table-1", "flat-lora"), "published"),
    Exhibit("Table 9", "the same for MATH", ("math",), "published"),
    Exhibit("Table 10", "the same for Llama-3.1-8B", ("llama-3.1-8b",), "published"),
    Exhibit("Table 11", "mean change by group of precision", ("update-pattern",), "changes", "table"),
    Exhibit("Table 12", "seconds and memory of the fits", ("cost",), "costs"),
    Exhibit("Table 13", "seconds and memory of a step", ("cost",), "costs"),
    Exhibit("Table 14", "orders of time and memory by method", ("cost",), "costs", "order"),
    Exhibit("Table 15", "orders of time and memory by curvature", ("cost",), "costs", "order"),
    Exhibit("Figure 1", "no data: a drawing of the method"),
    Exhibit("Figure 2a", "accuracies over the steps, ± sd", ("table-1",), "curves"),
    Exhibit("Figure 2b", "the trade-off", ("table-1",), "tradeoff", "accuracy"),
    Exhibit("Figure 3a", "change by group of precision; the inset is a drawing", ("update-pattern",), "changes"),
    Exhibit("Figure 3b", "sources known against sources measured, at one λ", ("source-data",), "heatmaps"),
    Exhibit("Figure 4", "batches for the curvature against λ", ("batches",), "heatmaps"),
    Exhibit("Figure 5", "no data: a drawing of an adapted layer"),
    Exhibit("Figure 6", "accuracies over the steps by λ", ("table-1",), "curves"),
    Exhibit("Figure 7", "the trade-off, seeds joined to their mean", ("table-1",), "tradeoff", "accuracy"),
    Exhibit("Figure 8", "the trade-off of each seed", ("table-1",), "each-seed"),
    Exhibit("Figure 9", "accuracies over the epochs of MATH", ("math",), "curves"),
    Exhibit("Figure 10", "accuracies over the epochs, Llama-3.1-8B", ("llama-3.1-8b",), "curves"),
    Exhibit("Figure 11", "the trade-off for MATH", ("math",), "tradeoff", "accuracy"),
    Exhibit("Figure 12", "the trade-off for Llama-3.1-8B", ("llama-3.1-8b",), "tradeoff", "accuracy"),
    Exhibit("Figure 13", "the trade-off with Flat-LoRA", ("table-1", "flat-lora"), "tradeoff", "accuracy"),
    Exhibit("Figure 14", "weights before and after, and by how much they changed", ("update-pattern",), "changes"),
    Exhibit("Figure 15", "sources known against sources measured, by λ", ("source-data",), "heatmaps"),
    Exhibit("Figure 16", "one batch for the curvature against all", ("batches",), "heatmaps"),
    Exhibit("Figure 17", "accuracy over the steps by data set", ("per-dataset",), "by-data-set"),
    Exhibit("Figure 18", "accuracies by length of training", ("training-length",), "by-value"),
    Exhibit("Figure 19", "the same for λ = 10 and 10⁶", ("training-length",), "by-value"),
    Exhibit("Figure 20", "accuracies over the steps by rank", ("rank",), "by-value"),
    Exhibit("Figure 21", "the same, a row a method", ("rank",), "by-method"),
    Exhibit("Figure 22", "ranks 1 and 64", ("rank",), "by-method"),
    Exhibit("Figure 23", "by rank for λ = 10 and 10⁶", ("rank",), "by-value"),
    Exhibit("Figure 24", "the same, a row a method", ("rank",), "by-method"),
    Exhibit("Figure 25", "ranks 1 and 64 for λ = 10 and 10⁶", ("rank",), "by-method"),
    Exhibit("Figure 26", "the trade-off with block K-FAC, one batch", ("table-1", "kfac"), "tradeoff", "accuracy"),
    Exhibit(
        "Figure 27",
        "the trade-off with block K-FAC, two batches",
        ("table-1", "kfac-two-batches"),
        "tradeoff",
        "accuracy",
    ),
)
"""Every table and figure of arXiv 2512.17720 in its order."""


def markdown() -> str:
    """Returns the table of all exhibits for the documentation."""
    return "".join(f"| {' | '.join(line)} |\n" for line in _lines())


def _lines() -> Iterator[tuple[str, ...]]:
    yield ("paper", "shows", "recipe", "panel")
    yield ("---",) * 4
    for one in EXHIBITS:
        recipes = " with ".join(f"`paper/{name}`" for name in one.recipes)
        panel = f"`{one.panel}`" + (f" ({one.part})" if one.part else "") if one.panel else "–"
        yield one.name, one.shows, recipes or "–", panel
