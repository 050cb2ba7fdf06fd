"""What softening an adapter gave, as rows and as a sentence."""

from dataclasses import dataclass
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from lalora.report import formatting

Document = dict[str, Any]
"""What `lalora soften` writes to `front.json`."""


@dataclass(frozen=True)
class Version:
    """A version of the adapter: its numbers as text, and whether it is the one that was chosen."""

    label: str
    cells: list[str]
    chosen: bool


def headers(front: Document) -> list[str]:
    """Returns the names of the columns after the first."""
    texts = [*front["sources"], *front["held_out"]]
    return ["target loss", "learned", "KL source", "95 %", *(f"KL {name}" for name in texts)]


def versions(front: Document) -> list[Version]:
    """Returns the base, the adapter scaled and the adapter softened, a row each; nats per token."""
    base = alike(front, "scaled", 0.0)
    found = []
    for row in front["versions"]:
        low, high = row["interval"]
        cells = [
            formatting.nats(row["target_loss"]),
            formatting.nats(base["target_loss"] - row["target_loss"]),
            drift(row["source_kl"]),
            f"{drift(low)}–{drift(high)}",
            *(drift(row["kl"][name]) for name in [*front["sources"], *front["held_out"]]),
        ]
        found.append(Version(name_of(row), cells, row is chosen(front)))
    return found


def drift(value: float) -> str:
    """Returns a KL in nats per token with four digits after the point: 0.0212."""
    return f"{max(value, 0.0):.4f}"


def name_of(row: Document) -> str:
    """Returns what a version is called."""
    if row["kind"] == "softened":
        return f"softened, λ = {row['strength']:.3g}"
    return {0.0: "base model", 1.0: "adapter"}.get(row["alpha"], f"adapter × {row['alpha']:g}")


def alike(front: Document, kind: str, knob: float) -> Document:
    """Returns the version of a kind at an α or λ."""
    name = "alpha" if kind == "scaled" else "strength"
    found: Document = next(row for row in front["versions"] if row["kind"] == kind and row[name] == knob)
    return found


def chosen(front: Document) -> Document:
    """Returns the version that was chosen and saved."""
    return alike(front, "softened", front["choice"]["strength"])


def sentences(front: Document) -> list[str]:
    """Returns what was found and why this version was chosen, in words."""
    base, adapter, taken = alike(front, "scaled", 0.0), alike(front, "scaled", 1.0), chosen(front)
    learned, kept = (base["target_loss"] - row["target_loss"] for row in (adapter, taken))
    said = [_why(front)]
    if steps := front.get("rows", {}).get("refine_steps"):
        said.append(f"It was refined in {steps} steps without labels before it was softened.")
    if adapter["source_kl"] > 0:
        removed = 1 - taken["source_kl"] / adapter["source_kl"]
        said.append(
            f"It drifts {drift(taken['source_kl'])} nats per token from the base on source text, where the adapter "
            f"drifts {drift(adapter['source_kl'])}: {formatting.percent(removed)} less."
        )
    if learned > 0:
        said.append(
            f"Of {formatting.nats(learned)} nats per token of target loss that the adapter learned it keeps "
            f"{formatting.nats(kept)} ({kept / learned:.1%})."
        )
    else:
        said.append("The adapter did not lower the loss on these target rows.")
    if front["scale"] < 1:
        said.append(
            f"Training had gone too far: times {front['scale']:g} the adapter predicts the target best, and the front "
            "begins there."
        )
    return said


def _why(front: Document) -> str:
    choice = front["choice"]
    strength = f"λ = {choice['strength']:.3g}"
    if choice["by"] == "strength":
        return f"Chosen: {strength}."
    if choice["by"] == "floor":
        return f"Chosen: {strength}, the largest tried that gives up at most {choice['floor']:g} nats of target loss."
    if choice["met"]:
        return f"Chosen: {strength}, the least tried that drifts at most {choice['budget']:g} nats per token."
    return (
        f"No version was measured within {choice['budget']:g} nats per token of drift. Chosen: {strength}, the nearest."
    )


def front_table(front: Document) -> Table:
    """Returns all versions for the terminal."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False)
    table.caption = Text("Nats per token on rows that no fit saw; KL is KL(base ‖ model).")
    table.add_column("version", no_wrap=True)
    for header in headers(front):
        first, _, rest = header.partition(" ")
        table.add_column(f"{first}\n{rest}", justify="right", no_wrap=True)
    for version in versions(front):
        label = f"{version.label} ←" if version.chosen else version.label
        table.add_row(Text(label), *version.cells, style="bold" if version.chosen else None)
    return table
