"""The results as files for other programs and papers: CSV, Markdown, LaTeX."""

from dataclasses import fields

import pandas

from lalora.report import numbers
from lalora.report.costs import HEADERS, by_setting
from lalora.report.schema import Results
from lalora.report.summary import Row, rows

COLUMNS = {
    "target_loss": ("target loss", numbers.nats),
    "source_loss": ("source loss", numbers.nats),
    "source_kl": ("KL source", numbers.nats),
    "heldout_kl": ("KL held-out", numbers.nats),
    "source_accuracy": ("source accuracy", numbers.accuracy),
    "target_accuracy": ("target accuracy", numbers.accuracy),
    "forgetting_removed": ("forgetting removed", numbers.percent),
    "gain_kept": ("gain kept", numbers.percent),
    "step_seconds": ("s per step", numbers.seconds),
}


def tables(results: Results) -> dict[str, bytes]:
    """Returns the table of runs, and of costs where steps were timed, by file name.

    Numbers are in full as CSV, rounded as Markdown and LaTeX.
    """
    every = rows(results)
    names = [field.name for field in fields(Row)]
    full = pandas.DataFrame([[getattr(row, name) for name in names] for row in every], columns=names)
    measured = {key: column for key, column in COLUMNS.items() if any(getattr(row, key) is not None for row in every)}
    head = ["run", *(title for title, _ in measured.values())]
    cells = [[row.label, *(write(getattr(row, key)) for key, (_, write) in measured.items())] for row in every]
    return _three("results", full, head, cells) | _costs(results)


def _costs(results: Results) -> dict[str, bytes]:
    parts = [part for of in by_setting(results).values() for part in of]
    if not parts:
        return {}
    full = pandas.DataFrame([{"run": part.label, **part.here.model_dump()} for part in parts])
    cells = [[part.label, part.here.part, *part.cells()] for part in parts]
    return _three("costs", full, ["run", "part", *HEADERS], cells, words=2)


def _three(
    name: str, full: pandas.DataFrame, head: list[str], cells: list[list[str]], words: int = 1
) -> dict[str, bytes]:
    columns = "l" * words + "r" * (len(head) - words)
    rule = ["---"] * words + ["---:"] * (len(head) - words)
    return {
        f"{name}.csv": full.to_csv(index=False).encode(),
        f"{name}.md": _markdown([head, rule, *cells]).encode(),
        f"{name}.tex": _latex(pandas.DataFrame(cells, columns=head), columns).encode(),
    }


def _markdown(lines: list[list[str]]) -> str:
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _latex(table: pandas.DataFrame, columns: str) -> str:
    text = table.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis=1)
    written = str(text.to_latex(hrules=True, column_format=columns))
    # Characters of labels and numbers that pdfLaTeX has no glyph for.
    return (
        written.replace("λ", r"$\lambda$")
        .replace("ρ", r"$\rho$")
        .replace("Δ", r"$\Delta$")
        .replace("−", "$-$")
        .replace("–", "--")
    )
